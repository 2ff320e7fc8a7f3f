//! Durations as Go writes them, and as we do.

use std::time::Duration;

/// Nanoseconds of each unit. The micro sign is there twice: as itself, and as the Greek letter.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads what Go's `time.ParseDuration` reads: `1h2m3.5s`, `-300ms`, `0`. A negative one is
/// `None`.
///
/// # Errors
/// Says what is wrong with it.
pub(super) fn read(text: &str) -> Result<Option<Duration>, String> {
    let bad = |why: &str| Err(format!("{why}; ynetd takes 90s, 1h30m or 1.5s"));
    let (negative, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Ok(Some(Duration::ZERO));
    }
    if rest.is_empty() {
        return bad("is not a duration");
    }
    let mut sum: u128 = 0;
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let Some((whole, fraction)) = parts(number) else {
            return bad("is not a duration");
        };
        let (unit, after) = split(after, |c| !c.is_ascii_digit() && c != '.');
        if unit.is_empty() {
            return bad("has no unit");
        }
        let Some((_, unit)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return bad("has a unit that is none");
        };
        sum += whole.saturating_mul(*unit) + of_fraction(fraction, *unit);
        if sum > i64::MAX as u128 {
            return bad("is longer than 292 years");
        }
        rest = after;
    }
    let nanoseconds = u64::try_from(sum).unwrap_or(u64::MAX);
    let positive = !negative || nanoseconds == 0;
    Ok(positive.then(|| Duration::from_nanos(nanoseconds)))
}

fn split(text: &str, is_part: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// The number before the point, and the digits behind it. One of the two may be missing.
fn parts(number: &str) -> Option<(u128, &str)> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    // What is too long for a number is too long for a duration.
    let most = u64::MAX.into();
    let value = whole.trim_start_matches('0');
    let value = match value {
        "" => 0,
        digits => digits.parse().unwrap_or(most),
    };
    Some((value.min(most), fraction))
}

/// Rounded down to nanoseconds. Digits that say less than one are not looked at.
fn of_fraction(digits: &str, unit: u128) -> u128 {
    let mut scale = 1;
    let mut value = 0;
    for digit in digits.bytes().take(18) {
        scale *= 10;
        value = value * 10 + u128::from(digit - b'0');
    }
    value * unit / scale
}

/// Writes a duration so that our parser reads the same: `1h 2min 3s 500ms`.
pub(super) fn write(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let nanoseconds = duration.subsec_nanos();
    let parts = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
        (u64::from(nanoseconds / 1_000_000), "ms"),
        (u64::from(nanoseconds / 1000 % 1000), "us"),
        (u64::from(nanoseconds % 1000), "ns"),
    ];
    let words = parts.iter().filter(|(number, _)| *number > 0);
    let words: Vec<String> = words.map(|(n, unit)| format!("{n}{unit}")).collect();
    if words.is_empty() {
        return "0".to_owned();
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::duration;

    #[test]
    fn durations_are_read_as_go_reads_them_and_written_as_we_read_them() {
        for (go, nanoseconds, ours) in [
            ("10m", 600_000_000_000, "10min"),
            ("1h2m3.5s", 3_723_500_000_000, "1h 2min 3s 500ms"),
            ("300ms", 300_000_000, "300ms"),
            ("2\u{b5}s", 2000, "2us"),
            ("2\u{3bc}s", 2000, "2us"),
            ("2us3ns", 2003, "2us 3ns"),
            ("+.5s", 500_000_000, "500ms"),
            ("1.s", 1_000_000_000, "1s"),
            ("90s", 90_000_000_000, "1min 30s"),
            ("100h", 360_000_000_000_000, "100h"),
            ("0", 0, "0"),
            ("-0s", 0, "0"),
            ("0.3333333333333333333333h", 1_200_000_000_000, "20min"),
            ("1m1m", 120_000_000_000, "2min"),
        ] {
            let read = read(go).unwrap().unwrap();
            // Go cuts off what is less than a nanosecond.
            let off = Duration::from_nanos(nanoseconds).abs_diff(read);
            assert!(off <= Duration::from_nanos(1), "{go}: {read:?}");
            if off.is_zero() {
                assert_eq!(write(read), ours, "{go}");
            }
            assert_eq!(duration::parse(&write(read)), Ok(Some(read)), "{go}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for (text, why) in [
            ("", "is not a duration"),
            ("-", "is not a duration"),
            (".s", "is not a duration"),
            ("1.2.3s", "is not a duration"),
            ("s", "is not a duration"),
            ("10", "has no unit"),
            ("1h30", "has no unit"),
            ("10min", "has a unit that is none"),
            ("1d", "has a unit that is none"),
            ("1 h", "has a unit that is none"),
            ("9999999999999999999999h", "is longer than 292 years"),
            ("2562048h", "is longer than 292 years"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(why), "'{text}' {error}");
        }
    }

    #[test]
    fn a_negative_duration_is_none() {
        assert_eq!(read("-1s"), Ok(None));
        assert_eq!(read("-1h5ns"), Ok(None));
    }
}
