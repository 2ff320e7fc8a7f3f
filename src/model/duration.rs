//! Durations as the configuration file and the log write them.

use std::time::Duration;

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a duration; write 90, 500ms, 10min or '1h 30min'")]
pub struct DurationError(pub String);

/// Reads a duration: bare seconds (`90`, `1.5`), or `500ms`, `10min`, `1h 30min`; blank and
/// `infinity` mean none.
///
/// # Errors
/// [`DurationError`] with the text.
pub fn parse(text: &str) -> Result<Option<Duration>, DurationError> {
    let text = text.trim();
    if text.is_empty() || text.eq_ignore_ascii_case("infinity") {
        return Ok(None);
    }
    let error = || DurationError(text.to_owned());
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        let seconds: f64 = text.parse().map_err(|_| error())?;
        return Duration::try_from_secs_f64(seconds)
            .map(Some)
            .map_err(|_| error());
    }
    humantime::parse_duration(text)
        .map(Some)
        .map_err(|_| error())
}

/// Writes a duration for people: `1h 30m`, `500ms`; at most three figures of it.
#[must_use]
pub fn show(duration: Duration) -> String {
    // Below a second milliseconds matter, above a minute they do not.
    let rounded = if duration >= Duration::from_secs(60) {
        Duration::from_secs(duration.as_secs())
    } else {
        Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    };
    humantime::format_duration(rounded).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_systemd_writes_them() {
        let read = |text: &str| parse(text).unwrap();
        assert_eq!(read("20"), Some(Duration::from_secs(20)));
        assert_eq!(read("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(read("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(read("1h 30min"), Some(Duration::from_secs(5400)));
        assert_eq!(read("0"), Some(Duration::ZERO));
        assert_eq!(read(""), None);
        assert_eq!(read("infinity"), None);
        for bad in ["-1", "abc", "1x", "1.2.3", "."] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
