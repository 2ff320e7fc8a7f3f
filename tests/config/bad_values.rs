//! What is said of a value that a key does not take.

use super::*;

/// A line of a sound section, and what is said of it.
const BAD_VALUES: &[(&str, &str)] = &[
    ("ACTIVE=1", "ACTIVE: '1' is not one of yes, true, no, false"),
    ("PORT=0", "PORT: '0' is not a port from 1 to 65535"),
    ("PORT=70000", "PORT: '70000' is not a port from 1 to 65535"),
    ("PORT=-1", "PORT: '-1' is not a port from 1 to 65535"),
    (
        "PORT=+1",
        "PORT: '+1' is not an address to listen on; write PORT, IP:PORT, [IPv6]:PORT or /PATH",
    ),
    ("PORT=80-90", "PORT: '80-90' is not a port from 1 to 65535"),
    (
        "PORT=80,81",
        "PORT: '80,81' is not a port from 1 to 65535 (several are separated by spaces)",
    ),
    (
        "PORT=80 81 # web",
        "PORT: '#' is not an address to listen on; write PORT, IP:PORT, [IPv6]:PORT or /PATH (a comment after several words needs a line of its own); 'web' is not an address to listen on; write PORT, IP:PORT, [IPv6]:PORT or /PATH",
    ),
    (
        "PORT=http",
        "PORT: 'http' is not an address to listen on; write PORT, IP:PORT, [IPv6]:PORT or /PATH",
    ),
    (
        "PORT=127.0.0.1",
        "PORT: '127.0.0.1' is not an address to listen on; write PORT, IP:PORT, [IPv6]:PORT or /PATH",
    ),
    (
        "PORT=::1:80",
        "PORT: '::1:80' is not an address to listen on; write PORT, IP:PORT, [IPv6]:PORT or /PATH",
    ),
    (
        "PORT=1.2.3.400:80",
        "PORT: '1.2.3.400:80' is not an address to listen on; write PORT, IP:PORT, [IPv6]:PORT or /PATH",
    ),
    (
        "PORT=run/x.sock",
        "PORT: 'run/x.sock' is not an address to listen on; write PORT, IP:PORT, [IPv6]:PORT or /PATH",
    ),
    (
        "PORT=127.0.0.1:x",
        "PORT: 'x' is not a port from 1 to 65535",
    ),
    (
        "PORT=myhost:80",
        "PORT: 'myhost:80': listening on a host name is not supported yet; write its IP address",
    ),
    (
        "PORT=interface:eth0:80",
        "PORT: 'interface:eth0:80': interface: is not supported yet",
    ),
    ("PORT=/run/", "PORT: '/run/' is a directory, not a socket"),
    (
        "SOCKET=a:b",
        "SOCKET: 'a:b' is not a name of a socket: up to 255 ASCII characters, no ':'",
    ),
    (
        "SOCKET=ä",
        "SOCKET: 'ä' is not a name of a socket: up to 255 ASCII characters, no ':'",
    ),
    ("SOCKET=a'b", "SOCKET: a ' is not closed"),
    ("TARGET=8080", "TARGET: '8080' has no port; write HOST:PORT"),
    (
        "TARGET=127.0.0.1 8080",
        "TARGET: '127.0.0.1 8080' is what START prints; here write 127.0.0.1:8080",
    ),
    ("TARGET=a:1 b", "TARGET: 'b' has no port; write HOST:PORT"),
    (
        "TARGET=a:99999",
        "TARGET: '99999' is not a port from 1 to 65535",
    ),
    (
        "TARGET=a:1,b:2",
        "TARGET: 'a:1,b:2' is neither an IP address nor a host name (several are separated by spaces)",
    ),
    (
        "TARGET=exec:/bin/x",
        "TARGET: 'exec:/bin/x': exec: is not supported yet",
    ),
    (
        "TARGET=srv:_x._tcp.y",
        "TARGET: 'srv:_x._tcp.y': srv: is not supported yet",
    ),
    (
        "BALANCE=fair",
        "BALANCE: 'fair' is not one of random, first, roundrobin, leastconn",
    ),
    (
        "IDLE_ON=byte",
        "IDLE_ON: 'byte' is not one of connections, bytes, command",
    ),
    ("WAKE_ON=yes", "WAKE_ON: 'yes' is not one of connect, data"),
    (
        "AUTO_START=maybe",
        "AUTO_START: 'maybe' is not one of yes, true, no, false",
    ),
    (
        "IDLE_TIME=soon",
        "IDLE_TIME: 'soon' is not a duration; write 90 (seconds), 500ms, 10min or 1h 30min",
    ),
    (
        "IDLE_TIME=-1",
        "IDLE_TIME: '-1' is not a duration; write 90 (seconds), 500ms, 10min or 1h 30min",
    ),
    (
        "IDLE_CHECK_INTERVAL=x",
        "IDLE_CHECK_INTERVAL: 'x' is not a duration; write 90 (seconds), 500ms, 10min or 1h 30min",
    ),
    (
        "EXEC_CMD_TIMEOUT=5 s x",
        "EXEC_CMD_TIMEOUT: '5 s x' is not a duration; write 90 (seconds), 500ms, 10min or 1h 30min",
    ),
    (
        "START_CMD_TIMEOUT=1e400",
        "START_CMD_TIMEOUT: '1e400' is not a duration; write 90 (seconds), 500ms, 10min or 1h 30min",
    ),
    (
        "STOP_TIMEOUT=200years",
        "STOP_TIMEOUT: '200years' is more than 100 years",
    ),
    (
        "MIN_UPTIME=infinity",
        "MIN_UPTIME: a pause without end is not possible; write a duration",
    ),
    (
        "WAKE_TIMEOUT=0",
        "WAKE_TIMEOUT: 0 leaves no time at all; leave it blank for no limit",
    ),
    (
        "CONNECT_TIMEOUT=",
        "CONNECT_TIMEOUT: this cannot be without limit; write a duration",
    ),
    (
        "CONNECT_TIMEOUT=infinity",
        "CONNECT_TIMEOUT: this cannot be without limit; write a duration",
    ),
    (
        "CONNECT_TIMEOUT=0",
        "CONNECT_TIMEOUT: 0 leaves no time at all; write a duration",
    ),
    (
        "USER_TIMEOUT=30days",
        "USER_TIMEOUT: '30days' is more than 24 days, the kernel's limit",
    ),
    ("USER_TIMEOUT=1us", "USER_TIMEOUT: '1us' is less than 1ms"),
    (
        "MAX_CONNECTIONS=0",
        "MAX_CONNECTIONS: '0' is not a number from 1 to 1000000, nor infinity",
    ),
    (
        "MAX_WAITING=+5",
        "MAX_WAITING: '+5' is not a number from 1 to 1000000, nor infinity",
    ),
    (
        "MAX_CONNECTIONS_PER_SOURCE=1e3",
        "MAX_CONNECTIONS_PER_SOURCE: '1e3' is not a number from 1 to 1000000, nor infinity",
    ),
    (
        "USER=a b",
        "USER: 'a b' is neither a name nor a number of an account",
    ),
    (
        "GROUP=a:b",
        "GROUP: 'a:b' is neither a name nor a number of an account",
    ),
    ("SHELL=bash", "SHELL: 'bash' is not an absolute path"),
    (
        "SHELL=/bin/sh -c",
        "SHELL: '/bin/sh -c' is more than a path; the shell gets -c and the command by itself",
    ),
    (
        "WORKING_DIRECTORY=~",
        "WORKING_DIRECTORY: '~' is not an absolute path",
    ),
    (
        "ENVIRONMENT=A",
        "ENVIRONMENT: 'A' is not an assignment, NAME=VALUE",
    ),
    (
        "ENVIRONMENT=1A=x",
        "ENVIRONMENT: '1A' is not a name of a variable: letters, digits and '_'",
    ),
    ("ENVIRONMENT=A=\"x", "ENVIRONMENT: a \" is not closed"),
    (
        "ENVIRONMENT_FILE=-etc",
        "ENVIRONMENT_FILE: 'etc' is not an absolute path",
    ),
    (
        "READY_URL=h:80/x",
        "READY_URL: 'h:80/x' is not an http:// address; write http://HOST:PORT/PATH",
    ),
    (
        "READY_URL=https://h/",
        "READY_URL: 'https://h/' asks for TLS, which is not supported; write http://HOST:PORT/PATH",
    ),
    (
        "READY_URL=http:///x",
        "READY_URL: 'http:///x' has no proper host and port; write http://HOST:PORT/PATH",
    ),
    (
        "READY_URL=http://h:x/",
        "READY_URL: 'http://h:x/' has no proper host and port; write http://HOST:PORT/PATH",
    ),
    (
        "READY_URL=http://u@h/",
        "READY_URL: 'http://u@h/' has a user in it, which is not supported; write http://HOST:PORT/PATH",
    ),
    (
        "READY_URL=http://h/a b",
        "READY_URL: 'http://h/a b' has characters in it that no URL may have; write http://HOST:PORT/PATH",
    ),
    (
        "ALLOW=10.0.0.0/33",
        "ALLOW: '10.0.0.0/33' has no prefix length from 0 to 32",
    ),
    (
        "DENY=me",
        "DENY: 'me' is not an IP address or network; write 10.0.0.0/8 or 2001:db8::/32",
    ),
    (
        "IGNORE=10.0.0.1,::1",
        "IGNORE: '10.0.0.1,::1' is not an IP address or network; write 10.0.0.0/8 or 2001:db8::/32 (several are separated by spaces)",
    ),
    (
        "SEND_PROXY=v3",
        "SEND_PROXY: 'v3' is not one of no, v1, v2, yes, true, false",
    ),
    (
        "ACCEPT_PROXY=yes",
        "ACCEPT_PROXY: 'yes' does not say whom to trust; list the addresses of those that send the header, or 0.0.0.0/0 ::/0 for everybody",
    ),
    (
        "ACCEPT_PROXY=no 10.0.0.1",
        "ACCEPT_PROXY: 'no' is not an IP address or network; write 10.0.0.0/8 or 2001:db8::/32",
    ),
    (
        "ACCEPT_PROXY=10.0.0.1,unix",
        "ACCEPT_PROXY: '10.0.0.1,unix' is not an IP address or network; write 10.0.0.0/8 or 2001:db8::/32 (several are separated by spaces)",
    ),
    (
        "PROXY_TIMEOUT=",
        "PROXY_TIMEOUT: this cannot be without limit; write a duration",
    ),
    (
        "PROXY_TIMEOUT=0",
        "PROXY_TIMEOUT: 0 leaves no time at all; write a duration",
    ),
];

#[test]
fn a_bad_value_is_an_error_that_says_where_and_what_is_expected() {
    for (line, expected) in BAD_VALUES {
        // On a line by itself, before what would make it a second one.
        let (key, _) = line.split_once('=').unwrap();
        let rest: String = SOUND
            .lines()
            .filter(|l| !l.starts_with(&format!("{key}=")))
            .collect::<Vec<_>>()
            .join("\n");
        let loaded = load(&format!("[s]\n{line}\n{rest}\n[t]\nPORT=1\nSTART_CMD=x\n"));
        assert_eq!(
            said(&loaded),
            [format!("x.conf:2: error: {expected}")],
            "{line}"
        );
        assert_eq!(names(&loaded), ["t"], "{line}");
        assert_eq!(loaded.broken[0].as_str(), "s", "{line}");
        assert_eq!(
            loaded.diagnostics[0].service.as_ref().unwrap().as_str(),
            "s"
        );
    }
}

#[test]
fn every_key_with_a_kind_of_value_has_a_bad_one_among_the_tests() {
    // These take anything, or have a test of their own.
    let anything = [
        "THREADS",
        "EXIT_IDLE_TIME",
        "UNIT",
        "CONTAINER",
        "COMMAND",
        "STOP_SIGNAL",
        "VARRUN_PATH",
        "START_CMD",
        "STOP_CMD",
        "CHECK_CMD",
        "IDLE_CMD",
        "READY_CMD",
    ];
    // These share the parser of another, which is there.
    let shared = [
        "STOP_CMD_TIMEOUT",
        "CHECK_CMD_TIMEOUT",
        "IDLE_CMD_TIMEOUT",
        "WAIT_AFTER_START",
        "SETTLE_TIME",
        "CLIENT_TIMEOUT",
        "HALF_CLOSE_TIMEOUT",
        "DRAIN_TIMEOUT",
        "EXIT_IDLE_TIME",
    ];
    for key in keys::ALL {
        let tested = BAD_VALUES
            .iter()
            .any(|(line, _)| line.split('=').next() == Some(key.name));
        let excused = anything.contains(&key.name) || shared.contains(&key.name);
        let planned = matches!(key.support, keys::Support::NotYet(_));
        assert!(tested || excused || planned, "{}", key.name);
    }
}

#[test]
fn a_path_or_a_command_the_kernel_would_refuse_is_an_error() {
    let path = format!("/{}", "x".repeat(107));
    let message = complaints(&format!("[s]\nPORT={path}\nSTART_CMD=x"));
    assert!(message[0].ends_with("is longer than the 107 bytes a socket's path may have"));
    only(&format!("[s]\nPORT={}\nSTART_CMD=x", &path[..107]));
    let message = complaints(&format!("[s]\nPORT=1\nSTART_CMD={}", "x".repeat(131_072)));
    assert_eq!(
        message,
        ["x.conf:3: error: START_CMD: a command of 131072 bytes; the kernel takes 131072 at most"]
    );
}
