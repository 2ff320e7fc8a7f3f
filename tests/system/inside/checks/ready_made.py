"""UNIT: the backend is a unit of systemd."""

import contextlib
import os

from checks import check
from harness import (
    BACKEND, SCRATCH, UNITS, alive, ask, connect, fate_of_a_client, pid_of, port, promise, run, say,
    show, systemctl,
)

UNIT = "sleepingd-tests-backend.service"


@contextlib.contextmanager
def unit(machine, back, lines="Type=exec"):
    """A unit whose backend listens at `back`, for as long as the check runs."""
    path = f"{UNITS}/{UNIT}"
    with open(path, "w") as file:
        file.write(
            f"[Service]\n{lines}\n"
            f"ExecStart={BACKEND} {back} unit --reports {machine.reports.path}\n"
        )
    systemctl("daemon-reload")
    try:
        yield
    finally:
        systemctl("kill", "--signal=KILL", UNIT, ok=None)
        systemctl("stop", UNIT, ok=None)
        systemctl("reset-failed", UNIT, ok=None)
        os.unlink(path)
        systemctl("daemon-reload")


def section(listen, back, **keys):
    lines = [f"[web]\nPORT={listen}\nUNIT={UNIT}\nTARGET=127.0.0.1:{back}"]
    return "\n".join(lines + [f"{key}={value}" for key, value in keys.items()]) + "\n"


def active():
    return show(UNIT, "ActiveState")


@check
def a_unit_is_started_for_the_first_client_and_stopped_when_idle(machine):
    listen, back = port(), port()
    with unit(machine, back):
        machine.serve(section(listen, back, IDLE_TIME=1), {"web": listen})
        promise(active() == "inactive", f"before the first client it is {active()}")
        first = pid_of(ask(listen))
        promise(str(first) == show(UNIT, "MainPID"), "the answer is not the unit's")
        machine.journal.wait("asleep", SLEEPINGD_SERVICE="web")
        promise(active() == "inactive", f"said to be asleep it is {active()}")
        promise(not alive(first), "it is said to sleep and its process runs")
        promise(pid_of(ask(listen)) != first, "the same process answered after the stop")


@check
def a_unit_that_says_itself_when_it_is_ready_is_waited_for(machine):
    listen, back = port(), port()
    fifo = machine.reports.path
    # It says READY=1 only once it has been let: until then it listens, and is not active.
    notify = (
        "Type=notify\nNotifyAccess=all\n"
        f"ExecStartPost=/bin/sh -c 'echo ready > {fifo}'\n"
    )
    gate = f"{SCRATCH}/gate"
    with unit(machine, back, notify):
        os.mkfifo(gate)
        with open(f"{UNITS}/{UNIT}", "a") as file:
            file.write(
                f"[Service]\nExecStart=\nExecStart=/bin/sh -c '{BACKEND} {back} unit --reports "
                f"{fifo} & read go < {gate}; systemd-notify --ready; wait'\n"
            )
        systemctl("daemon-reload")
        machine.serve(section(listen, back), {"web": listen})
        with connect(listen) as client:
            machine.reports.wait("^listening unit")
            promise(active() == "activating", f"it listens, and is {active()}")
            promise(not machine.reports.all("^ready$"), "it said so too early")
            with open(gate, "w") as go:
                go.write("go\n")
            machine.reports.wait("^ready$")
            say(client, "hello")
        machine.journal.wait("^web: woken by ", SLEEPINGD_SERVICE="web")
        promise(active() == "active", f"awake it is {active()}")


@check
def a_unit_that_is_active_already_is_adopted_and_put_to_sleep(machine):
    listen, back = port(), port()
    with unit(machine, back):
        systemctl("start", UNIT)
        machine.reports.wait("^listening unit")
        before = show(UNIT, "MainPID")
        machine.serve(section(listen, back, IDLE_TIME=2), {"web": listen})
        promise(str(pid_of(ask(listen))) == before, "it was started again")
        machine.journal.wait("asleep", SLEEPINGD_SERVICE="web")
        promise(active() == "inactive", f"said to be asleep it is {active()}")


@check
def a_unit_that_crashed_or_was_stopped_behind_our_back_is_woken_by_the_next_client(machine):
    listen, back = port(), port()
    with unit(machine, back):
        machine.serve(section(listen, back), {"web": listen})
        for words in (("kill", "--signal=KILL"), ("stop",)):
            first = pid_of(ask(listen))
            systemctl(*words, UNIT)
            run(BACKEND, "--wait-gone", str(first))
            promise(pid_of(ask(listen)) != first, f"a dead backend answered after {words}")


@check
def a_unit_survives_a_restart_of_the_daemon(machine):
    listen, back = port(), port()
    with unit(machine, back):
        machine.serve(section(listen, back), {"web": listen})
        first = pid_of(ask(listen))
        systemctl("restart", "sleepingd.service")
        promise(pid_of(ask(listen)) == first, "it was started again")
        systemctl("stop", "sleepingd.service")
        promise(active() == "inactive", f"after a stop of the daemon it is {active()}")


@check
def a_unit_that_cannot_start_turns_its_client_away_and_says_why(machine):
    listen, back = port(), port()
    with unit(machine, back, "Type=oneshot\nExecStartPre=/bin/false"):
        machine.serve(section(listen, back), {"web": listen})
        end = fate_of_a_client(listen)
        promise(end == "reset", f"the client saw {end!r}, not a reset")
        said = machine.journal.wait("START_CMD exited with status 1", SLEEPINGD_SERVICE="web")
        promise(UNIT in said["MESSAGE"], f"it does not say which: {said['MESSAGE']!r}")
