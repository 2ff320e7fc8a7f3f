"""The column CONTAINER of the README's table: what survives what."""

import contextlib
import os
import shutil

from checks import check
from checks.engine import containers
from harness import (
    DAEMON, SOCKETS, UNIT_STARTED, ask, connect, draining, main_pid, port, promise, run, say, show,
    systemctl, until,
)


class Served:
    """The daemon, with a section for each container, and all of them awake."""

    def __init__(self, machine, made, head="", what=DAEMON, **keys):
        self.made = {container.name: container for container in made}
        self.ports = {name: port() for name in self.made}
        self.text = head + "".join(
            container.section(name, self.ports[name], **keys)
            for name, container in self.made.items()
        )
        machine.write(self.text)
        systemctl("daemon-reload")
        systemctl("enable", "--now", what)

    def wake(self):
        for name, listen in self.ports.items():
            promise(ask(listen).startswith(f"{name} "), f"{name} is not served")
        self.lives = {name: container.born() for name, container in self.made.items()}

    def connect(self, stack):
        """A connection to each, that has been relayed."""
        clients = {n: stack.enter_context(connect(listen)) for n, listen in self.ports.items()}
        for client in clients.values():
            say(client, "hello")
        self.lives = {name: container.born() for name, container in self.made.items()}
        return clients

    def live_on(self):
        """They serve, and are in the life that they were in."""
        for name, listen in self.ports.items():
            promise(ask(listen).startswith(f"{name} "), f"{name} is not served")
            promise(self.made[name].born() == self.lives[name], f"{name} was started again")

    def are_asleep(self):
        for container in self.made.values():
            container.is_asleep()


def go_on(clients, verb):
    """Open connections are of use while the daemon ends, and it ends when they do."""
    systemctl(verb, "--no-block", DAEMON)
    until("the daemon waits for its clients", draining)
    for number in range(20):
        for name, client in clients.items():
            promise(say(client, f"{number}").endswith(f" {number}"), f"{name} was cut")
    promise(draining(), "the daemon did not wait for open connections")
    for client in clients.values():
        client.close()


@check
def a_reload_and_an_apply_leave_containers_and_their_connections_alone(machine):
    with containers() as made, contextlib.ExitStack() as stack:
        served = Served(machine, made)
        clients = served.connect(stack)
        machine.write(served.text + f"IDLE_TIME=1h\n[more]\nPORT={port()}\nTARGET=127.0.0.1:1\n")
        for words in (("systemctl", "reload", DAEMON), ("sleepingctl", "apply")):
            run(*words)
            served.live_on()
            for name, client in clients.items():
                promise(say(client, "on").endswith(" on"), f"{name} was cut by {words[0]}")


@check
def containers_live_on_over_a_restart_which_waits_for_their_connections(machine):
    with containers() as made, contextlib.ExitStack() as stack:
        served = Served(machine, made)
        clients = served.connect(stack)
        since = machine.journal.mark()
        go_on(clients, "restart")
        machine.journal.wait(MESSAGE_ID=UNIT_STARTED, UNIT=DAEMON, since=since)
        served.live_on()


@check
def containers_live_on_over_an_upgrade_and_are_stopped_by_the_new_program(machine):
    """What a package does: another file in its place, the units read anew, a restart."""
    with containers() as made:
        served = Served(machine, made)
        served.wake()
        daemon = main_pid()
        for program in ("/usr/bin/sleepingd", "/usr/bin/sleepingctl"):
            shutil.copy2(program, f"{program}.new")
            os.rename(f"{program}.new", program)
        systemctl("daemon-reload")
        systemctl("restart", DAEMON)
        promise(main_pid() not in (0, daemon), "the daemon is the old one")
        served.live_on()
        systemctl("stop", DAEMON)
        served.are_asleep()


@check
def containers_live_on_over_a_crash_and_are_put_to_sleep_afterwards(machine):
    with containers() as made:
        served = Served(machine, made, IDLE_TIME="3s")
        served.wake()
        since = machine.journal.mark()
        systemctl("kill", "--kill-who=main", "--signal=KILL", DAEMON)
        machine.journal.wait(MESSAGE_ID=UNIT_STARTED, UNIT=DAEMON, since=since)
        served.live_on()
        for name in served.made:
            machine.journal.wait("asleep", since=since, SLEEPINGD_SERVICE=name)
        served.are_asleep()


@check
def before_an_exit_when_idle_containers_are_asleep_and_afterwards_they_are_woken(machine):
    with containers() as made:
        served = Served(machine, made, "EXIT_IDLE_TIME=1\n", SOCKETS, IDLE_TIME=1)
        for _ in range(2):
            since = machine.journal.mark()
            served.wake()
            daemon = main_pid()
            machine.journal.wait("everything has slept", since=since)
            served.are_asleep()
            run("/opt/sleepingd-tests/backend", "--wait-gone", str(daemon))


@check
def a_stop_puts_containers_to_sleep_when_their_connections_have_finished(machine):
    with containers() as made, contextlib.ExitStack() as stack:
        served = Served(machine, made)
        go_on(served.connect(stack), "stop")
        until("the daemon has ended", lambda: show(DAEMON, "ActiveState") == "inactive")
        served.are_asleep()
