//! What holds for every text that is given for READY_URL.

use super::http;

pub(crate) fn all(bytes: &[u8]) {
    let text = &*String::from_utf8_lossy(bytes);
    if let Ok((authority, path)) = http::parse(text) {
        assert!(!authority.host().is_empty());
        // These could end the line of a request and begin another; what is not ASCII could not.
        let harmless = |c: char| !c.is_ascii_control() && c != ' ';
        assert!(authority.as_str().chars().all(harmless));
        assert!(path.chars().all(harmless));
    }
}
