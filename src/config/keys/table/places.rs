//! Where clients come in, and where they are led.

use crate::{
    config::{
        addresses,
        keys::{Key, KeyInfo, Repeat, Support, USUAL},
        values,
    },
    model::{Balance, Destination, ListenAddr},
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
}
