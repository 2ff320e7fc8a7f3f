//! SEND_PROXY: what a backend hears first, and what real proxies make of it on either side.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    process::{Child, Command, Stdio},
};

use sleepingd::{model::Destination, readiness};

use crate::harness::{
    Backend, PATIENCE, Server, Stage, connect, connect_from, has, is_reset, is_silent, proxy, rest,
    take, until, wildcard_port,
};

const ANN: &str = "192.0.2.1:56324";
const SITE: &str = "198.51.100.7:443";

/// The two versions, and how they write the same.
type Written = fn(&str, &str) -> Vec<u8>;
const VERSIONS: [(&str, Written); 2] = [("v1", proxy::v1), ("v2", proxy::v2)];

/// The header of this client's connection, as we see it from here.
fn own(written: Written, client: &TcpStream) -> Vec<u8> {
    let source = client.local_addr().unwrap().to_string();
    written(&source, &client.peer_addr().unwrap().to_string())
}

/// The next connection to the backend begins with this, and nothing follows by itself.
#[track_caller]
fn begins_with(backend: &Backend, bytes: &[u8]) -> TcpStream {
    let mut server = backend.accept();
    assert_eq!(take(&mut server, bytes.len()), bytes);
    server
}

#[test]
fn a_backend_hears_first_where_the_client_comes_from() {
    for (version, written) in VERSIONS {
        let stage = Stage::new();
        let (front, back) = (stage.address(), stage.address());
        let daemon = stage.daemon(&format!(
            "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\nSEND_PROXY={version}\n",
            stage.cue("")
        ));
        // Through a wake, with the request there before it.
        let mut client = connect_from([127, 0, 0, 2], front);
        client.write_all(b"request").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let start = stage.called("start");
        let backend = Backend::at(back);
        start.succeeds();
        let mut server = begins_with(&backend, &own(written, &client));
        assert_eq!(rest(&mut server), "request");
        server.write_all(b"reply").unwrap();
        drop(server);
        assert_eq!(rest(&mut client), "reply");
        // What is counted is the client's.
        daemon.says("7 B in, 5 B out");

        // Awake, to a server that speaks first.
        let mut client = connect_from([127, 0, 0, 3], front);
        let mut server = begins_with(&backend, &own(written, &client));
        is_silent(&server);
        server.write_all(b"220 hello").unwrap();
        assert_eq!(take(&mut client, 9), b"220 hello");
    }
}

#[test]
fn a_dual_stack_listener_tells_of_an_ipv4_client_in_ipv4_and_of_an_ipv6_client_in_ipv6() {
    let stage = Stage::new();
    let (port, back) = (wildcard_port(), stage.address());
    let backend = Backend::at(back);
    let _daemon = stage.daemon(&format!(
        "[web]\nPORT={port}\nTARGET={back}\nSEND_PROXY=v2\n"
    ));
    for ip in ["127.0.0.1", "[::1]"] {
        let client = connect(format!("{ip}:{port}").parse().unwrap());
        begins_with(&backend, &own(proxy::v2, &client));
    }
}

#[test]
fn a_client_of_a_unix_socket_has_no_address_to_tell() {
    for (version, header) in [
        ("v1", b"PROXY UNKNOWN\r\n".to_vec()),
        ("v2", proxy::v2_local()),
    ] {
        let stage = Stage::new();
        let (front, back) = (stage.path("front.sock"), stage.path("back.sock"));
        let listener = UnixListener::bind(&back).unwrap();
        let _daemon = stage.daemon(&format!(
            "[web]\nPORT={}\nTARGET={}\nSEND_PROXY={version}\n",
            front.display(),
            back.display()
        ));
        let mut client = UnixStream::connect(&front).unwrap();
        client.write_all(b"hello").unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut got = vec![0; header.len() + 5];
        server.read_exact(&mut got).unwrap();
        assert_eq!(got, [&header[..], b"hello"].concat());
    }
}

#[test]
fn what_came_in_is_what_goes_out_without_its_tlvs() {
    let stage = Stage::new();
    let (one, two, back) = (stage.address(), stage.address(), stage.address());
    let backend = Backend::at(back);
    let both = format!("TARGET={back}\nACCEPT_PROXY=127.0.0.2\n");
    let _daemon = stage.daemon(&format!(
        "[one]\nPORT={one}\n{both}SEND_PROXY=v1\n[two]\nPORT={two}\n{both}SEND_PROXY=v2\n"
    ));
    let came = [
        proxy::v1(ANN, SITE),
        proxy::v2(ANN, SITE),
        proxy::v2_with(ANN, SITE, &[4, 0, 3, b'a', b'b', b'c']),
    ];
    for (front, written) in [(one, proxy::v1 as Written), (two, proxy::v2)] {
        for header in &came {
            let mut client = connect_from([127, 0, 0, 2], front);
            client.write_all(header).unwrap();
            client.write_all(b"hello").unwrap();
            let expected = [&written(ANN, SITE)[..], b"hello"].concat();
            begins_with(&backend, &expected);
        }
        // Of itself the balancer tells nothing, so it is told of.
        let mut client = connect_from([127, 0, 0, 2], front);
        client.write_all(b"PROXY UNKNOWN\r\n").unwrap();
        begins_with(&backend, &own(written, &client));
    }
    let mut client = connect_from([127, 0, 0, 2], one);
    client
        .write_all(&proxy::v2("[2001:db8::1]:7", "[2001:db8::2]:8"))
        .unwrap();
    begins_with(&backend, b"PROXY TCP6 2001:db8::1 2001:db8::2 7 8\r\n");
}

#[test]
fn while_a_destination_settles_each_try_begins_with_a_header() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let _daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\nSETTLE_TIME=100ms\nSEND_PROXY=v1\n",
        stage.cue("")
    ));
    let mut client = connect(front);
    client.write_all(b"the request").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let start = stage.called("start");
    let header = own(proxy::v1, &client);
    let mut turn = 0;
    let server = Server::with(back, move |mut stream| {
        turn += 1;
        // A forwarder in front of a server that boots closes, having read the header or not.
        if turn > 2 {
            assert_eq!(take(&mut stream, header.len()), header);
        }
        if turn > 4 {
            let request = rest(&mut stream);
            write!(stream, "{request} it is").unwrap();
        }
    });
    start.succeeds();
    assert_eq!(rest(&mut client), "the request it is");
    assert_eq!(server.count(), 5);
}

/// A name is only known to be up by a connection, which then is the first client's.
#[test]
fn a_connection_that_was_a_probe_begins_with_the_header_of_its_client() {
    let stage = Stage::new();
    let (front, port) = (stage.address(), wildcard_port());
    let _daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET=localhost:{port}\nSTART_CMD={}\nSEND_PROXY=v2\n",
        stage.cue("")
    ));
    let mut client = connect(front);
    client.write_all(b"request").unwrap();
    let start = stage.called("start");
    let (to, heard) = std::sync::mpsc::channel();
    let length = own(proxy::v2, &client).len();
    let loopback = SocketAddr::from(([127, 0, 0, 1], port));
    let server = Server::with(loopback, move |mut stream| {
        to.send(take(&mut stream, length + 7)).unwrap();
    });
    start.succeeds();
    let expected = [&own(proxy::v2, &client)[..], b"request"].concat();
    assert_eq!(heard.recv_timeout(PATIENCE), Ok(expected));
    assert_eq!(server.count(), 1, "there was one connection, the probe's");
}

#[test]
fn a_backend_that_resets_instead_of_reading_is_a_reset_to_the_client() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let _server = Server::with(back, crate::harness::reset);
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSEND_PROXY=v1\n"
    ));
    daemon.says("web: already runs");
    for _ in 0..20 {
        is_reset(connect(front));
    }
}

#[test]
fn a_reload_changes_what_is_sent() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let backend = Backend::at(back);
    let with = |value: &str| format!("[web]\nPORT={front}\nTARGET={back}\nSEND_PROXY={value}\n");
    let daemon = stage.daemon(&with("no"));
    let mut client = connect(front);
    client.write_all(b"plain").unwrap();
    begins_with(&backend, b"plain");
    stage.configure(&with("v2"));
    daemon.reload();
    let client = connect(front);
    begins_with(&backend, &own(proxy::v2, &client));
}

// === with other programs ===

/// Another proxy. Dropped, it is killed.
struct Program(Child);

impl Program {
    /// Runs it, until somebody listens at each of these.
    #[track_caller]
    fn start(command: &mut Command, listeners: &[SocketAddr]) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let program = Self(child);
        for addr in listeners {
            until("the other proxy listens", || listens(*addr));
        }
        program
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asked of the kernel: a connection would be relayed.
fn listens(addr: SocketAddr) -> bool {
    readiness::is_gone(&Destination::Tcp(addr)) == Some(false)
}

fn haproxy(stage: &Stage, listen: &str, server: &str, more: &str, at: SocketAddr) -> Program {
    let file = stage.write(
        "haproxy.cfg",
        &format!(
            "defaults\n mode tcp\n timeout connect 20s\n timeout client 20s\n timeout server 20s\n\
             listen all\n bind {listen}\n{more} server one {server}\n"
        ),
    );
    let mut command = stage.command("haproxy");
    Program::start(command.arg("-db").arg("-f").arg(file), &[at])
}

#[test]
fn behind_a_real_haproxy_clients_are_who_they_are() {
    if !has("haproxy") {
        return;
    }
    for send in ["send-proxy", "send-proxy-v2"] {
        let stage = Stage::new();
        let (public, front, back) = (stage.address(), stage.address(), stage.address());
        let daemon = stage.daemon(&format!(
            "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\nACCEPT_PROXY=127.0.0.1\n",
            stage.cue("$SLEEPINGD_LOCAL_ADDR:$SLEEPINGD_LOCAL_PORT")
        ));
        let server = format!("{front} source 127.0.0.1 {send}");
        let _haproxy = haproxy(&stage, &public.to_string(), &server, "", public);
        let mut client = connect_from([127, 0, 0, 9], public);
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let start = stage.called("start");
        assert_eq!(start.remote, client.local_addr().unwrap().to_string());
        assert_eq!(start.argument, public.to_string());
        let _server = Server::shouting(back);
        start.succeeds();
        assert_eq!(rest(&mut client), "HELLO");
        assert_eq!(daemon.said("is refused"), 0);
    }
}

/// Its checks come as from itself: with it in IGNORE they wake nothing, and it sees a port that is
/// open.
#[test]
fn the_health_checks_of_a_real_haproxy_wake_nothing() {
    if !has("haproxy") {
        return;
    }
    for send in ["send-proxy", "send-proxy-v2"] {
        let stage = Stage::new();
        let (public, front, back) = (stage.address(), stage.address(), stage.address());
        let daemon = stage.daemon(&format!(
            "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\n\
             ACCEPT_PROXY=127.0.0.1\nIGNORE=127.0.0.1\n",
            stage.cue("")
        ));
        let server = format!("{front} source 127.0.0.1 {send} check inter 50ms");
        let _haproxy = haproxy(&stage, &public.to_string(), &server, "", public);
        for _ in 0..5 {
            daemon.says("asleep, and this address does not wake it");
        }
        stage.nothing_called();
        assert_eq!(daemon.said("warn"), 0);
        // It is up in its eyes: clients are let through.
        let mut client = connect_from([127, 0, 0, 9], public);
        let start = stage.called("start");
        assert_eq!(start.remote, client.local_addr().unwrap().to_string());
        let _server = Server::greeting(back, "page");
        start.succeeds();
        assert_eq!(rest(&mut client), "page");
    }
}

#[test]
fn a_real_haproxy_behind_learns_who_the_client_is() {
    if !has("haproxy") {
        return;
    }
    for (version, written) in VERSIONS {
        let stage = Stage::new();
        let (front, middle, back) = (stage.address(), stage.address(), stage.address());
        let backend = Backend::at(back);
        // It passes on what it has understood, in the other version.
        let (other, shown): (_, Written) = match version {
            "v1" => ("send-proxy-v2", proxy::v2),
            _ => ("send-proxy", proxy::v1),
        };
        let _haproxy = haproxy(
            &stage,
            &format!("{middle} accept-proxy"),
            &format!("{back} {other}"),
            "",
            middle,
        );
        let _daemon = stage.daemon(&format!(
            "[web]\nPORT={front}\nTARGET={middle}\nSEND_PROXY={version}\nACCEPT_PROXY=127.0.0.2\n"
        ));
        let mut client = connect_from([127, 0, 0, 9], front);
        client.write_all(b"hello").unwrap();
        let expected = [&own(shown, &client)[..], b"hello"].concat();
        begins_with(&backend, &expected);
        // An address that is no machine's of ours, all the way through.
        let mut client = connect_from([127, 0, 0, 2], front);
        client.write_all(&written(ANN, SITE)).unwrap();
        begins_with(&backend, &shown(ANN, SITE));
    }
}

#[test]
fn a_real_nginx_behind_learns_who_the_client_is() {
    if !has("nginx") {
        return;
    }
    for (version, _) in VERSIONS {
        let stage = Stage::new();
        let (front, back) = (stage.address(), stage.address());
        let directory = stage.path("nginx");
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
        let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("{kind}_temp_path {};\n", directory.join(kind).display()))
            .collect();
        let file = stage.write(
            "nginx.conf",
            &format!(
                "daemon off;\nmaster_process off;\npid {}/pid;\nerror_log {0}/error;\nevents {{}}\n\
                 http {{\naccess_log off;\n{paths}server {{ listen {back} proxy_protocol;\n\
                 location / {{ return 200 \"$proxy_protocol_addr:$proxy_protocol_port\"; }} }} }}\n",
                directory.display()
            ),
        );
        let mut command = stage.command("nginx");
        let _nginx = Program::start(command.arg("-e").arg("stderr").arg("-c").arg(file), &[back]);
        let _daemon = stage.daemon(&format!(
            "[web]\nPORT={front}\nTARGET={back}\nSEND_PROXY={version}\n"
        ));
        let mut client = connect_from([127, 0, 0, 9], front);
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let page = rest(&mut client);
        let name = client.local_addr().unwrap().to_string();
        assert!(page.ends_with(&format!("\r\n\r\n{name}")), "{page}");
        // Without the header it does not understand a word.
        assert_ne!(fetch_with(back, b"GET / HTTP/1.0\r\n\r\n"), page);
    }
}

fn fetch_with(addr: SocketAddr, request: &[u8]) -> String {
    let mut client = connect(addr);
    client.write_all(request).unwrap();
    let mut page = Vec::new();
    // It may be a reset.
    let _ = client.read_to_end(&mut page);
    String::from_utf8_lossy(&page).into_owned()
}
