//! What holds for every text that is given for a name, an address, a duration.

use std::{net::IpAddr, time::Duration};

use super::{
    Cidr, CommandLine, ContainerRef, Destination, Execution, ServiceName, StopSignal, UnitName,
    addr::parse_port, duration,
};

pub(crate) fn all(bytes: &[u8]) {
    let text = &*String::from_utf8_lossy(bytes);
    destination(text);
    network(text);
    time(text);
    name(text);
    if let Ok(port) = parse_port(text) {
        assert_eq!(text.trim_start_matches('0'), port.to_string());
    }
    if let Some(Execution::Program(words)) =
        CommandLine::new(text).as_ref().map(CommandLine::execution)
    {
        assert!(words[0].starts_with('/'));
    }
    ready_made(text);
    if let Ok(signal) = text.parse::<StopSignal>() {
        assert_eq!(signal.to_string().parse(), Ok(signal));
    }
}

/// What is a name can be an argument of a command, and reads back.
fn ready_made(text: &str) {
    let harmless =
        |name: &str| !name.starts_with('-') && name.bytes().all(|b| b.is_ascii_graphic());
    if let Ok(unit) = text.parse::<UnitName>() {
        assert!(harmless(unit.as_str()));
        assert_eq!(unit.as_str().parse(), Ok(unit));
    }
    if let Ok(container) = text.parse::<ContainerRef>() {
        assert!(harmless(&container.name));
        assert_eq!(container.to_string().parse(), Ok(container));
    }
}

fn destination(text: &str) {
    if let Ok(read) = text.parse::<Destination>() {
        assert_eq!(read.to_string().parse(), Ok(read));
    }
}

fn network(text: &str) {
    let Ok(read) = text.parse::<Cidr>() else {
        return;
    };
    assert_eq!(read.to_string().parse(), Ok(read));
    let address = text
        .split('/')
        .next()
        .and_then(|address| address.parse::<IpAddr>().ok());
    assert!(address.is_some_and(|address| read.contains(address)));
}

fn time(text: &str) {
    let Ok(Some(read)) = duration::parse(text) else {
        return;
    };
    let shown = duration::parse(&duration::show(read)).map(Option::unwrap_or_default);
    let fine = if read >= Duration::from_secs(60) {
        Duration::from_secs(1)
    } else {
        Duration::from_millis(1)
    };
    let near = |shown: Duration| shown <= read && read - shown < fine;
    assert!(
        shown.clone().is_ok_and(near),
        "{read:?} is shown as {shown:?}"
    );
}

fn name(text: &str) {
    if let Some(slug) = ServiceName::new(text).slug() {
        let safe = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        assert!(slug.as_str().bytes().all(safe));
        assert_eq!(ServiceName::new(slug.as_str()).slug(), Some(slug));
    }
}
