//! What each key takes, and what is said of what it does not take.

use super::*;

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
         SEND_PROXY=V2\nACCEPT_PROXY=10.0.0.1 Unix\nACCEPT_PROXY=fd00::/8\nPROXY_TIMEOUT=500ms\n\
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
    assert_eq!(policy.proxy.send, Some(ProxyVersion::V2));
    let trusted = policy.proxy.accept.to_string();
    assert_eq!(trusted, "10.0.0.1/32 fd00::/8 unix");
    assert_eq!(policy.timeouts.proxy, Duration::from_millis(500));
    assert_eq!(policy.idle.min_uptime, Duration::from_secs(60));
}

#[test]
fn a_url_needs_a_host_and_may_have_the_rest() {
    for url in [
        "http://h",
        "HTTP://h/",
        "http://[::1]/x",
        "http://[::1]:8080?a=b#c",
        "http://1.2.3.4:80/",
    ] {
        assert_eq!(
            with(&format!("READY_URL={url}"))
                .recipe
                .ready_url
                .as_deref(),
            Some(url)
        );
    }
}

#[test]
fn blanks_within_quotes_do_not_make_a_value() {
    let service =
        with("USER=' '\nIDLE_TIME=\" \"\nREADY_CMD='  '\nMAX_WAITING=' 5 '\nWAKE_ON=\" data\"");
    assert_eq!(
        (&service.recipe.account.user, &service.recipe.ready),
        (&None, &None)
    );
    assert_eq!(service.policy.limits.waiting, Some(5));
    assert_eq!(service.policy.wake_on, WakeOn::Data);
}

#[test]
fn the_proxy_protocol_is_off_unless_it_is_asked_for() {
    let send = |value: &str| with(&format!("SEND_PROXY={value}")).policy.proxy.send;
    let (v1, v2) = (Some(ProxyVersion::V1), Some(ProxyVersion::V2));
    let table = [
        ("no", None),
        ("false", None),
        ("", None),
        ("v1", v1),
        ("yes", v1),
        ("TRUE", v1),
        ("v2", v2),
    ];
    for (value, expected) in table {
        assert_eq!(send(value), expected, "{value}");
    }
    for none in ["", "ACCEPT_PROXY=No", "ACCEPT_PROXY=false", "ACCEPT_PROXY="] {
        assert!(with(none).policy.proxy.accept.is_empty(), "{none}");
    }
    let after = with("ACCEPT_PROXY=10.0.0.1\nACCEPT_PROXY=\nACCEPT_PROXY=unix");
    assert_eq!(after.policy.proxy.accept.to_string(), "unix");
    let head = only(&format!(
        "ACCEPT_PROXY=10.0.0.1\n[s]\n{SOUND}ACCEPT_PROXY=no\n"
    ));
    assert!(head.policy.proxy.accept.is_empty());
    assert_eq!(with("").policy.timeouts.proxy, Duration::from_secs(3));
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
                CHECK_CMD=c\nWORKING_DIRECTORY=/srv\nSEND_PROXY=v1\nACCEPT_PROXY=unix\n";
    let blank = "USER=\nSHELL=\nMAX_WAITING=\nBALANCE=\nALLOW=no\nENVIRONMENT=\nWAKE_ON=\n\
                 TARGET=\nAUTO_START=\nCHECK_CMD=\nWORKING_DIRECTORY=\nACTIVE=\n\
                 SEND_PROXY=\nACCEPT_PROXY=\n";
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
        ("EXIT_IDLE_TIME", "1min"),
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
    with("PASS_LISTENER=false\nUNIT=no\nSTOP_SIGNAL=SIGTERM");
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
fn threads_are_a_number_and_the_last_file_counts() {
    for (value, threads) in [("1", 1), (" 256 ", 256)] {
        let loaded = load(&format!("THREADS={value}\n[s]\n{SOUND}"));
        assert_eq!(loaded.threads.map(std::num::NonZero::get), Some(threads));
    }
    assert_eq!(load(&format!("THREADS=\n[s]\n{SOUND}")).threads, None);
    for value in ["0", "257", "+2", "two", "infinity"] {
        let loaded = load(&format!("THREADS={value}\n[s]\n{SOUND}"));
        let message = format!("x.conf:1: error: THREADS: '{value}' is not a number from 1 to 256");
        assert_eq!(said(&loaded), [message]);
    }
    let files = ["THREADS=2\n", "", "THREADS=3\n", ""].map(|text| SourceFile {
        path: "x.conf".into(),
        text: text.to_owned(),
    });
    let last = sleepingd::config::parse(&files, &[])
        .threads
        .map(std::num::NonZero::get);
    assert_eq!(last, Some(3));
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
