//! What holds for every text on its way to systemd, or from it.

use std::ffi::OsStr;

use super::{notify, sockets};

pub(crate) fn all(bytes: &[u8]) {
    let text = &*String::from_utf8_lossy(bytes);
    let status = notify::one_line(text);
    assert!(status.len() <= notify::STATUS_LIMIT && !status.contains(char::is_control));
    if notify::check_name(text).is_ok() {
        assert!(!text.contains([':', '\n']));
    }
    if let Ok(number) = sockets::number("LISTEN_FDS", OsStr::new(text)) {
        // The first is 3, and the last an int too.
        assert!(i32::try_from(number + 3).is_ok());
        assert_eq!(text.parse(), Ok(number));
    }
}
