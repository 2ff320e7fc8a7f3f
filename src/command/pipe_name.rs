//! The names under which commands' pipes are kept while no daemon reads them.

use std::{fmt, str::FromStr};

use crate::model::{Action, Slug};

/// Which of a command's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Out,
    Err,
}

/// The name under which a pipe is kept: `pipe.SLUG.ACTION.CHANNEL.NUMBER`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PipeName {
    pub(super) slug: String,
    pub(super) action: String,
    pub(super) channel: Channel,
    pub(super) number: u64,
}

/// A text is not the name of a pipe of ours.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not the name of a command's pipe")]
pub(super) struct PipeNameError(String);

// === impl PipeName ===

impl PipeName {
    /// How much of a slug goes into a name: systemd takes 255 bytes, sd_pid_notify_with_fds(3).
    const SLUG_MAX: usize = 200;

    /// The name of a command's pipe. Slugs are letters, digits and `-`, so it has no colon.
    pub(super) fn new(slug: &Slug, action: Action, channel: Channel, number: u64) -> Self {
        let slug = slug.as_str();
        Self {
            slug: slug.get(..Self::SLUG_MAX).unwrap_or(slug).to_owned(),
            action: action.as_str().to_owned(),
            channel,
            number,
        }
    }
}

impl fmt::Display for PipeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let channel = match self.channel {
            Channel::Out => "out",
            Channel::Err => "err",
        };
        write!(
            f,
            "pipe.{}.{}.{channel}.{}",
            self.slug, self.action, self.number
        )
    }
}

impl FromStr for PipeName {
    type Err = PipeNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || PipeNameError(text.to_owned());
        let parts: Vec<&str> = text.split('.').collect();
        let ["pipe", slug, action, channel, number] = parts[..] else {
            return Err(error());
        };
        let channel = match channel {
            "out" => Channel::Out,
            "err" => Channel::Err,
            _ => return Err(error()),
        };
        let number = number.parse().map_err(|_| error())?;
        Ok(Self {
            slug: slug.to_owned(),
            action: action.to_owned(),
            channel,
            number,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ServiceName;

    #[test]
    fn names_of_pipes_are_read_back_and_fit_the_descriptor_store() {
        let long = ServiceName::new("x".repeat(500)).slug().unwrap();
        let name = PipeName::new(&long, Action::Start, Channel::Out, u64::MAX);
        let text = name.to_string();
        assert!(text.len() <= 255 && !text.contains(':'));
        assert_eq!(text.parse(), Ok(name));
        assert_eq!(
            "pipe.web.start.err.7".parse::<PipeName>().unwrap().number,
            7
        );
        for bad in [
            "",
            "pipe",
            "pipe.web.start.err",
            "pipe.web.start.x.7",
            "sock.web.start.err.7",
        ] {
            assert!(bad.parse::<PipeName>().is_err(), "{bad}");
        }
    }
}
