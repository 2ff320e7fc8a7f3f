use std::{
    fs::File,
    io::{IoSliceMut, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, FromRawFd},
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::*;

/// A manager that keeps what it is told.
struct Manager {
    socket: UnixDatagram,
    notifier: Notifier,
    _directory: tempfile::TempDir,
}

impl Manager {
    fn new(watchdog: Option<Duration>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(Some(path.into()), watchdog).unwrap();
        Self {
            socket,
            notifier,
            _directory: directory,
        }
    }

    fn heard(&self) -> String {
        let mut buffer = [0; 2048];
        let length = self.socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }
}

#[test]
fn every_message_is_what_the_manual_says() {
    let manager = Manager::new(Some(Duration::from_secs(30)));
    let notifier = &manager.notifier;
    notifier.ready().unwrap();
    assert_eq!(manager.heard(), "READY=1");
    notifier.stopping().unwrap();
    assert_eq!(manager.heard(), "STOPPING=1");
    notifier.watchdog().unwrap();
    assert_eq!(manager.heard(), "WATCHDOG=1");
    notifier.extend_timeout(Duration::from_secs(7200)).unwrap();
    assert_eq!(manager.heard(), "EXTEND_TIMEOUT_USEC=7200000000");
    notifier.remove("c.1").unwrap();
    assert_eq!(manager.heard(), "FDSTOREREMOVE=1\nFDNAME=c.1");
    assert_eq!(notifier.watchdog_interval(), Some(Duration::from_secs(15)));
}

#[test]
fn a_reload_says_when_it_began_in_one_message() {
    let manager = Manager::new(None);
    let before = clock::monotonic().as_micros();
    manager.notifier.reloading().unwrap();
    let text = manager.heard();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "RELOADING=1");
    let at: u128 = lines[1]
        .strip_prefix("MONOTONIC_USEC=")
        .unwrap()
        .parse()
        .unwrap();
    assert!((before..=clock::monotonic().as_micros()).contains(&at));
    assert_eq!(lines[2..], ["STATUS=Reloading the configuration"]);
}

#[test]
fn a_status_cannot_smuggle_an_assignment_and_is_cut_at_a_letter() {
    let manager = Manager::new(None);
    manager.notifier.status("a\nREADY=1\x07b").unwrap();
    assert_eq!(manager.heard(), "STATUS=a READY=1 b");
    manager.notifier.status(&"é".repeat(400)).unwrap();
    assert_eq!(manager.heard(), format!("STATUS={}", "é".repeat(256)));
}

#[test]
fn a_stored_descriptor_arrives_under_its_name() {
    let manager = Manager::new(None);
    let (kept, mut written) = nix::unistd::pipe()
        .map(|(r, w)| (r, File::from(w)))
        .unwrap();
    manager.notifier.store("pipe.web", kept.as_fd()).unwrap();

    let mut buffer = [0; 256];
    let mut control = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let raw = manager.socket.as_raw_fd();
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(raw, &mut slices, Some(&mut control), flags).unwrap();
    let Some(ControlMessageOwned::ScmRights(fds)) = message.cmsgs().unwrap().next() else {
        panic!("no descriptor came");
    };
    let length = message.bytes;
    assert_eq!(&buffer[..length], b"FDSTORE=1\nFDNAME=pipe.web");
    written.write_all(b"x").unwrap();
    drop(written);
    let mut text = String::new();
    // SAFETY: recvmsg has just made this descriptor, and nobody else knows it.
    #[allow(unsafe_code)]
    let mut received = unsafe { File::from_raw_fd(fds[0]) };
    received.read_to_string(&mut text).unwrap();
    assert_eq!(text, "x");
}

#[test]
fn names_that_systemd_would_refuse_are_refused_here() {
    let manager = Manager::new(None);
    for bad in ["", "a:b", "a\nb", "é", &"x".repeat(256)] {
        assert!(
            matches!(manager.notifier.remove(bad), Err(NotifyError::Name(_))),
            "{bad}"
        );
    }
    manager.notifier.remove(&"x".repeat(255)).unwrap();
    manager.notifier.remove("Simple web server").unwrap();
}

#[test]
fn a_manager_that_does_not_read_is_waited_for_no_longer_than_said() {
    let manager = Manager::new(None);
    let full = loop {
        if let Err(error) = manager.notifier.watchdog() {
            break error;
        }
    };
    let NotifyError::Send { message, source } = full else {
        panic!("{full}")
    };
    assert_eq!(
        (message.as_str(), source.kind()),
        ("WATCHDOG=1", io::ErrorKind::WouldBlock)
    );
    let before = clock::now();
    assert!(manager.notifier.ready().is_err());
    assert!(clock::now().since(before) >= PATIENCE / 2, "it did wait");
    assert!(
        clock::now().since(before) < PATIENCE * 20,
        "but not for ever"
    );
}

#[test]
fn nobody_waits_to_store_or_remove_and_the_order_is_kept() {
    let manager = Manager::new(None);
    let mut stuffed = 0;
    while manager.notifier.watchdog().is_ok() {
        stuffed += 1;
    }
    let before = clock::now();
    manager.notifier.store("a", io::stdin().as_fd()).unwrap();
    manager.notifier.remove("a").unwrap();
    manager.notifier.store("b", io::stdin().as_fd()).unwrap();
    assert!(clock::now().since(before) < Duration::from_millis(20));
    for _ in 0..stuffed {
        assert_eq!(manager.heard(), "WATCHDOG=1");
    }
    assert_eq!(manager.heard(), "FDSTORE=1\nFDNAME=a");
    assert_eq!(manager.heard(), "FDSTOREREMOVE=1\nFDNAME=a");
    assert_eq!(manager.heard(), "FDSTORE=1\nFDNAME=b");
}

#[test]
fn abstract_sockets_are_spoken_to() {
    let name = format!("sleepingd-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    Notifier::new(Some(format!("@{name}").into()), None)
        .unwrap()
        .ready()
        .unwrap();
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"READY=1");
}

#[test]
fn without_a_manager_nothing_is_said_and_nothing_fails() {
    let notifier = Notifier::new(None, Some(Duration::from_secs(1))).unwrap();
    assert!(!notifier.is_connected());
    assert_eq!(notifier.watchdog_interval(), None);
    notifier.ready().unwrap();
    notifier.store("a", io::stdin().as_fd()).unwrap();
    let error = Notifier::new(Some("vsock:2:1".into()), None)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "NOTIFY_SOCKET=vsock:2:1 cannot be used: neither a path nor @name"
    );
}
