"""What survives what: those cells of the README's table that no other file has. CONTRIBUTING says
which check has which."""

import contextlib
import os
import time

from checks import check
from checks.applying import limited_stop, while_it_hangs
from checks.ready_made import UNIT, active, unit
from checks.sockets import inode
from harness import (
    BACKEND, DAEMON, SOCKETS, UNIT_STARTED, UNITS, alive, ask, connect, draining, fate, main_pid, pid_of,
    port, processes, promise, run, say, show, systemctl, until,
)

KINDS = ("web", "unit")


class Pair:
    """Two sections: START_CMD wakes the backend of `web`, UNIT that of `unit`."""

    def __init__(self, machine, backs, head="", **keys):
        self.machine = machine
        self.backs = backs
        self.ports = {kind: port() for kind in KINDS}
        said = {"PORT": self.ports["unit"], "UNIT": UNIT, "TARGET": f"127.0.0.1:{backs['unit']}"}
        lines = [f"{key}={value}" for key, value in {**said, **keys}.items()]
        self.text = (
            head
            + machine.section("web", mode="target", at=backs["web"], PORT=self.ports["web"], **keys)
            + "\n".join(["[unit]", *lines]) + "\n"
        )

    def serve(self, what=DAEMON):
        """The daemon, or its ports alone, as an administrator enables them."""
        self.machine.write(self.text)
        systemctl("daemon-reload")
        systemctl("enable", "--now", what)

    def wake(self):
        """Which processes the two are."""
        self.awake = {kind: pid_of(ask(listen)) for kind, listen in self.ports.items()}
        return self.awake

    def connect(self, stack):
        """A connection to each, that has been relayed."""
        clients = {k: stack.enter_context(connect(listen)) for k, listen in self.ports.items()}
        self.awake = {kind: pid_of(say(client, "hello")) for kind, client in clients.items()}
        return clients

    def same(self, kind):
        """The backend is the one that it was, and nobody has tried to stop it."""
        promise(alive(self.awake[kind]), f"the backend of {kind} is gone")
        answer = pid_of(ask(self.ports[kind]))
        promise(answer == self.awake[kind], f"another backend answers for {kind}")

    def is_asleep(self):
        for kind, pid in self.awake.items():
            promise(not alive(pid), f"the backend of {kind} still runs")
        promise(active() == "inactive", f"the unit is {active()}")


@contextlib.contextmanager
def pair(machine, head="", **keys):
    """The pair, with the unit there for as long as the check runs."""
    backs = {kind: port() for kind in KINDS}
    with unit(machine, backs["unit"]):
        yield Pair(machine, backs, head, **keys)


def crash():
    systemctl("kill", "--kill-who=main", "--signal=KILL", DAEMON)


@check
def a_reload_and_an_apply_leave_a_woken_unit_and_its_connections_alone(machine):
    with pair(machine) as two, contextlib.ExitStack() as stack:
        two.serve()
        clients = two.connect(stack)
        daemon, started = main_pid(), show(UNIT, "ExecMainStartTimestampMonotonic")
        # With something to be read: another policy for it, and another section.
        machine.write(two.text + f"IDLE_TIME=1h\n[more]\nPORT={port()}\nTARGET=127.0.0.1:1\n")
        for words in (("systemctl", "reload", DAEMON), ("sleepingctl", "apply")):
            run(*words)
            for kind in KINDS:
                two.same(kind)
                promise(say(clients[kind], "on").endswith(" on"), f"{kind} was cut by {words[0]}")
        promise(show(UNIT, "ExecMainStartTimestampMonotonic") == started, "it was started again")
        promise(main_pid() == daemon, "the daemon was restarted")


@check
def a_woken_unit_survives_a_crash_of_the_daemon(machine):
    with pair(machine, IDLE_TIME="3s") as two:
        two.serve()
        two.wake()
        since = machine.journal.mark()
        crash()
        machine.journal.wait(MESSAGE_ID=UNIT_STARTED, UNIT=DAEMON, since=since)
        for kind in KINDS:
            two.same(kind)
        # It is not only there: it is known, and goes to sleep.
        machine.journal.wait("asleep", since=since, SLEEPINGD_SERVICE="unit")
        promise(active() == "inactive", f"said to be asleep it is {active()}")


@check
def a_crash_cuts_the_open_connections_at_both_ends(machine):
    with pair(machine) as two, contextlib.ExitStack() as stack:
        two.serve()
        clients = two.connect(stack)
        crash()
        for kind, client in clients.items():
            end = fate(client)
            promise(end in ("reset", "closed"), f"the client of {kind} got {end!r}")
            to = f"sport = :{two.backs[kind]}"
            until(
                f"the backend of {kind} has no connection",
                lambda to=to: not run("ss", "-tnH", "state", "established", to).stdout,
            )


@check
def before_an_exit_when_idle_all_is_asleep_and_afterwards_the_ports_wake_it_again(machine):
    with pair(machine, "EXIT_IDLE_TIME=1\n", IDLE_TIME=1) as two:
        two.serve(SOCKETS)
        for _ in range(2):
            since = machine.journal.mark()
            two.wake()
            daemon = main_pid()
            machine.journal.wait("everything has slept", since=since)
            two.is_asleep()
            machine.reports.wait("^stop web$")
            run("/opt/sleepingd-tests/backend", "--wait-gone", str(daemon))
            promise(show(SOCKETS, "ActiveState") == "active", "the ports were closed")


@check
def an_open_connection_keeps_the_daemon_from_an_exit_when_idle(machine):
    listen = port()
    section = machine.section(
        "web", mode="target", at=port(), PORT=listen, IDLE_TIME=1, options="--chatter"
    )
    machine.write("EXIT_IDLE_TIME=1\n" + section)
    systemctl("daemon-reload")
    systemctl("enable", "--now", SOCKETS)
    with connect(listen) as client:
        say(client, "one")
        daemon = main_pid()
        # Three seconds by the backend's own clock: thrice what would end it.
        for _ in range(15):
            machine.reports.wait("^tick ")
        promise(say(client, "two").endswith(" two"), "the connection was cut")
        promise(main_pid() == daemon, "the daemon has gone under an open connection")
    machine.journal.wait("everything has slept")


def go_on(machine, clients, verb):
    """Open connections are of use while the daemon ends, and it ends when they do."""
    systemctl(verb, "--no-block", DAEMON)
    until("the daemon waits for its clients", draining)
    for number in range(50):
        for kind, client in clients.items():
            promise(say(client, f"{number}").endswith(f" {number}"), f"{kind} was cut")
    promise(draining(), "the daemon did not wait for open connections")
    promise(not machine.reports.all("^stop"), "STOP_CMD ran under an open connection")
    promise(active() == "active", f"the unit is {active()} under an open connection")
    for client in clients.values():
        client.close()


@check
def open_connections_finish_before_a_restart_goes_on_and_all_stays_awake(machine):
    with pair(machine) as two, contextlib.ExitStack() as stack:
        two.serve()
        clients = two.connect(stack)
        since = machine.journal.mark()
        go_on(machine, clients, "restart")
        machine.journal.wait(MESSAGE_ID=UNIT_STARTED, UNIT=DAEMON, since=since)
        for kind in KINDS:
            two.same(kind)


@check
def open_connections_finish_before_a_stop_puts_anything_to_sleep(machine):
    with pair(machine) as two, contextlib.ExitStack() as stack:
        two.serve()
        go_on(machine, two.connect(stack), "stop")
        until("the daemon has ended", lambda: show(DAEMON, "ActiveState") == "inactive")
        two.is_asleep()
        promise(machine.reports.all("^stop ") == ["stop web"], "STOP_CMD ran not once")


def cut_after(machine, verb):
    """Whoever does not finish is cut when DRAIN_TIMEOUT is over, not before."""
    with pair(machine, DRAIN_TIMEOUT="2s") as two, contextlib.ExitStack() as stack:
        two.serve()
        clients = two.connect(stack)
        began = time.monotonic()
        systemctl(verb, "--no-block", DAEMON)
        for kind, client in clients.items():
            end = fate(client)
            promise(end in ("reset", "closed"), f"the client of {kind} got {end!r}")
            waited = time.monotonic() - began
            promise(waited > 1.9, f"the client of {kind} had {waited:.1f} s of 2")
        yield two


@check
def a_connection_that_does_not_finish_is_cut_by_a_restart_after_drain_timeout(machine):
    for two in cut_after(machine, "restart"):
        for kind in KINDS:
            two.same(kind)


@check
def a_connection_that_does_not_finish_is_cut_by_a_stop_after_drain_timeout(machine):
    for two in cut_after(machine, "stop"):
        until("the daemon has ended", lambda: show(DAEMON, "ActiveState") == "inactive")
        two.is_asleep()


@check
def a_stop_puts_a_woken_unit_to_sleep_before_the_daemon_has_ended(machine):
    gone = f"{UNITS}/{DAEMON}.d"
    with pair(machine) as two:
        two.serve()
        two.wake()
        # What runs last of all in the daemon's own stop sees the unit asleep.
        os.makedirs(gone, exist_ok=True)
        with open(f"{gone}/last.conf", "w") as file:
            file.write(
                "[Service]\nExecStopPost=/bin/sh -c 'echo unit "
                f"$(systemctl is-active {UNIT}) > {machine.reports.path}'\n"
            )
        systemctl("daemon-reload")
        systemctl("stop", DAEMON)
        said = machine.reports.wait("^unit ")
        promise(said == "unit inactive", f"when the daemon had ended: {said}")
        two.is_asleep()


@check
def a_stop_of_a_daemon_that_hangs_puts_to_sleep_all_that_is_awake(machine):
    """It takes longer than systemd would wait for that."""
    listen, back, sleeping = port(), port(), port()
    command = f"COMMAND=\"setsid sleep 1000 & exec {BACKEND} {back} command\"\n"
    with pair(machine) as awake:
        awake.text = awake.text.replace("; pid=", "; sleep 4; pid=") + (
            f"[command]\nPORT={listen}\nTARGET=127.0.0.1:{back}\n{command}"
        ) + machine.section("asleep", mode="target", at=port(), PORT=sleeping)
        awake.serve()
        awake.wake()
        pid = pid_of(ask(listen))
        # What is awake is put to sleep by what was served.
        machine.write("[command]\nwrong\n")
        limited_stop(3)
        systemctl("daemon-reload")
        family = processes(DAEMON)
        promise(pid in family and len(family) >= 4, f"the daemon and what it has woken: {family}")
        while_it_hangs("stop")
        awake.is_asleep()
        left = [pid for pid in family if alive(pid)]
        promise(not left, f"left behind: {left}")
        promise(not inode(listen), "its port is open")
        promise(machine.starts("asleep") == 0, "what slept was woken")
        promise(not machine.reports.all("^stop asleep$"), "what slept was put to sleep")
        promise(os.listdir(f"/run/sleepingd/state") == [], "it is still written down as awake")


@check
def a_restart_of_a_daemon_that_hangs_leaves_awake_what_is(machine):
    listen, back = port(), port()
    command = f"COMMAND=\"setsid sleep 1000 & exec {BACKEND} {back} command\"\n"
    with pair(machine) as awake:
        awake.text += f"[command]\nPORT={listen}\nTARGET=127.0.0.1:{back}\n{command}"
        awake.serve()
        awake.wake()
        pid = pid_of(ask(listen))
        limited_stop(1)
        systemctl("daemon-reload")
        while_it_hangs("restart")
        for kind in KINDS:
            awake.same(kind)
        promise(pid_of(ask(listen)) == pid, "another COMMAND answers")
