//! The entries of the table.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use super::{
    super::{addresses, values},
    Blank, Key, KeyInfo, Place, Repeat, Support, USUAL,
};
use crate::model::{
    Balance, Cidr, CommandLine, Destination, IdleOn, ListenAddr, ProxyVersion, TrustedSource,
    WakeOn,
};

keys! {
    /// A section takes part unless it says `no`; what stands before the first section is a
    /// service of its own only if it says `yes`, and is then named after its file (`web` in
    /// `web.conf`). There it is the default of the sections too: `ACTIVE=no` before the first
    /// section leaves out all that do not say `yes`. What is wrong in a section that takes no
    /// part is a warning.
    ACTIVE: bool = values::flag {
        takes: "yes, no, true or false",
        default: "yes",
        meaning: "take part or not; before the first section the default is no",
    }

    /// Forms: `10080` or `:10080` (all addresses, IPv6 and IPv4), `127.0.0.1:10080`,
    /// `[::1]:80`, `localhost:80` (127.0.0.1) and `/run/x.sock`. `interface:eth0:5000` and host
    /// names are not supported yet. Several are separated by spaces, or the key is repeated.
    /// `-` is none, as in sleeping-beauty. Everybody may connect to a unix socket that we make
    /// (mode 0666, as systemd's own); a socket unit can say otherwise (SocketMode=).
    PORT: Vec<ListenAddr> = addresses::listeners {
        takes: "addresses",
        meaning: "addresses to listen on: `10080`, `127.0.0.1:10080`, `[::1]:80`, `:5000`, \
                  `/run/x.sock`; several, separated by spaces",
        repeat: Repeat::List,
    }

    /// Each is the FileDescriptorName= of a socket unit, and means all the sockets of that name.
    /// A name with spaces in it is quoted: `SOCKET='"my web" api'`.
    SOCKET: Vec<String> = addresses::socket_names {
        takes: "names",
        meaning: "names (FileDescriptorName=) of inherited sockets; without it they are matched \
                  by the section's name, then by address",
        repeat: Repeat::List,
    }

    /// Forms: `host:port`, `[IPv6]:port` and `/path.sock`, several separated by spaces. A name
    /// is looked up at each connect. `exec:/path` and `srv:name` are not supported yet. With
    /// TARGET, START_CMD need not print a destination.
    TARGET: Vec<Destination> = addresses::targets {
        takes: "destinations",
        default: "what START_CMD prints",
        meaning: "destinations: `host:port`, `/path.sock`; several, separated by spaces",
        repeat: Repeat::List,
    }

    /// Each pair is an address to listen on and the destination of its connections.
    PROXY: () = values::anything {
        takes: "pairs",
        meaning: "`LISTEN TARGET`: several ports, each with its own destination",
        repeat: Repeat::List,
        support: Support::NotYet(&["no"]),
    }

    /// `random`: any. `first`: in the order they are written. `roundrobin`: each in turn.
    /// `leastconn`: the one with the fewest open connections. Whichever it is, the next is tried
    /// when one cannot be reached.
    BALANCE: Balance = values::balance {
        takes: "a word",
        default: "random",
        meaning: "which of several destinations is tried first: random, first, roundrobin or \
                  leastconn",
    }

    /// It runs when a client comes and the service is not known to be awake, when a known
    /// destination cannot be reached, and when the daemon starts. `CHECK_CMD=false`,
    /// sleeping-beauty's default, is the same as none: START_CMD runs for every connection,
    /// unless there is a TARGET.
    CHECK_CMD: Option<CommandLine> = values::command_or_false {
        takes: "a command",
        meaning: "exit 0: the backend is up. It may print `IP PORT` like START_CMD",
    }

    /// It is done when its first line is complete, or when it exits; a child may go on in the
    /// background. With TARGET, what it prints does not matter. With CHECK_CMD it runs when
    /// CHECK_CMD fails; with neither, it runs for every connection and decides where that one
    /// goes. `START_CMD=false`, sleeping-beauty's default, is the same as none.
    START_CMD: Option<CommandLine> = values::command_or_false {
        takes: "a command",
        meaning: "wakes the backend; its first line of output is the destination, `IP PORT` (or \
                  several pairs)",
    }

    /// It runs when the service has been idle for IDLE_TIME, when it is told to sleep, and when
    /// the daemon is stopped. `STOP_CMD=false`, sleeping-beauty's default, is the same as none:
    /// otherwise every sleep would fail.
    STOP_CMD: Option<CommandLine> = values::command_or_false {
        takes: "a command",
        meaning: "puts the backend to sleep",
    }

    /// It is run with the first client and ended when the service is put to sleep.
    COMMAND: () = values::anything {
        takes: "a command",
        meaning: "run this as the backend itself, supervised; instead of START_CMD and STOP_CMD",
        support: Support::NotYet(&["false"]),
    }

    /// The number or the name of a signal.
    STOP_SIGNAL: () = values::anything {
        takes: "a signal",
        default: "TERM",
        meaning: "for COMMAND: the signal to its process group",
        support: Support::NotYet(&["SIGTERM", "15"]),
    }

    /// The backend is gone when CHECK_CMD fails, or nobody listens on a local TARGET any more.
    /// No client is let through meanwhile. If it is still up after this time, the service is
    /// awake again, with a warning. 0: do not wait.
    STOP_TIMEOUT: Option<Duration> = values::limit {
        takes: "a duration",
        default: "90s",
        meaning: "how long after STOP_CMD the backend may take to be gone",
        blank: Blank::Value,
    }

    /// It runs every IDLE_CHECK_INTERVAL while the service is awake. `IDLE_CMD=true`,
    /// sleeping-beauty's default, is the same as none: then IDLE_TIME alone decides.
    IDLE_CMD: Option<CommandLine> = values::command_or_true {
        takes: "a command",
        meaning: "exit 0: nobody uses the backend. Anything else keeps it awake",
    }

    /// It needs a STOP_CMD to do anything. 0 is never, as in sleeping-beauty.
    IDLE_TIME: Option<Duration> = values::limit_or_zero {
        takes: "a duration",
        default: "never",
        meaning: "how long the service must be idle before it is put to sleep",
    }

    /// With IDLE_CMD, and this 0 or blank, the service is never put to sleep, as in
    /// sleeping-beauty. Without IDLE_CMD it means nothing.
    IDLE_CHECK_INTERVAL: Option<Duration> = values::limit_or_zero {
        takes: "a duration",
        meaning: "how often IDLE_CMD runs; without it IDLE_CMD switches idle sleep off",
    }

    /// `connections`: an open connection. `bytes`: one that has moved data within IDLE_TIME.
    /// `command`: IDLE_CMD alone decides, whatever is open.
    IDLE_ON: IdleOn = values::idle_on {
        takes: "a word",
        default: "connections",
        meaning: "what counts as use: connections, bytes or command",
    }

    /// For backends that are dear to start.
    MIN_UPTIME: Duration = values::pause {
        takes: "a duration",
        default: "0",
        meaning: "no sleep sooner than this after a wake",
    }

    /// A command that runs longer is killed, with its children. 0 is without limit, as blank is.
    EXEC_CMD_TIMEOUT: Option<Duration> = values::limit_or_zero {
        takes: "a duration",
        meaning: "how long a command may run, where its own limit is not set",
    }

    /// Blank is EXEC_CMD_TIMEOUT again; 0 or `infinity` is without limit.
    START_CMD_TIMEOUT: Option<Duration> = values::limit_or_zero {
        takes: "a duration",
        default: "EXEC_CMD_TIMEOUT",
        meaning: "how long START_CMD may run",
    }

    /// Blank is EXEC_CMD_TIMEOUT again; 0 or `infinity` is without limit.
    STOP_CMD_TIMEOUT: Option<Duration> = values::limit_or_zero {
        takes: "a duration",
        default: "EXEC_CMD_TIMEOUT",
        meaning: "how long STOP_CMD may run",
    }

    /// Blank is EXEC_CMD_TIMEOUT again; 0 or `infinity` is without limit.
    CHECK_CMD_TIMEOUT: Option<Duration> = values::limit_or_zero {
        takes: "a duration",
        default: "EXEC_CMD_TIMEOUT",
        meaning: "how long CHECK_CMD may run",
    }

    /// Blank is EXEC_CMD_TIMEOUT again; 0 or `infinity` is without limit.
    IDLE_CMD_TIMEOUT: Option<Duration> = values::limit_or_zero {
        takes: "a duration",
        default: "EXEC_CMD_TIMEOUT",
        meaning: "how long IDLE_CMD may run",
    }

    /// A name or a number. The commands get all the groups of the user.
    USER: Option<String> = values::account {
        takes: "a user",
        default: "the daemon's",
        meaning: "the user the commands run as",
    }

    /// A name or a number.
    GROUP: Option<String> = values::account {
        takes: "a group",
        default: "the user's",
        meaning: "the group the commands run as",
    }

    /// It gets the command as the argument of `-c`. A command whose first word is an absolute
    /// path, and that has nothing in it that a shell would act on, is executed directly.
    SHELL: PathBuf = values::program {
        takes: "a path",
        default: "/bin/bash",
        meaning: "the shell that runs the commands",
    }

    /// An absolute path.
    WORKING_DIRECTORY: PathBuf = values::absolute_path {
        takes: "a path",
        default: "/",
        meaning: "the directory the commands run in",
    }

    /// `NAME=VALUE`, several separated by spaces. One with spaces in it is quoted as a whole:
    /// `ENVIRONMENT="GREETING=hello world" LANG=C`. Quotes and backslashes are as in Environment=
    /// of systemd.exec(5), but `%` means nothing.
    ENVIRONMENT: Vec<(String, String)> = values::environment {
        takes: "assignments",
        meaning: "variables for the commands, as in systemd.exec(5)",
        repeat: Repeat::List,
    }

    /// An absolute path. It is read at each run; with a `-` before it, it may be missing.
    ENVIRONMENT_FILE: Vec<(PathBuf, bool)> = values::environment_file {
        takes: "a path",
        meaning: "a file of variables for the commands, as in systemd.exec(5)",
        repeat: Repeat::List,
    }

    /// A client that is still held then is reset. It bounds the wake as well.
    WAKE_TIMEOUT: Option<Duration> = values::positive_limit {
        takes: "a duration",
        default: "5min",
        meaning: "how long a client is held at most, from accept to relay",
        blank: Blank::Value,
    }

    /// It cannot be without limit: a machine that is off answers nothing at all.
    CONNECT_TIMEOUT: Duration = values::duration_above_zero {
        takes: "a duration",
        default: "3s",
        meaning: "how long one connect to a destination may take",
        blank: Blank::Value,
    }

    /// For backends that listen before they can serve.
    WAIT_AFTER_START: Duration = values::pause {
        takes: "a duration",
        default: "0",
        meaning: "an extra pause after the backend is ready",
    }

    /// For destinations that accept before they are ready, as the ports of containers do. The
    /// first connections of a wake read nothing from the client for this long, or until the
    /// backend speaks; if the backend closes meanwhile, they try again.
    SETTLE_TIME: Duration = values::pause {
        takes: "a duration",
        default: "0",
        meaning: "how long a destination that accepts may still close, and be tried again",
    }

    /// It runs after START_CMD, again and again until it exits with 0, within WAKE_TIMEOUT.
    READY_CMD: Option<CommandLine> = values::command {
        takes: "a command",
        meaning: "further proof of readiness: exit 0",
    }

    /// `http://host[:port]/path`. TLS is not supported.
    READY_URL: Option<String> = values::url {
        takes: "a URL",
        meaning: "further proof of readiness: an HTTP 200 from there",
    }

    /// Otherwise the first client wakes the backend.
    AUTO_START: bool = values::flag {
        takes: "yes, no, true or false",
        default: "no",
        meaning: "wake at daemon start",
    }

    /// With `data` only a client that has sent a byte wakes the backend. Not for protocols where
    /// the server speaks first, as SSH, SMTP and MySQL do: there both would wait for ever.
    WAKE_ON: WakeOn = values::wake_on {
        takes: "a word",
        default: "connect",
        meaning: "what wakes the backend: connect, or data",
    }

    /// The excess waits in the listen backlog.
    MAX_CONNECTIONS: Option<usize> = values::count {
        takes: "a number",
        meaning: "how many clients are relayed at once",
    }

    /// The excess waits in the listen backlog. `infinity` is no limit.
    MAX_WAITING: Option<usize> = values::count {
        takes: "a number",
        default: "1024",
        meaning: "how many clients are held at once",
    }

    /// The excess is closed.
    MAX_CONNECTIONS_PER_SOURCE: Option<usize> = values::count {
        takes: "a number",
        meaning: "how many clients of one address are relayed or held at once",
    }

    /// Networks or addresses, separated by spaces. With ALLOW, all others are denied. `no` or
    /// blank is the empty list.
    ALLOW: Vec<Cidr> = addresses::networks {
        takes: "networks",
        default: "everybody",
        meaning: "who may connect: `10.0.0.0/8 2001:db8::1`",
        repeat: Repeat::List,
    }

    /// Networks or addresses, separated by spaces. It beats ALLOW. `no` or blank is the empty
    /// list.
    DENY: Vec<Cidr> = addresses::networks {
        takes: "networks",
        default: "nobody",
        meaning: "who may not connect",
        repeat: Repeat::List,
    }

    /// Networks or addresses, separated by spaces: monitors, for instance. `no` or blank is the
    /// empty list.
    IGNORE: Vec<Cidr> = addresses::networks {
        takes: "networks",
        default: "nobody",
        meaning: "who is served only if the backend is awake, and neither wakes nor keeps it \
                  awake",
        repeat: Repeat::List,
    }

    /// Each connection to the backend begins with a header that says where the client comes from.
    /// `v1` (or `yes`) is the line of text, `v2` the binary form. What is sent on are addresses,
    /// never what else a header has brought along. READY_URL is fetched without one.
    SEND_PROXY: Option<ProxyVersion> = values::proxy_version {
        takes: "a version",
        default: "no",
        meaning: "PROXY protocol to the destination: v1 or v2",
    }

    /// Networks or addresses, separated by spaces, and `unix` for whoever connects to a unix
    /// socket. A connection from there must begin with a header (v1 or v2), and is refused
    /// without one. ALLOW, DENY, IGNORE, MAX_CONNECTIONS_PER_SOURCE, the commands and the logs see
    /// the address that it names. Of anybody else no header is expected: what he sends is passed
    /// on as it is. As many clients as MAX_WAITING may be sending theirs at once. `no` or blank is
    /// the empty list.
    ACCEPT_PROXY: Vec<TrustedSource> = addresses::trusted_sources {
        takes: "networks",
        default: "no",
        meaning: "PROXY protocol from these trusted sources: `10.0.0.1 10.1.0.0/16 unix`",
        repeat: Repeat::List,
    }

    /// A relay that has moved nothing for this long ends.
    CLIENT_TIMEOUT: Option<Duration> = values::positive_limit {
        takes: "a duration",
        meaning: "a relay with no byte for this long ends",
        blank: Blank::Value,
    }

    /// One side has said all it had to say; the other may still answer.
    HALF_CLOSE_TIMEOUT: Option<Duration> = values::positive_limit {
        takes: "a duration",
        default: "60s",
        meaning: "the same, once one side has closed its direction",
        blank: Blank::Value,
    }

    /// Mind that it also ends a client that merely stops reading for this long.
    USER_TIMEOUT: Option<Duration> = values::user_timeout {
        takes: "a duration",
        meaning: "TCP_USER_TIMEOUT of tcp(7) on both sides",
        blank: Blank::Value,
    }

    /// A client of ACCEPT_PROXY that has sent no complete header by then is reset.
    PROXY_TIMEOUT: Duration = values::duration_above_zero {
        takes: "a duration",
        default: "3s",
        meaning: "how long a PROXY header may take to arrive",
        blank: Blank::Value,
    }

    /// 0 ends them at once.
    DRAIN_TIMEOUT: Option<Duration> = values::limit {
        takes: "a duration",
        default: "60s",
        meaning: "how long open relays may finish after a switch or at shutdown",
        blank: Blank::Value,
    }

    /// It is about the daemon, and stands before the first section; of several files that say it
    /// the last one counts. An idle machine then runs no process of ours at all: systemd keeps the
    /// sockets, and starts the daemon with the next client. It does not exit while it has a port
    /// that systemd does not keep (one that a reload brought, until the next boot or stop), nor
    /// without systemd. A service that never sleeps keeps it up. 0 is never.
    EXIT_IDLE_TIME: Option<Duration> = values::limit_or_zero {
        takes: "a duration",
        default: "never",
        meaning: "the daemon exits when everything has slept this long, and systemd keeps the \
                  sockets",
        place: Place::Head,
        blank: Blank::Value,
    }

    /// It is about the daemon, and stands before the first section; of several files that say it
    /// the last one counts. A change takes effect at the next start of the daemon. The first is
    /// the daemon's own thread; another one is started when there are clients enough for it. Each
    /// client is relayed by one thread. Measured on two cores: with two, 64 connections get a tenth
    /// to a fifth more messages through than with one; a single connection is not faster.
    THREADS: NonZeroUsize = values::threads {
        takes: "a number",
        default: "2, or 1 on one processor",
        meaning: "relay threads, started as they are needed",
        place: Place::Head,
    }

    /// The unit is started to wake the backend, and stopped to put it to sleep.
    UNIT: () = values::anything {
        takes: "a unit",
        meaning: "the backend is this systemd unit",
        support: Support::NotYet(&["no"]),
    }

    /// The container is started to wake the backend, and stopped to put it to sleep.
    CONTAINER: () = values::anything {
        takes: "a container",
        meaning: "the backend is this container",
        support: Support::NotYet(&["no"]),
    }

    /// The backend then accepts its clients itself.
    PASS_LISTENER: () = values::anything {
        takes: "yes or no",
        default: "no",
        meaning: "hand the listener to the backend while it is awake",
        support: Support::NotYet(&["false"]),
    }

    /// Sleeping-beauty kept its pid files there.
    VARRUN_PATH: () = values::anything {
        takes: "a path",
        meaning: "accepted and ignored: sleeping-beauty's pid files have no use here",
        support: Support::Ignored,
    }
}
