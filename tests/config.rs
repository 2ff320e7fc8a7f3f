//! The configuration through its public face: what files mean, and what is said of those that
//! mean nothing.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use sleepingd::{
    config::{self, Loaded, Severity, SourceFile, keys},
    model::{Balance, Definition, Destination, IdleOn, Mode, WakeOn},
};

/// Enough for a service that is sound.
const SOUND: &str = "PORT=1000\nSTART_CMD=/bin/start\n";

fn file(name: &str, text: &str) -> SourceFile {
    SourceFile {
        path: name.into(),
        text: text.to_owned(),
    }
}

fn load(text: &str) -> Loaded {
    config::parse(&[file("x.conf", text)], &[])
}

fn said(loaded: &Loaded) -> Vec<String> {
    loaded.diagnostics.iter().map(ToString::to_string).collect()
}

/// What is said of a text.
fn complaints(text: &str) -> Vec<String> {
    said(&load(text))
}

/// The one service of a text that nothing is wrong with.
fn only(text: &str) -> Definition {
    let mut loaded = load(text);
    assert_eq!(said(&loaded), [""; 0], "{text}");
    assert_eq!(loaded.definitions.len(), 1, "{text}");
    loaded.definitions.remove(0)
}

/// A sound service with these lines too.
fn with(lines: &str) -> Definition {
    only(&format!("[s]\n{SOUND}{lines}\n"))
}

fn names(loaded: &Loaded) -> Vec<&str> {
    loaded.definitions.iter().map(|d| d.name.as_str()).collect()
}

fn secs(n: u64) -> Option<Duration> {
    Some(Duration::from_secs(n))
}

// === sleeping-beauty's files ===

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/config/fixtures")
        .join(name);
    fs::read_to_string(path).unwrap()
}

#[test]
fn the_web_server_of_sleeping_beautys_manual_runs_unchanged() {
    let service = only(&fixture("sleeping-beauty-web.conf"));
    assert_eq!(
        service.name.as_str(),
        "Simple web server for testing purposes"
    );
    assert_eq!(
        service.slug.as_str(),
        "simple-web-server-for-testing-purposes"
    );
    assert_eq!(service.listen[0].to_string(), "*:10080");
    assert_eq!(
        service.recipe.start.as_ref().unwrap().as_str(),
        "( echo -e 'Response from 8080: $(date)' | nc -l -p 8080 -w 1 > /dev/null 2> /dev/null & \
         ) ; echo '127.0.0.1 8080'"
    );
    assert_eq!(service.mode(), Mode::PerConnection);
}

#[test]
fn the_containers_of_sleeping_beautys_manual_run_unchanged() {
    let service = only(&fixture("sleeping-beauty-docker.conf"));
    let script = |what: &str| format!("/usr/share/sleepingd/example/startserver {what}");
    assert_eq!(
        service.recipe.start.as_ref().unwrap().as_str(),
        script("start")
    );
    assert_eq!(
        service.recipe.stop.as_ref().unwrap().as_str(),
        script("stop")
    );
    assert_eq!(
        service.recipe.idle.as_ref().unwrap().as_str(),
        script("status")
    );
    assert_eq!(service.policy.idle.after, secs(20));
    assert_eq!(service.policy.idle.check_interval, secs(5));
    assert_eq!(service.policy.idle.on, IdleOn::Connections);
}

#[test]
fn a_file_that_spells_out_sleeping_beautys_defaults_runs_unchanged() {
    let loaded = load(&fixture("sleeping-beauty-defaults.conf"));
    assert_eq!(said(&loaded), [""; 0]);
    assert_eq!(names(&loaded), ["Simple web server"]);
    // The general section's ACTIVE=no holds for what does not say otherwise.
    assert_eq!(loaded.inactive[0].as_str(), "Nodeapp in docker containers");
    let service = &loaded.definitions[0];
    assert_eq!(service.listen[0].to_string(), "*:80");
    let recipe = &service.recipe;
    assert_eq!(
        (&recipe.check, &recipe.stop, &recipe.idle),
        (&None, &None, &None)
    );
    assert_eq!(recipe.account.user, None);
    assert_eq!(service.policy.command_timeouts, Default::default());
    assert_eq!(service.policy.idle, Default::default());
}

#[test]
fn true_and_false_are_sleeping_beautys_way_to_have_no_command() {
    let service = with("CHECK_CMD=false\nSTOP_CMD=/bin/false\nIDLE_CMD=true\nIDLE_ON=bytes");
    assert_eq!(service.recipe.check, None);
    assert_eq!(service.mode(), Mode::PerConnection);
    assert_eq!(service.recipe.stop, None);
    assert_eq!(service.recipe.idle, None);
    let fixed = only("[s]\nPORT=1\nTARGET=h:1\nSTART_CMD=false\nCHECK_CMD=false");
    assert_eq!((fixed.mode(), &fixed.recipe.start), (Mode::Fixed, &None));
    assert_eq!(
        complaints("[s]\nPORT=1\nSTART_CMD=false"),
        [
            "x.conf:1: error: 's' can never reach a destination: it has no TARGET, no START_CMD \
             and no CHECK_CMD"
        ]
    );
    // Anything else is a command.
    let service = with("STOP_CMD=true\nCHECK_CMD=false --now");
    assert_eq!(service.recipe.stop.as_ref().unwrap().as_str(), "true");
    assert_eq!(
        service.recipe.check.as_ref().unwrap().as_str(),
        "false --now"
    );
}

// === values ===

#[test]
fn addresses_to_listen_on_have_several_forms() {
    let listen = |value: &str| {
        let service = only(&format!("[s]\nPORT={value}\nTARGET=backend:1\n"));
        service
            .listen
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let table = [
        ("10080", "*:10080"),
        (":5000", "*:5000"),
        ("*:5000", "*:5000"),
        ("127.0.0.1:10080", "127.0.0.1:10080"),
        ("[::1]:80", "[::1]:80"),
        ("[::ffff:10.0.0.1]:80", "10.0.0.1:80"),
        ("[fe80::1%2]:80", "[fe80::1%2]:80"),
        ("LOCALHOST:80", "127.0.0.1:80"),
        ("/run/x.sock", "/run/x.sock"),
        ("80 [::1]:81\t/run/x.sock", "*:80 [::1]:81 /run/x.sock"),
        ("0.0.0.0:80 [::]:80", "0.0.0.0:80 [::]:80"),
        ("80\nPORT=81", "*:80 *:81"),
        ("80\nPORT=\nPORT=81", "*:81"),
        ("\"80\n81\"", "*:80 *:81"),
    ];
    for (value, expected) in table {
        assert_eq!(listen(value), expected, "{value}");
    }
}

#[test]
fn destinations_have_several_forms() {
    let targets = |value: &str| with(&format!("TARGET={value}")).targets;
    let text = |value: &str| {
        targets(value)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let all = "127.0.0.1:80 [::1]:80 web.example:8080 /run/x.sock";
    assert_eq!(text(all), all);
    assert_eq!(text("[::ffff:10.0.0.1]:80"), "10.0.0.1:80");
    assert_eq!(
        targets("localhost:1"),
        [Destination::Host {
            name: "localhost".into(),
            port: 1
        }]
    );
    assert_eq!(text("a:1\nTARGET=b:2"), "a:1 b:2");
}

#[test]
fn durations_are_seconds_or_say_their_unit_and_blank_is_none() {
    let timeouts = |lines: &str| with(lines).policy.timeouts;
    assert_eq!(timeouts("WAKE_TIMEOUT=90").wake, secs(90));
    assert_eq!(timeouts("WAKE_TIMEOUT=1h 30min").wake, secs(5400));
    assert_eq!(
        timeouts("WAKE_TIMEOUT=500ms").wake,
        Some(Duration::from_millis(500))
    );
    assert_eq!(timeouts("WAKE_TIMEOUT=").wake, None);
    assert_eq!(timeouts("WAKE_TIMEOUT=infinity").wake, None);
    assert_eq!(
        timeouts("STOP_TIMEOUT=\nDRAIN_TIMEOUT=\nHALF_CLOSE_TIMEOUT=").stop,
        None
    );
    assert_eq!(timeouts("STOP_TIMEOUT=0").stop, secs(0));
    assert_eq!(timeouts("DRAIN_TIMEOUT=0").drain, secs(0));
    assert_eq!(
        timeouts("CONNECT_TIMEOUT=0.5").connect,
        Duration::from_millis(500)
    );
    assert_eq!(
        timeouts("WAIT_AFTER_START=\nSETTLE_TIME=").settle,
        Duration::ZERO
    );
    assert_eq!(
        timeouts("SETTLE_TIME=20ms").settle,
        Duration::from_millis(20)
    );
    assert_eq!(
        timeouts("CLIENT_TIMEOUT=1h\nUSER_TIMEOUT=1min").user,
        secs(60)
    );
    assert_eq!(with("STOP_CMD=x\nIDLE_TIME=0").policy.idle.after, None);
}

#[test]
fn a_commands_own_limit_beats_the_general_one() {
    let limits = |lines: &str| with(lines).policy.command_timeouts;
    let all = limits("EXEC_CMD_TIMEOUT=30");
    assert_eq!(
        [all.start, all.stop, all.check, all.idle, all.ready],
        [secs(30); 5]
    );
    let some = limits(
        "EXEC_CMD_TIMEOUT=30\nSTART_CMD_TIMEOUT=5\nSTOP_CMD_TIMEOUT=\nCHECK_CMD_TIMEOUT=0\nIDLE_CMD_TIMEOUT=infinity",
    );
    assert_eq!(
        [some.start, some.stop, some.check, some.idle],
        [secs(5), secs(30), None, None]
    );
    assert_eq!(limits("EXEC_CMD_TIMEOUT=0").start, None);
}

#[test]
fn every_other_key_ends_up_in_the_definition() {
    let service = with(
        "SOCKET=a 'b c'\nSOCKET=a\nBALANCE=LeastConn\nSTOP_CMD=/bin/stop\nCHECK_CMD=check\n\
         READY_CMD=ready\nREADY_URL=http://h:8080/x?y\nUSER=nobody\nGROUP=33\nSHELL=/bin/sh\n\
         WORKING_DIRECTORY=/srv\nENVIRONMENT=\"A=one two\" B=\nENVIRONMENT=C='\\x41'\n\
         ENVIRONMENT_FILE=/etc/a b\nENVIRONMENT_FILE=-/etc/c\nAUTO_START=yes\nWAKE_ON=data\n\
         MAX_CONNECTIONS=10\nMAX_WAITING=infinity\nMAX_CONNECTIONS_PER_SOURCE=2\n\
         ALLOW=10.0.0.0/8 ::1\nDENY=10.0.0.1\nIGNORE=192.0.2.0/24\nMIN_UPTIME=1min\n\
         VARRUN_PATH=anything",
    );
    assert_eq!(service.sockets, ["a", "b c"]);
    assert!(service.auto_start);
    let recipe = &service.recipe;
    assert_eq!(recipe.ready.as_ref().unwrap().as_str(), "ready");
    assert_eq!(recipe.ready_url.as_deref(), Some("http://h:8080/x?y"));
    assert_eq!(recipe.account.user.as_deref(), Some("nobody"));
    assert_eq!(recipe.account.group.as_deref(), Some("33"));
    assert_eq!(recipe.shell, Path::new("/bin/sh"));
    assert_eq!(recipe.working_directory, Path::new("/srv"));
    let variables = [("A", "one two"), ("B", ""), ("C", "A")].map(|(n, v)| (n.into(), v.into()));
    assert_eq!(recipe.environment.variables, variables);
    let files = [("/etc/a b".into(), false), ("/etc/c".into(), true)];
    assert_eq!(recipe.environment.files, files);
    let policy = &service.policy;
    assert_eq!(
        (policy.balance, policy.wake_on),
        (Balance::LeastConn, WakeOn::Data)
    );
    assert_eq!(policy.limits.connections, Some(10));
    assert_eq!(policy.limits.waiting, None);
    assert_eq!(policy.limits.per_source, Some(2));
    assert_eq!(policy.access.allow.to_string(), "10.0.0.0/8 ::1/128");
    assert_eq!(policy.access.deny.to_string(), "10.0.0.1/32");
    assert_eq!(policy.access.ignore.to_string(), "192.0.2.0/24");
    assert_eq!(policy.idle.min_uptime, Duration::from_secs(60));
}

#[test]
fn keys_are_the_same_in_any_case() {
    assert_eq!(
        only("[s]\nport=7\nStart_Cmd=x").listen[0].to_string(),
        "*:7"
    );
}

#[test]
fn a_blank_value_is_the_default_even_where_the_head_says_otherwise() {
    let head = "USER=nobody\nSHELL=/bin/sh\nMAX_WAITING=5\nBALANCE=first\nALLOW=10.0.0.1\n\
                ENVIRONMENT=A=1\nSTART_CMD=x\nWAKE_ON=data\nTARGET=a:1\nAUTO_START=yes\n\
                CHECK_CMD=c\nWORKING_DIRECTORY=/srv\n";
    let blank = "USER=\nSHELL=\nMAX_WAITING=\nBALANCE=\nALLOW=no\nENVIRONMENT=\nWAKE_ON=\n\
                 TARGET=\nAUTO_START=\nCHECK_CMD=\nWORKING_DIRECTORY=\nACTIVE=\n";
    let service = only(&format!("{head}[s]\nPORT=1\n{blank}"));
    let bare = only("[s]\nPORT=1\nSTART_CMD=x\n");
    assert_eq!(service.recipe, bare.recipe);
    assert_eq!(service.policy, bare.policy);
    assert_eq!(
        (service.targets, service.auto_start),
        (bare.targets, bare.auto_start)
    );
}

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
        "CONNECT_TIMEOUT: 0 leaves no time at all; leave it blank for no limit",
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
    // These take anything.
    let anything = [
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

// === keys that are not there, or not yet ===

#[test]
fn what_is_not_supported_yet_is_refused_and_what_asks_for_nothing_is_not() {
    let planned = [
        ("PROXY", "80 a:1"),
        ("COMMAND", "/bin/x"),
        ("STOP_SIGNAL", "KILL"),
        ("SEND_PROXY", "v2"),
        ("ACCEPT_PROXY", "10.0.0.0/8"),
        ("PROXY_TIMEOUT", "5s"),
        ("EXIT_IDLE_TIME", "1min"),
        ("THREADS", "2"),
        ("UNIT", "x.service"),
        ("CONTAINER", "x"),
        ("PASS_LISTENER", "yes"),
    ];
    let table = keys::ALL
        .iter()
        .filter(|k| matches!(k.support, keys::Support::NotYet(_)));
    assert_eq!(
        table.map(|k| k.name).collect::<Vec<_>>(),
        planned.map(|(key, _)| key)
    );
    for (key, value) in planned {
        // Where they may stand, and without a word about what lacks because of them.
        let (head, section) = match keys::find(key).unwrap().place {
            keys::Place::Head => (format!("{key}={value}"), String::new()),
            keys::Place::Anywhere => (String::new(), format!("{key}={value}")),
        };
        let line = if head.is_empty() { 3 } else { 1 };
        let loaded = load(&format!("{head}\n[s]\n{section}\n{SOUND}"));
        assert_eq!(
            said(&loaded),
            [format!("x.conf:{line}: error: {key} is not supported yet")]
        );
        assert_eq!(loaded.definitions.len(), 0);
        for nothing in ["", keys::find(key).unwrap().default] {
            if head.is_empty() {
                with(&format!("{key}={nothing}"));
            } else {
                only(&format!("{key}={nothing}\n[s]\n{SOUND}"));
            }
        }
    }
    with("SEND_PROXY=no\nACCEPT_PROXY=No\nPASS_LISTENER=false\nUNIT=no\nSTOP_SIGNAL=SIGTERM");
}

#[test]
fn one_unsupported_key_is_one_error() {
    for line in [
        "PROXY=80 a:1",
        "COMMAND=/bin/x\nPORT=1\nIDLE_TIME=1",
        "CONTAINER=x\nPORT=1\nIDLE_TIME=1",
    ] {
        let said = complaints(&format!("[s]\n{line}\n"));
        assert_eq!(said.len(), 1, "{said:?}");
    }
}

#[test]
fn keys_of_the_daemon_belong_before_the_first_section() {
    for key in ["EXIT_IDLE_TIME", "THREADS"] {
        assert_eq!(
            complaints(&format!("[s]\n{SOUND}{key}=\n")),
            [format!(
                "x.conf:4: error: {key} is about the daemon and belongs before the first section"
            )]
        );
    }
}

#[test]
fn an_unknown_key_is_a_warning_that_names_the_nearest() {
    let loaded = load(&format!("[s]\n{SOUND}PROT=80\nQUUXBAR=1\n"));
    assert_eq!(
        said(&loaded),
        [
            "x.conf:4: warning: unknown key 'PROT', ignored; is PORT meant?",
            "x.conf:5: warning: unknown key 'QUUXBAR', ignored",
        ]
    );
    assert_eq!(names(&loaded), ["s"]);
    assert_eq!((loaded.errors().count(), loaded.warnings().count()), (0, 2));
}

#[test]
fn a_key_that_is_there_twice_is_a_warning_and_the_last_one_counts() {
    let loaded = load(&format!("[s]\n{SOUND}USER=a\nuser=b\n"));
    assert_eq!(
        said(&loaded),
        ["x.conf:5: warning: USER is here for the second time, after line 4; the last one counts"]
    );
    assert_eq!(
        loaded.definitions[0].recipe.account.user.as_deref(),
        Some("b")
    );
}

// === sections as a whole ===

#[test]
fn all_errors_come_at_once_and_in_order() {
    let loaded = config::parse(
        &[
            file(
                "a.conf",
                "WAKE_TIMEOUT=x\njunk\n[one]\nPORT=0\nTARGET=x\n[two]\n???\n",
            ),
            file(
                "b.conf",
                "[three]\nPORT=1\n[four]\nTARGET=a:1\nNAME=\n[five]\nPORT=2\nSTART_CMD=x",
            ),
        ],
        &[],
    );
    assert_eq!(
        said(&loaded),
        [
            "a.conf:1: error: WAKE_TIMEOUT: 'x' is not a duration; write 90 (seconds), 500ms, \
             10min or 1h 30min",
            "a.conf:2: error: 'junk' is neither a [section], a KEY=VALUE nor a # comment",
            "a.conf:4: error: PORT: '0' is not a port from 1 to 65535",
            "a.conf:5: error: TARGET: 'x' has no port; write HOST:PORT",
            "a.conf:7: error: '???' is neither a [section], a KEY=VALUE nor a # comment",
            "b.conf:1: error: 'three' can never reach a destination: it has no TARGET, no \
             START_CMD and no CHECK_CMD",
            "b.conf:3: error: 'four' listens nowhere: it has no PORT, no SOCKET, and no inherited \
             socket is named 'four' or 'four'",
            "b.conf:5: warning: unknown key 'NAME', ignored",
        ]
    );
    assert_eq!(names(&loaded), ["five"]);
    let broken: Vec<&str> = loaded.broken.iter().map(|name| name.as_str()).collect();
    assert_eq!(broken, ["one", "two", "three", "four"]);
}

#[test]
fn a_section_may_have_nothing_but_inherited_sockets() {
    let text = "[My Web]\nSTART_CMD=x\n";
    for name in ["My Web", "my-web"] {
        let loaded = config::parse(&[file("x.conf", text)], &[name.to_owned()]);
        assert_eq!(said(&loaded), [""; 0]);
        assert!(loaded.definitions[0].listen.is_empty());
    }
    let loaded = config::parse(&[file("x.conf", text)], &["web".to_owned()]);
    assert_eq!(
        said(&loaded),
        [
            "x.conf:1: error: 'My Web' listens nowhere: it has no PORT, no SOCKET, and no \
             inherited socket is named 'My Web' or 'my-web'"
        ]
    );
    assert_eq!(only("[x]\nSOCKET=a\nSTART_CMD=x").sockets, ["a"]);
}

#[test]
fn a_service_cannot_be_its_own_destination() {
    let table = [
        ("80", "127.0.0.1:80", true),
        ("80", "[::1]:80", true),
        ("80", "localhost:80", true),
        ("127.0.0.1:80", "127.0.0.1:80", true),
        ("127.0.0.1:80", "localhost:80", true),
        ("10.0.0.1:80", "10.0.0.1:80", true),
        ("/run/x", "a:1 /run/x", true),
        ("0.0.0.0:80", "[::1]:80", false),
        ("127.0.0.1:80", "127.0.0.2:80", false),
        ("10.0.0.1:80", "127.0.0.1:80", false),
        // It may be another machine.
        ("80", "10.0.0.1:80", false),
        ("80", "web.example:80", false),
        ("80", "127.0.0.1:81", false),
    ];
    for (port, target, itself) in table {
        let said = complaints(&format!("[s]\nPORT={port}\nTARGET={target}"));
        assert_eq!(said.len(), usize::from(itself), "{port} {target}: {said:?}");
        if itself {
            assert!(said[0].starts_with("x.conf:3: error: TARGET: "), "{said:?}");
            assert!(said[0].contains("where 's' listens itself"), "{said:?}");
        }
    }
}

#[test]
fn idle_sleep_that_cannot_be_is_pointed_out() {
    let warn = |lines: &str| {
        let loaded = load(&format!("[s]\n{SOUND}{lines}\n"));
        assert_eq!(names(&loaded), ["s"]);
        said(&loaded)
    };
    assert_eq!(
        warn("IDLE_TIME=10"),
        [
            "x.conf:4: warning: IDLE_TIME does nothing without STOP_CMD: there is no way to put \
             the backend to sleep"
        ]
    );
    assert_eq!(
        warn("STOP_CMD=x\nIDLE_TIME=10\nIDLE_CMD=who"),
        [
            "x.conf:6: warning: IDLE_CMD without IDLE_CHECK_INTERVAL switches idle sleep off: the \
             service is never put to sleep"
        ]
    );
    assert_eq!(
        warn("STOP_CMD=x\nIDLE_CMD=who\nIDLE_CHECK_INTERVAL=5"),
        [
            "x.conf:5: warning: IDLE_CMD does nothing without IDLE_TIME: the service is never put \
             to sleep"
        ]
    );
    assert_eq!(
        warn("AUTO_START=yes"),
        [
            "x.conf:4: warning: AUTO_START does nothing here: START_CMD runs for every \
             connection, as there is neither TARGET nor CHECK_CMD"
        ]
    );
    let loaded = load(&format!(
        "[s]\n{SOUND}STOP_CMD=x\nIDLE_TIME=1\nIDLE_ON=command\n"
    ));
    assert_eq!(
        said(&loaded),
        ["x.conf:6: error: IDLE_ON=command needs an IDLE_CMD to decide"]
    );
    // A default for many is no mistake in the one that has nothing to stop.
    only("IDLE_TIME=10min\n[s]\nPORT=1\nTARGET=a:1\n");
    // A plain forwarder.
    only("[s]\nPORT=1\nTARGET=a:1\n");
}

#[test]
fn names_that_nothing_can_be_called_by_are_errors() {
    let first = |name: &str| complaints(&format!("[{name}]\n{SOUND}"))[0].clone();
    assert_eq!(
        first("日本"),
        "x.conf:1: error: '日本' has no letter or digit of ASCII to name files by"
    );
    assert_eq!(
        first("a\u{1b}[31m"),
        r"x.conf:1: error: 'a\u{1b}[31m' has control characters in it"
    );
    let long = "x".repeat(129);
    assert_eq!(
        first(&long),
        format!("x.conf:1: error: '{long}' is too long for a name: at most 128 bytes")
    );
    assert_eq!(only(&format!("[Mé]\n{SOUND}")).slug.as_str(), "m");
}

// === several sections ===

#[test]
fn two_sections_with_one_slug_are_an_error_that_names_both() {
    let loaded = config::parse(
        &[
            file("a.conf", "[My Web]\nPORT=1\nSTART_CMD=x\n"),
            file(
                "b.conf",
                "[my-web]\nPORT=2\nSTART_CMD=x\n[My Web]\nPORT=3\nSTART_CMD=x",
            ),
        ],
        &[],
    );
    assert_eq!(
        said(&loaded),
        [
            "b.conf:1: error: 'my-web' and 'My Web' (a.conf:1) have the same slug, 'my-web'",
            "b.conf:4: error: [My Web] is there twice, first as 'My Web' (a.conf:1)",
        ]
    );
    assert_eq!(loaded.definitions.len(), 1);
    assert_eq!(loaded.definitions[0].origin.file, Path::new("a.conf"));
}

#[test]
fn two_services_cannot_listen_on_one_address() {
    let clash = |a: &str, b: &str| {
        let text = format!("[a]\nPORT={a}\nSTART_CMD=x\n[b]\nPORT={b}\nSTART_CMD=x\n");
        let loaded = load(&text);
        let expected: &[&str] = if loaded.diagnostics.is_empty() {
            &["a", "b"]
        } else {
            &["a"]
        };
        assert_eq!(names(&loaded), expected);
        said(&loaded)
    };
    assert_eq!(
        clash("80", "81 127.0.0.1:80"),
        [
            "x.conf:5: error: PORT: 127.0.0.1:80 is taken by 'a' (x.conf:1) already, which \
             listens on *:80"
        ]
    );
    for (a, b) in [
        ("80", "80"),
        ("80", "0.0.0.0:80"),
        ("[::]:80", "80"),
        ("[::]:80", "[::1]:80"),
        ("0.0.0.0:80", "10.0.0.1:80"),
        ("/run/x", "/run/x"),
    ] {
        assert_eq!(clash(a, b).len(), 1, "{a} {b}");
        assert_eq!(clash(b, a).len(), 1, "{b} {a}");
    }
    for (a, b) in [
        ("80", "81"),
        ("[::]:80", "0.0.0.0:80"),
        ("127.0.0.1:80", "127.0.0.2:80"),
        ("[::1]:80", "127.0.0.1:80"),
        ("/run/x", "/run/y"),
    ] {
        assert_eq!(clash(a, b), [""; 0], "{a} {b}");
    }
    assert_eq!(
        complaints("[s]\nPORT=80 80\nPORT=10.0.0.1:80\nSTART_CMD=x"),
        [
            "x.conf:3: warning: PORT: *:80 is there twice",
            "x.conf:3: error: PORT: 10.0.0.1:80 and *:80 overlap",
        ]
    );
    assert_eq!(
        complaints("[a]\nSOCKET=s\nSTART_CMD=x\n[b]\nSTART_CMD=x\nSOCKET=s"),
        ["x.conf:6: error: SOCKET: 's' is taken by 'a' (x.conf:1) already"]
    );
}

#[test]
fn a_broken_section_takes_no_sound_one_with_it() {
    // The first is left out for its own fault, and the second could listen in its place.
    let loaded = load(
        "[a]\nPORT=80\nSTART_CMD=x\nUSER=a b\n[b]\nPORT=80\nSTART_CMD=x\n[c]\nPORT=80\nSTART_CMD=x",
    );
    assert_eq!(names(&loaded), ["b"]);
    assert_eq!(loaded.errors().count(), 3);
    // One that takes no part is in nobody's way.
    let loaded = load("[a]\nACTIVE=no\nPORT=80\n[b]\nPORT=80\nSTART_CMD=x");
    assert_eq!(said(&loaded), [""; 0]);
    assert_eq!(names(&loaded), ["b"]);
}

#[test]
fn what_is_wrong_in_a_section_that_takes_no_part_is_a_warning() {
    let loaded = load("[a]\nACTIVE=no\nPORT=x\nUNIT=y\njunk\n[b]\nPORT=80\nSTART_CMD=x");
    assert!(
        loaded
            .diagnostics
            .iter()
            .all(|d| d.severity == Severity::Warning)
    );
    assert_eq!(loaded.diagnostics.len(), 3);
    assert_eq!(names(&loaded), ["b"]);
    assert_eq!(loaded.broken, []);
}

#[test]
fn the_head_is_the_default_of_its_own_file() {
    let loaded = config::parse(
        &[
            file(
                "a.conf",
                "USER=alice\nWAKE_TIMEOUT=1\n[a]\nPORT=1\nSTART_CMD=x\n[b]\nPORT=2\nSTART_CMD=x\nUSER=bob\n",
            ),
            file("c.conf", "[c]\nPORT=3\nSTART_CMD=x\n"),
        ],
        &[],
    );
    assert_eq!(said(&loaded), [""; 0]);
    let users: Vec<Option<&str>> = loaded
        .definitions
        .iter()
        .map(|d| d.recipe.account.user.as_deref())
        .collect();
    assert_eq!(users, [Some("alice"), Some("bob"), None]);
    assert_eq!(loaded.definitions[1].policy.timeouts.wake, secs(1));
    assert_eq!(loaded.definitions[2].policy.timeouts.wake, secs(300));
}

#[test]
fn a_list_in_a_section_replaces_that_of_the_head() {
    let service = only("ALLOW=10.0.0.1\nALLOW=10.0.0.2\n[s]\nPORT=1\nSTART_CMD=x\nALLOW=::1\n");
    assert_eq!(service.policy.access.allow.to_string(), "::1/128");
}

#[test]
fn the_head_is_a_service_where_it_says_so() {
    let loaded = load("ACTIVE=yes\nPORT=1\nSTART_CMD=x\n[s]\nPORT=2\n");
    assert_eq!(said(&loaded), [""; 0]);
    assert_eq!(names(&loaded), ["x", "s"]);
    let loaded = load("PORT=1\nSTART_CMD=x\n");
    assert_eq!((loaded.definitions.len(), loaded.inactive.len()), (0, 0));
    // A section without PORT has that of the head, and both cannot.
    let loaded = load("ACTIVE=yes\nPORT=1\nSTART_CMD=x\n[s]\n");
    assert_eq!(
        said(&loaded),
        ["x.conf:4: error: PORT: *:1 is taken by 'x' (x.conf:1) already, which listens on *:1"]
    );
    let loaded = load("ACTIVE=yes\nUSER=a\n[s]\nPORT=2\nSTART_CMD=x");
    assert_eq!(
        said(&loaded),
        [
            "x.conf:1: warning: ACTIVE=yes before the first section makes no service of it \
             without PORT or SOCKET; these keys are defaults only"
        ]
    );
    assert_eq!(names(&loaded), ["s"]);
}

#[test]
fn a_bad_default_breaks_the_sections_that_have_it_and_is_reported_once() {
    let loaded = load(
        "USER=a b\n[a]\nPORT=1\nSTART_CMD=x\n[b]\nPORT=2\nSTART_CMD=x\nUSER=bob\n[c]\nPORT=3\nSTART_CMD=x\n",
    );
    assert_eq!(loaded.diagnostics.len(), 1);
    assert_eq!(names(&loaded), ["b"]);
    // A line that was to be a default of nobody knows what: `USER nobody`.
    let loaded = load("USER nobody\n[a]\nPORT=1\nSTART_CMD=x\n");
    assert_eq!((loaded.diagnostics.len(), loaded.definitions.len()), (1, 0));
}

// === hostile and damaged files ===

#[test]
fn no_bytes_make_it_panic() {
    let words: Vec<&str> = keys::ALL
        .iter()
        .map(|key| key.name)
        .chain([
            "=",
            "=",
            "=",
            "\n",
            "\n",
            "\n",
            "[a]\n",
            "[b]\n",
            "\"",
            "'",
            "80",
            "127.0.0.1:1",
            "10min",
            " ",
            "no",
            "\\",
            "é",
            "\u{fffd}",
        ])
        .collect();
    let seeds = std::env::var("SLEEPINGD_FUZZ_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok());
    for seed in 0..seeds.unwrap_or(1000) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let text = if seed % 2 == 0 {
            let bytes: Vec<u8> = (0..rng.usize(0..300)).map(|_| rng.u8(..)).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        } else {
            (0..rng.usize(0..100))
                .map(|_| *rng.choice(&words).unwrap())
                .collect()
        };
        let loaded = load(&text);
        for definition in &loaded.definitions {
            assert!(!config::explain(definition).is_empty(), "seed {seed}");
        }
        for diagnostic in &loaded.diagnostics {
            assert!(
                !diagnostic.to_string().contains(char::is_control),
                "seed {seed}"
            );
        }
        // What is left out is told.
        assert!(
            loaded.broken.is_empty() || loaded.errors().count() > 0,
            "seed {seed}"
        );
    }
}

#[test]
fn a_file_of_nonsense_gives_a_bounded_number_of_complaints() {
    let loaded = load(&"x\n".repeat(500_000));
    assert_eq!(loaded.diagnostics.len(), 1001);
    assert_eq!(
        said(&loaded)[1000],
        "error: 499000 more errors and 0 more warnings are not shown"
    );
    let loaded = load(&"[a]\n".repeat(10_001));
    assert!(
        loaded
            .errors()
            .any(|d| d.message.starts_with("more than 10000 services")
                || d.message.contains("are not shown"))
    );
}

#[test]
fn files_survive_being_kept() {
    let kept = file("x.conf", "# \u{fffd}\n[s]\nPORT=\"1\n2\"\n");
    let json = serde_json::to_string(&kept).unwrap();
    assert_eq!(serde_json::from_str::<SourceFile>(&json).unwrap(), kept);
}

// === words about it ===

#[test]
fn a_service_is_explained_in_words() {
    let text = "[web]\nPORT=80 /run/web.sock\nSOCKET=extra\nTARGET=10.0.0.1:80 10.0.0.2:80\n\
                START_CMD=\"one\ntwo\"\nSTOP_CMD=stop\nIDLE_CMD=who\nIDLE_TIME=10min\n\
                IDLE_CHECK_INTERVAL=1min\nMIN_UPTIME=5min\nUSER=www\nALLOW=10.0.0.0/8\n\
                DENY=10.0.0.9\nIGNORE=10.0.0.8\nREADY_URL=http://10.0.0.1/\nMAX_CONNECTIONS=9\n\
                AUTO_START=yes\n";
    assert_eq!(
        config::explain(&only(text)),
        "web (x.conf:1)\n  \
         listens on *:80, /run/web.sock, and on the inherited sockets named extra\n  \
         lets in 10.0.0.0/8 and nobody else, but not 10.0.0.9/32; 10.0.0.8/32 neither wake it nor \
         keep it awake\n  \
         goes to 10.0.0.1:80, 10.0.0.2:80, at random\n    \
         if nobody answers there, a client that connects runs START_CMD: one\n    two\n    \
         woken when the daemon starts, too\n  \
         ready when the destination listens, http://10.0.0.1/ answers 200\n  \
         holds a client for 5m at most, 1024 of them at once; relays 9 at once\n  \
         gives up a connect after 3s, a half-closed one after 1m\n  \
         put to sleep after 10m without an open connection\n    \
         IDLE_CMD, every 1m: who\n    \
         but not within 5m of a wake\n    \
         STOP_CMD: stop\n  \
         commands run as user www in /, by /bin/bash where they need a shell\n"
    );
    let plain = config::explain(&only("[s]\nPORT=1\nTARGET=a:1\n"));
    assert!(
        plain.contains("has nothing to start, and is reset if nobody answers"),
        "{plain}"
    );
    assert!(!plain.contains("commands run"), "{plain}");
}

// === files ===

fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}

/// What is wrong with the files under a directory, without its name.
fn refused(base: &Path, euid_is_root: bool) -> (Vec<String>, usize) {
    let error = config::read_files_under(base, None, euid_is_root).unwrap_err();
    assert!(!error.to_string().is_empty());
    let shorten = |d: &config::Diagnostic| {
        d.to_string()
            .replace(&format!("{}/", base.display()), "")
            .replace(&base.display().to_string(), ".")
    };
    (
        error.diagnostics.iter().map(shorten).collect(),
        error.sound.len(),
    )
}

fn base() -> tempfile::TempDir {
    let base = tempfile::tempdir().unwrap();
    fs::create_dir(base.path().join("sleepingd.conf.d")).unwrap();
    base
}

#[test]
fn the_main_file_comes_first_and_the_others_by_name() {
    let base = base();
    let directory = base.path().join("sleepingd.conf.d");
    for name in [
        "b.conf",
        "a.conf",
        "10-z.conf",
        ".hidden.conf",
        "a.conf~",
        "x.conf.dpkg-new",
    ] {
        write(&directory.join(name), name);
    }
    write(&base.path().join("sleepingd.conf"), "main");
    let files = config::read_files_under(base.path(), None, false).unwrap();
    let texts: Vec<&str> = files.iter().map(|file| file.text.as_str()).collect();
    assert_eq!(texts, ["main", "10-z.conf", "a.conf", "b.conf"]);
    assert!(files[1].path.ends_with("sleepingd.conf.d/10-z.conf"));

    // A file that is named replaces them all.
    let one = directory.join("x.conf.dpkg-new");
    let files = config::read_files_under(base.path(), Some(&one), false).unwrap();
    assert_eq!((files.len(), &files[0].path), (1, &one));
}

#[test]
fn either_the_main_file_or_the_directory_is_enough_but_one_must_be() {
    let base = tempfile::tempdir().unwrap();
    let (said, _) = refused(base.path(), false);
    assert_eq!(
        said,
        [
            "error: there is no configuration: neither sleepingd.conf nor \
             sleepingd.conf.d/*.conf exists"
        ]
    );
    write(&base.path().join("sleepingd.conf"), "");
    assert_eq!(
        config::read_files_under(base.path(), None, false)
            .unwrap()
            .len(),
        1
    );

    let base = self::base();
    write(&base.path().join("sleepingd.conf.d/a.conf"), "");
    assert_eq!(
        config::read_files_under(base.path(), None, false)
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn what_cannot_be_read_is_told_all_at_once_and_the_rest_is_read() {
    let base = base();
    let directory = base.path().join("sleepingd.conf.d");
    write(&directory.join("big.conf"), vec![b'#'; (1 << 20) + 1]);
    write(&directory.join("good.conf"), vec![b'#'; 1 << 20]);
    fs::create_dir(directory.join("directory.conf")).unwrap();
    std::os::unix::fs::symlink("nowhere", directory.join("link.conf")).unwrap();
    std::os::unix::fs::symlink("nowhere", base.path().join("sleepingd.conf")).unwrap();
    let (said, sound) = refused(base.path(), false);
    assert_eq!(
        said,
        [
            "error: sleepingd.conf: cannot be read: No such file or directory (os error 2)",
            "error: sleepingd.conf.d/big.conf: is larger than 1024 KiB, which no configuration is",
            "error: sleepingd.conf.d/directory.conf: is not a regular file",
            "error: sleepingd.conf.d/link.conf: cannot be read: No such file or directory (os \
             error 2)",
        ]
    );
    assert_eq!(sound, 1);
    let missing = base.path().join("missing");
    let error = config::read_files_under(base.path(), Some(&missing), false).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("/missing: cannot be read: No such file or directory (os error 2)")
    );
}

#[test]
fn bytes_that_are_not_utf_8_are_an_error_in_their_line() {
    let base = base();
    write(
        &base.path().join("sleepingd.conf"),
        b"# caf\xe9\n[s]\nPORT=1\nSTART_CMD=\xe9\n",
    );
    let files = config::read_files_under(base.path(), None, false).unwrap();
    let loaded = config::parse(&files, &[]);
    assert_eq!(loaded.diagnostics.len(), 1);
    assert_eq!(loaded.diagnostics[0].origin.as_ref().unwrap().line, 4);
    assert!(loaded.diagnostics[0].message.contains("not valid UTF-8"));
}

#[test]
fn root_trusts_only_what_root_alone_can_write() {
    let base = base();
    let main = base.path().join("sleepingd.conf");
    let directory = base.path().join("sleepingd.conf.d");
    write(&main, "");
    write(&directory.join("a.conf"), "");
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&main).unwrap());
    if owner != 0 {
        // Not run as root: its owner is reason enough to refuse everything.
        let (said, sound) = refused(base.path(), true);
        assert!(
            said[0].contains(&format!("belongs to user {owner}")),
            "{said:?}"
        );
        assert_eq!(sound, 0);
        return;
    }
    let mode =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for path in [base.path(), directory.as_path()] {
        mode(path, 0o755);
    }
    assert_eq!(
        config::read_files_under(base.path(), None, true)
            .unwrap()
            .len(),
        2
    );

    mode(&main, 0o664);
    let (said, sound) = refused(base.path(), true);
    assert_eq!(
        said,
        [
            "error: sleepingd.conf: the file has mode 0664: others than root may write to it, and \
             have root run anything; chmod it to 0644"
        ]
    );
    assert_eq!(sound, 1);
    assert_eq!(
        config::read_files_under(base.path(), None, false)
            .unwrap()
            .len(),
        2
    );
    assert!(config::read_files_under(base.path(), Some(&main), true).is_err());

    mode(&main, 0o600);
    mode(&directory, 0o1777);
    let (said, sound) = refused(base.path(), true);
    assert!(
        said[0].starts_with("error: sleepingd.conf.d: the directory has mode 1777"),
        "{said:?}"
    );
    assert_eq!(sound, 1);

    mode(&directory, 0o755);
    mode(base.path(), 0o775);
    assert!(refused(base.path(), true).0[0].starts_with("error: .: the directory has mode 0775"));

    mode(base.path(), 0o755);
    std::os::unix::fs::chown(&main, Some(65_534), None).unwrap();
    let (said, _) = refused(base.path(), true);
    assert_eq!(
        said,
        [
            "error: sleepingd.conf: the file belongs to user 65534, who could have root run \
             anything; chown it to root"
        ]
    );
}
