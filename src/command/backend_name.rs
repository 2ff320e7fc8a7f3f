//! The names under which COMMANDs are kept while no daemon looks after them.

use std::{fmt, str::FromStr};

use crate::model::Slug;

/// The name under which a process is kept: `backend.SLUG.NUMBER`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BackendName {
    slug: String,
    pub(super) number: u64,
}

/// A text is not the name of a COMMAND of ours.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not the name of a COMMAND")]
pub(super) struct BackendNameError(String);

// === impl BackendName ===

impl BackendName {
    /// How much of a slug goes into a name: systemd takes 255 bytes, sd_pid_notify_with_fds(3).
    const SLUG_MAX: usize = 200;

    /// Slugs are letters, digits and `-`, so it has neither colon nor dot.
    pub(super) fn new(slug: &Slug, number: u64) -> Self {
        Self {
            slug: shortened(slug).to_owned(),
            number,
        }
    }

    pub(super) fn is_of(&self, slug: &Slug) -> bool {
        self.slug == shortened(slug)
    }
}

fn shortened(slug: &Slug) -> &str {
    let slug = slug.as_str();
    slug.get(..BackendName::SLUG_MAX).unwrap_or(slug)
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "backend.{}.{}", self.slug, self.number)
    }
}

impl FromStr for BackendName {
    type Err = BackendNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || BackendNameError(text.to_owned());
        let parts: Vec<&str> = text.split('.').collect();
        let ["backend", slug, number] = parts[..] else {
            return Err(error());
        };
        Ok(Self {
            slug: slug.to_owned(),
            number: number.parse().map_err(|_| error())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ServiceName;

    #[test]
    fn names_are_read_back_and_fit_the_descriptor_store() {
        let long = ServiceName::new("x".repeat(500)).slug().unwrap();
        let name = BackendName::new(&long, u64::MAX);
        let text = name.to_string();
        assert!(text.len() <= 255 && !text.contains(':'));
        assert_eq!(text.parse(), Ok(name.clone()));
        assert!(name.is_of(&long));
        assert!(!name.is_of(&ServiceName::new("x").slug().unwrap()));
        for bad in ["", "backend", "backend.web", "backend.web.x", "pipe.web.1"] {
            assert!(bad.parse::<BackendName>().is_err(), "{bad}");
        }
    }
}
