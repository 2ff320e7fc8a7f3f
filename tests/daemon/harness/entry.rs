//! The journal's wire format.

/// The fields of an entry as `NAME=value`, sorted. On the wire they are that, or `NAME`, a length
/// of 64 bits, and the value.
pub fn fields(mut entry: &[u8]) -> Vec<String> {
    let mut fields = Vec::new();
    while let Some(end) = entry.iter().position(|b| *b == b'\n') {
        let line = String::from_utf8_lossy(&entry[..end]).into_owned();
        entry = &entry[end + 1..];
        if line.contains('=') {
            fields.push(line);
            continue;
        }
        let length = u64::from_le_bytes(entry[..8].try_into().unwrap()) as usize;
        let value = String::from_utf8_lossy(&entry[8..8 + length]).into_owned();
        entry = &entry[8 + length + 1..];
        fields.push(format!("{line}={value}"));
    }
    fields.sort();
    fields
}
