//! The name of a systemd unit.

use std::{fmt, str::FromStr};

/// UNIT_NAME_MAX of systemd, less the NUL.
const MAX_LENGTH: usize = 255;

/// What the name of a unit may end in (systemd.unit(5)).
const TYPES: &[&str] = &[
    ".service",
    ".socket",
    ".device",
    ".mount",
    ".automount",
    ".swap",
    ".target",
    ".path",
    ".timer",
    ".slice",
    ".scope",
];

/// The name of a unit that can be started: with its type, and no template.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UnitName(String);

/// Why a text is no such name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnitNameError {
    /// It has characters that no unit has, or nothing before its type.
    #[error("is not a name of a unit: ASCII letters, digits and any of `:-_.\\@`, no '-' at first")]
    Malformed,
    /// It is longer than systemd takes.
    #[error("is too long for a name of a unit: at most {MAX_LENGTH} bytes")]
    TooLong,
    /// Only its instances can be started.
    #[error("is a template; say which instance: NAME@INSTANCE.service")]
    Template,
}

impl UnitName {
    /// The name with its type.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UnitName {
    type Err = UnitNameError;

    /// Without a type it is a service, as for systemctl(1).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = TYPES.iter().find_map(|kind| text.strip_suffix(kind));
        let (stem, name) = match known {
            Some(stem) => (stem, text.to_owned()),
            None => (text, format!("{text}.service")),
        };
        let good = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
        // A '-' at first would be an option to many a program; systemd has it in "-.mount" alone.
        if stem.is_empty() || stem.starts_with(['-', '@']) || !stem.bytes().all(good) {
            return Err(UnitNameError::Malformed);
        }
        if name.len() > MAX_LENGTH {
            return Err(UnitNameError::TooLong);
        }
        if stem.ends_with('@') {
            return Err(UnitNameError::Template);
        }
        Ok(Self(name))
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, UnitNameError> {
        text.parse().map(|name: UnitName| name.to_string())
    }

    #[test]
    fn a_name_without_a_type_is_a_service() {
        for (text, name) in [
            ("web", "web.service"),
            ("web.service", "web.service"),
            ("db@main", "db@main.service"),
            ("a.b", "a.b.service"),
            ("all.target", "all.target"),
            (r"a\x2db.service", r"a\x2db.service"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(name), "{text}");
        }
    }

    #[test]
    fn what_a_shell_or_an_option_could_be_made_of_is_no_name() {
        for text in [
            "", ".service", "-x", "--now", "@a", "a b", "a;b", "a$b", "a/b", "a*", "a'b", "ä",
            "a\nb", "a=b", "a%i",
        ] {
            assert_eq!(read(text), Err(UnitNameError::Malformed), "{text}");
        }
        assert_eq!(read("db@"), Err(UnitNameError::Template));
        assert_eq!(read("db@.service"), Err(UnitNameError::Template));
        assert_eq!(read(&"a".repeat(248)), Err(UnitNameError::TooLong));
        assert!(read(&"a".repeat(247)).is_ok());
    }
}
