//! The command line of `sleepingd-generator`. It parses by hand, since systemd waits for it at boot
//! and a parser would be most of the program; so there is a text here, and no types.

/// What `--help` prints.
pub const HELP: &str = "\
Writes a socket unit for each address of each section of sleepingd's configuration.

Usage: sleepingd-generator NORMAL-DIR [EARLY-DIR [LATE-DIR]]
       sleepingd-generator --dry-run [--user]

systemd runs it with three directories, and it writes to the first.

Options:
      --dry-run  Print the units instead, and what is wrong to standard error
      --user     With --dry-run: of the user's configuration, not the machine's
  -h, --help     Print help
  -V, --version  Print version
";
