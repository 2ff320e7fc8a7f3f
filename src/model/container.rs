//! Which container: what CONTAINER says.

use std::{fmt, str::FromStr};

use super::addr::parse_port;

/// Longer names are no names; the engines have no limit of their own.
const MAX_LENGTH: usize = 255;

/// Whose command line knows the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// `docker`.
    Docker,
    /// `podman`.
    Podman,
}

/// A container: `[docker:|podman:]NAME[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContainerRef {
    /// `None`: whichever engine is installed.
    pub engine: Option<Engine>,
    /// Its name or id.
    pub name: String,
    /// Its own port that clients are for, where it has several.
    pub port: Option<u16>,
}

/// Why a text names no container.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContainerRefError {
    /// The name.
    #[error(
        "is not a name of a container: letters, digits and any of `_.-`, a letter or digit at \
         first; write NAME, docker:NAME or podman:NAME, and :PORT behind it if need be"
    )]
    Name,
    /// The port.
    #[error("does not end in a port of the container: {0}")]
    Port(String),
}

impl Engine {
    /// Those there are. Where both are installed and none is named, the first counts.
    pub const ALL: [Self; 2] = [Self::Docker, Self::Podman];

    /// Its command.
    #[must_use]
    pub fn command(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.command())
    }
}

impl FromStr for ContainerRef {
    type Err = ContainerRefError;

    /// `docker:80` is the container `80` of docker, not port 80 of the container `docker`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let engine = Engine::ALL.into_iter().find_map(|engine| {
            let rest = text.strip_prefix(engine.command())?.strip_prefix(':')?;
            Some((engine, rest))
        });
        let (engine, rest) = match engine {
            Some((engine, rest)) => (Some(engine), rest),
            None => (None, text),
        };
        let (name, port) = match rest.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (rest, None),
        };
        let good = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !first || name.len() > MAX_LENGTH || !name.bytes().all(good) {
            return Err(ContainerRefError::Name);
        }
        let port = port
            .map(parse_port)
            .transpose()
            .map_err(|e| ContainerRefError::Port(e.to_string()))?;
        Ok(Self {
            engine,
            name: name.to_owned(),
            port,
        })
    }
}

impl fmt::Display for ContainerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(engine) = self.engine {
            write!(f, "{engine}:")?;
        }
        f.write_str(&self.name)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_a_name_with_its_engine_and_its_port() {
        let container = |engine, name: &str, port| {
            Ok(ContainerRef {
                engine,
                name: name.to_owned(),
                port,
            })
        };
        for (text, read) in [
            ("web", container(None, "web", None)),
            ("web:80", container(None, "web", Some(80))),
            ("docker:web", container(Some(Engine::Docker), "web", None)),
            (
                "podman:a_b.c-d:80",
                container(Some(Engine::Podman), "a_b.c-d", Some(80)),
            ),
            ("docker:80", container(Some(Engine::Docker), "80", None)),
            ("dockery", container(None, "dockery", None)),
        ] {
            assert_eq!(text.parse(), read, "{text}");
            assert_eq!(read.unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_a_shell_or_an_option_could_be_made_of_is_no_container() {
        for text in [
            "",
            "-x",
            "--help",
            "docker:",
            "docker:-x",
            "a b",
            "a;b",
            "$a",
            "a/b",
            "ä",
            ".a",
            "a\nb",
            ":80",
        ] {
            let read = text.parse::<ContainerRef>();
            assert_eq!(read, Err(ContainerRefError::Name), "{text}");
        }
        for text in [
            "a:",
            "a:0",
            "a:http",
            "a:1:2",
            "docker:a:70000",
            "nerdctl:web",
        ] {
            let read = text.parse::<ContainerRef>();
            assert!(
                matches!(read, Err(ContainerRefError::Port(_))),
                "{text}: {read:?}"
            );
        }
    }
}
