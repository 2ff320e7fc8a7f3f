//! Names of services.

use std::{borrow::Borrow, fmt};

use serde::{Deserialize, Serialize};

/// The name of a service as its section writes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServiceName(String);

/// A name that is safe in file, unit and descriptor names: lower case letters and digits, each
/// run of anything else one `-`, none at the ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slug(String);

impl ServiceName {
    /// Takes the name as it stands.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name as it stands.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name made safe for files and units. `None` where nothing is left of it.
    #[must_use]
    pub fn slug(&self) -> Option<Slug> {
        let mut slug = String::with_capacity(self.0.len());
        for word in self
            .0
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|w| !w.is_empty())
        {
            if !slug.is_empty() {
                slug.push('-');
            }
            slug.push_str(&word.to_ascii_lowercase());
        }
        (!slug.is_empty()).then_some(Slug(slug))
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Slug {
    /// The slug as it stands.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Slug {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_keeps_letters_and_digits_and_folds_the_rest() {
        let slug = |name: &str| ServiceName::new(name).slug().map(|s| s.to_string());
        assert_eq!(
            slug("Simple web server (2)").as_deref(),
            Some("simple-web-server-2")
        );
        assert_eq!(slug("--a__b--").as_deref(), Some("a-b"));
        assert_eq!(slug("***"), None);
    }
}
