"""Where an administrator looks for help, and the commands that sleeping-beauty had."""

import os

from checks import check
from harness import DAEMON, ask, port, promise, run, show, systemctl

CATALOG = "/usr/lib/systemd/catalog/sleepingd.catalog"


@check
def systemctl_help_shows_the_manual(machine):
    said = run("systemctl", "--no-pager", "help", DAEMON).stdout
    for page in ("SLEEPINGD(8)", "SLEEPINGD.CONF(5)"):
        promise(page in said, f"{page} is not shown: {said[:400]!r}")
    run("mandb", "--quiet")
    found = run("whatis", "sleepingd-generator").stdout
    promise("makes socket units" in found, f"whatis does not know it: {found!r}")


@check
def journalctl_explains_a_wake(machine):
    promise(os.path.exists(CATALOG), "there is no catalog")
    run("journalctl", "--update-catalog")
    listen = port()
    machine.serve(machine.section("web", mode="target", at=port()), {"web": listen})
    ask(listen)
    machine.journal.wait("woken by", SLEEPINGD_SERVICE="web")
    said = run("journalctl", "--no-pager", "-x", "-n", "40", "-u", DAEMON).stdout
    promise("Subject: web is awake" in said, f"it is not explained: {said[-1500:]!r}")


@check
def start_status_and_stop_do_what_they_did_in_sleeping_beauty(machine):
    listen = port()
    machine.write(machine.section("web", mode="target", at=port(), PORT=listen))
    systemctl("daemon-reload")
    line = f"web (port {listen})"

    def says(action, word, ok=(0,)):
        said = run("sleepingd", action, ok=ok).stdout
        promise(said == f"{line} {word}\n", f"{action}: {said!r}")

    says("status", "asleep, daemon not running", ok=(3,))
    says("start", "started")
    says("start", "already running")
    says("status", "asleep")
    ask(listen)
    says("status", "awake")
    says("stop", "stopped")
    promise(show(DAEMON, "ActiveState") == "inactive", "the daemon still runs")
    says("stop", "already stopped")


@check
def stop_closes_ports_that_are_open_without_the_daemon(machine):
    listen = port()
    machine.write(machine.section("web", mode="target", at=port(), PORT=listen))
    systemctl("daemon-reload")
    try:
        systemctl("start", "sleepingd-sockets.target")
        unit = f"sleepingd-web_{listen}.socket"
        promise(show(unit, "ActiveState") == "active", "the socket is not open")
        run("sleepingd", "stop")
        promise(show(unit, "ActiveState") == "inactive", "the socket is still open")
    finally:
        systemctl("stop", "sleepingd-sockets.target")
