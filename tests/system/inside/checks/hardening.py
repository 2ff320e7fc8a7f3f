"""The sandbox: what the unit takes away, and the drop-in for those whose commands need little."""

import os
import shutil

from checks import check
from harness import (
    DAEMON, PROJECT, UNITS, ask, main_pid, pid_of, port, promise, run, show, systemctl,
)

# What systemd-analyze makes of the unit, and of it with the drop-in, by version: 10 is the worst.
# A figure that changes is no fault by itself; whoever changes it looks whether it was meant.
EXPOSURE = {252: (9.3, 3.0), 257: (9.3, 3.0)}

STRICT = f"{PROJECT}/systemd/hardening/50-strict.conf"


def exposure():
    """What systemd-analyze makes of the unit as it is now."""
    said = run("systemd-analyze", "security", "--no-pager", DAEMON).stdout
    last = [line for line in said.splitlines() if "Overall exposure level" in line][0]
    return float(last.split(":")[1].split()[0])


def version():
    return int(run("systemctl", "--version").stdout.split()[1])


def harden(machine):
    os.makedirs(f"{UNITS}/{DAEMON}.d", exist_ok=True)
    shutil.copy(STRICT, f"{UNITS}/{DAEMON}.d/")
    systemctl("daemon-reload")


@check
def the_units_are_clean_and_the_strict_drop_in_is_strict(machine):
    said = run("systemd-analyze", "verify", "--man=no", DAEMON, "sleepingd-sockets.target")
    ours = [line for line in said.stderr.splitlines() if "sleepingd" in line]
    promise(not ours, f"systemd-analyze verify: {ours}")
    usual = exposure()
    harden(machine)
    strict = exposure()
    wanted = EXPOSURE.get(version())
    promise(
        (usual, strict) == wanted,
        f"the unit has {usual}, with the strict drop-in {strict}; written down is {wanted}",
    )


@check
def under_the_strict_drop_in_backends_wake_as_other_users_and_survive_a_restart(machine):
    listen = port()
    machine.write(
        machine.section("web", mode="target", at=port(), PORT=listen, USER="nobody")
        # Its files are where the sandbox lets it write.
        .replace("START_CMD=\"", "START_CMD=\"id -un > /dev/null; ")
    )
    os.chmod("/run/sleepingd-tests", 0o777)
    harden(machine)
    systemctl("enable", "--now", DAEMON)
    backend = pid_of(ask(listen))
    promise(os.stat(f"/proc/{backend}").st_uid == 65534, "the backend is not nobody's")
    daemon = main_pid()
    with open(f"/proc/{daemon}/status") as status:
        promise("NoNewPrivs:\t1" in status.read(), "the daemon is not in the sandbox")
    systemctl("restart", DAEMON)
    promise(pid_of(ask(listen)) == backend, "the backend did not survive the restart")
    promise(show(DAEMON, "Result") == "success", "it did not end well")
