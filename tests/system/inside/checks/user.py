"""A user's own daemon, under the user's own manager."""

import os
import re
import subprocess

from checks import check
from harness import (
    BACKEND, alive, ask, fate_of_a_client, pid_of, port, promise, run, until,
)
from people import Person

USER = "alice"


@check
def a_user_needs_one_command_and_no_root(machine):
    listen, more, at = port(), port(), port()
    alice = Person(USER)
    try:
        start = f"python3 -m http.server --bind 127.0.0.1 {at} --directory /usr/share/doc &"
        text = f"[web]\nPORT={listen}\nTARGET=127.0.0.1:{at}\nSTART_CMD=\"{start}\"\n"
        alice.write(text)
        alice.systemctl("daemon-reload")
        alice.systemctl("enable", "--now", "sleepingd.service")
        unit = f"sleepingd-web_{listen}.socket"
        state = alice.systemctl("is-active", unit).stdout.strip()
        promise(state == "active", f"her socket is {state}")
        answer = run("curl", "-sS", f"http://127.0.0.1:{listen}/").stdout
        promise("<title>" in answer, f"the page is {answer!r}")
        promise(owner_of(at) == alice.entry.pw_uid, "the backend is not hers")
        status = alice.run("sleepingctl", "--user", "status").stdout
        promise("awake" in status, f"the status: {status}")

        alice.write(text + f"[more]\nPORT={more}\nTARGET=127.0.0.1:{at}\n")
        said = alice.run("sleepingctl", "--user", "apply").stdout
        promise(f"sleepingd-more_{more}.socket" in said, f"apply said {said}")
        answer = run("curl", "-sS", f"http://127.0.0.1:{more}/").stdout
        promise("<title>" in answer, f"the page is {answer!r}")

        alice.systemctl("stop", "sleepingd.service")
        until("the port is closed", lambda: is_closed(listen))
    finally:
        alice.end()
        # What she woke is hers; the manager is gone, and takes it along.
        subprocess.run(["pkill", "-u", USER], check=False)


@check
def a_unit_of_the_user_is_woken_survives_a_restart_and_sleeps_with_the_daemon(machine):
    listen, at = port(), port()
    alice = Person(USER)
    name = "alices-backend.service"

    def active():
        return alice.systemctl("show", "--property=ActiveState", "--value", name).stdout.strip()

    try:
        alice.unit(name, f"[Service]\nType=exec\nExecStart={BACKEND} {at} unit\n")
        alice.write(f"[web]\nPORT={listen}\nUNIT={name}\nTARGET=127.0.0.1:{at}\n")
        alice.systemctl("daemon-reload")
        alice.systemctl("enable", "--now", "sleepingd.service")
        promise(active() == "inactive", f"before the first client it is {active()}")
        backend = pid_of(ask(listen))
        promise(active() == "active", f"awake it is {active()}")
        promise(owner_of(at) == alice.entry.pw_uid, "the backend is not hers")
        mine = run("systemctl", "show", "--property=LoadState", "--value", name).stdout.strip()
        promise(mine == "not-found", "it is a unit of the machine's")
        alice.systemctl("restart", "sleepingd.service")
        promise(pid_of(ask(listen)) == backend, "a restart of the daemon started it again")
        alice.systemctl("stop", "sleepingd.service")
        promise(active() == "inactive", f"after a stop of the daemon it is {active()}")
        promise(not alive(backend), "it still runs")
    finally:
        alice.end()


def owner_of(listen):
    """Whose process listens there."""
    said = run("ss", "-ltnpH", f"sport = :{listen}").stdout
    found = re.search(r"\bpid=(\d+)", said)
    promise(found, f"nobody listens on {listen}: {said}")
    return os.stat(f"/proc/{found.group(1)}").st_uid


def is_closed(listen):
    try:
        fate_of_a_client(listen)
    except ConnectionRefusedError:
        return True
    return False
