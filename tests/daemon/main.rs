//! The real daemon against real sockets, real commands and real backends: what an issue, the
//! design or the manual promises to somebody who runs `sleepingd -f FILE`.
//!
//! | file | the promises in it |
//! | --- | --- |
//! | `waking` | one START for however many clients, none lost, none woken for who has left |
//! | `modes` | who knows where the backend is, and every kind of address |
//! | `relaying` | FIN as FIN and RST as RST, through a sleeping and an awake service |
//! | `failing` | what goes wrong in a file or a command, what is said of it, and the next client |
//! | `readiness` | listening is not serving: SETTLE_TIME, READY_CMD, READY_URL, WAIT_AFTER_START |
//! | `limits` | how many, how long, and who |
//! | `accept_proxy` | PROXY headers of balancers, and of everybody else |
//! | `send_proxy` | PROXY headers to backends, and real proxies on either side |
//! | `sleeping` | what counts as use, and what does not |
//! | `reloading` | a reload touches what has changed, and nothing else |
//! | `ending` | SIGTERM, SIGKILL, and the daemon that comes after |
//! | `outcomes` | how each client ended: one line, one count |
//! | `exhaustion` | descriptors run out |
//! | `pipes` | the pipes that a user has run out, or splicing is refused |
//! | `command` | COMMAND: started, looked after, ended, found again |
//! | `forward` | one service with no file: `sleepingd forward` |
//! | `crashing` | backends that die, hang, or cannot be stopped; commands that multiply |
//! | `vanishing` | peers that are gone without a word |
//! | `crowds` | thousands that are silent, half-closed or idle |
//! | `installed` | what a package counts on: a daemon with nothing to do yet, and the group `sleepingd` |
//! | `ready_made` | UNIT and CONTAINER |
//! | `faces` | sleepingctl, exit codes, examples, the README's table |
//! | `importing` | `sleepingctl import`, and what it writes |
//! | `manager` | `sleepingd start`, `stop` and `status`, as sleeping-beauty had them |
//! | `catalog` | which messages `journalctl -x` explains |
//!
//! Nothing here sleeps to wait for something: a test waits for a line of the log, for a
//! connection, or for the command that the daemon runs to ask it what to do (`harness::Stage`).
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "clippy exempts test functions, not what they call; there is no runtime to block \
              here, no suspend to live through, and backends are plain sockets of the test"
)]

mod harness;

mod accept_proxy;
mod catalog;
mod command;
mod crashing;
mod crowds;
mod ending;
mod exhaustion;
mod faces;
mod failing;
mod forward;
mod importing;
mod installed;
mod limits;
mod manager;
mod modes;
mod outcomes;
mod pipes;
mod readiness;
mod ready_made;
mod relaying;
mod reloading;
mod send_proxy;
mod sleeping;
mod threads;
mod vanishing;
mod waking;
