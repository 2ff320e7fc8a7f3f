//! What a service does, in words.

use super::*;

#[test]
fn a_service_is_explained_in_words() {
    let text = "[web]\nPORT=80 /run/web.sock\nSOCKET=extra\nTARGET=10.0.0.1:80 10.0.0.2:80\n\
                START_CMD=\"one\ntwo\"\nSTOP_CMD=stop\nIDLE_CMD=who\nIDLE_TIME=10min\n\
                IDLE_CHECK_INTERVAL=1min\nMIN_UPTIME=5min\nUSER=www\nALLOW=10.0.0.0/8\n\
                DENY=10.0.0.9\nIGNORE=10.0.0.8\nREADY_URL=http://10.0.0.1/\nMAX_CONNECTIONS=9\n\
                AUTO_START=yes\nSEND_PROXY=v2\nACCEPT_PROXY=10.1.0.0/16 unix\n";
    assert_eq!(
        config::explain(&only(text)),
        "web (x.conf:1)\n  \
         listens on *:80, /run/web.sock, and on the inherited sockets named extra\n  \
         lets in 10.0.0.0/8 and nobody else, but not 10.0.0.9/32; 10.0.0.8/32 neither wake it nor \
         keep it awake\n    \
         of 10.1.0.0/16 unix it wants a PROXY header within 3s, and goes by the address in it\n  \
         goes to 10.0.0.1:80, 10.0.0.2:80, at random\n    \
         if nobody answers there, a client that connects runs START_CMD: one\n    two\n    \
         woken when the daemon starts, too\n  \
         ready when the destination listens, http://10.0.0.1/ answers 200\n  \
         holds a client for 5m at most, 1024 of them at once; relays 9 at once\n  \
         gives up a connect after 3s, a half-closed one after 1m\n    \
         sends a PROXY header first, v2\n  \
         put to sleep after 10m without an open connection\n    \
         IDLE_CMD, every 1m: who\n    \
         but not within 5m of a wake\n    \
         STOP_CMD: stop\n  \
         commands run as user www in /, by /bin/bash where they need a shell\n"
    );
    let plain = config::explain(&only("[s]\nPORT=1\nTARGET=a:1\n"));
    assert!(
        plain.contains(
            "if nobody answers there, there is nothing to start, and the client is reset"
        ),
        "{plain}"
    );
    assert!(!plain.contains("commands run"), "{plain}");
}

#[test]
fn each_way_to_find_a_backend_has_its_own_words() {
    let explain = |lines: &str| config::explain(&only(&format!("[s]\nPORT=1\n{lines}")));
    let per = explain("START_CMD=x");
    assert!(
        per.contains("  every connection runs START_CMD: x\n    what it prints is where"),
        "{per}"
    );
    let told = explain("START_CMD=x\nCHECK_CMD=y\nWAKE_ON=data");
    assert!(
        told.contains(
            "  a client that has sent a byte runs CHECK_CMD: y\n    if that fails, it runs \
             START_CMD: x\n    what is printed is the destination\n"
        ),
        "{told}"
    );
    let fixed = explain("START_CMD=x\nCHECK_CMD=y\nTARGET=a:1");
    assert!(
        fixed.contains(
            "  goes to a:1\n    asleep if this fails, CHECK_CMD: y\n    if nobody answers there, \
             a client that connects runs START_CMD: x\n"
        ),
        "{fixed}"
    );
}
