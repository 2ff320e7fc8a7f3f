//! What each key takes.

use super::*;

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
