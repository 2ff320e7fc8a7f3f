"""Restart, stop and crash of the daemon, with backends that run on."""

import os
import threading
import time

from checks import check
from harness import (
    DAEMON, UNIT_STARTED, UNIT_STOPPED, alive, ask, connect, main_pid, pid_of, port, promise, say,
    show, systemctl,
)

IDLE = 6


def ticks(machine, count):
    """Waits until the chatty backend has written this often, every 0.2 s, to both its outputs."""
    for _ in range(count):
        machine.reports.wait("^tick ")


def survives(machine, mode, interrupt):
    """A chatty backend runs on, is not started again, and its idle clock goes on."""
    listen, back = port(), port()
    section = machine.section("web", mode=mode, at=back, IDLE_TIME=IDLE, options="--chatter")
    machine.serve(section, {"web": listen})
    daemon, backend = main_pid(), pid_of(ask(listen))
    used = time.monotonic()
    ticks(machine, 10)
    since = machine.journal.mark()
    interrupt()
    machine.journal.wait(MESSAGE_ID=UNIT_STARTED, UNIT=DAEMON, since=since)
    promise(main_pid() not in (0, daemon), "the daemon was not restarted")
    restarted = time.monotonic()
    machine.reports.skip()
    ticks(machine, 5)
    promise(alive(backend), "the backend did not survive")
    promise(not machine.reports.all("^stop"), "STOP ran at the restart")
    promise(machine.starts("web") == 1, "the backend was started a second time")
    heard = machine.journal.wait("tick .* to stderr", since=restarted, SLEEPINGD_SERVICE="web")
    promise(heard["SLEEPINGD_ACTION"] == "start", "its output lost its tag")

    asleep = machine.journal.wait("asleep", SLEEPINGD_SERVICE="web").at
    promise(not alive(backend), "STOP did not reach the backend")
    promise(asleep >= used + IDLE - 0.1, f"asleep after {asleep - used:.1f} s, too soon")
    promise(asleep < restarted + IDLE, "the restart set the idle clock back")
    promise(machine.starts("web") == 1, "the backend was started a second time")
    return listen


def restart():
    systemctl("restart", DAEMON)


def crash():
    systemctl("kill", "--kill-who=main", "--signal=KILL", DAEMON)


@check
def a_chatty_backend_with_a_target_survives_a_restart(machine):
    survives(machine, "target", restart)


@check
def a_chatty_backend_with_a_check_survives_a_restart(machine):
    survives(machine, "check", restart)


@check
def a_chatty_backend_without_check_and_target_survives_a_restart(machine):
    survives(machine, "start", restart)


@check
def a_chatty_backend_with_a_target_survives_a_crash(machine):
    survives(machine, "target", crash)


@check
def a_chatty_backend_with_a_check_survives_a_crash(machine):
    survives(machine, "check", crash)


@check
def a_chatty_backend_without_check_and_target_survives_a_crash(machine):
    listen = survives(machine, "start", crash)
    promise(ask(listen).startswith("web "), "the service is of no use after it")


@check
def a_client_of_an_awake_backend_after_a_restart_does_not_start_it_again(machine):
    ports = {mode: port() for mode in ("target", "check")}
    text = "".join(machine.section(mode, mode=mode, at=port()) for mode in ports)
    machine.serve(text, ports)
    first = {mode: pid_of(ask(listen)) for mode, listen in ports.items()}
    systemctl("restart", DAEMON)
    for mode, listen in ports.items():
        promise(pid_of(ask(listen)) == first[mode], f"{mode}: another backend answers")
        promise(machine.starts(mode) == 1, f"{mode}: it was started again")


@check
def a_client_that_comes_while_the_daemon_is_dead_is_served(machine):
    listen = port()
    machine.serve(machine.section("web", mode="target", at=port()), {"web": listen})
    first = pid_of(ask(listen))
    crash()
    promise(pid_of(ask(listen)) == first, "another backend answers")


@check
def a_crash_during_a_wake_loses_at_most_that_client(machine):
    listen, gate = port(), f"{machine.reports.path}.gate"
    os.mkfifo(gate)
    section = machine.section("web", mode="target", at=port())
    # START waits at the gate, so that the crash is in the middle of the wake for certain.
    section = section.replace('START_CMD="', f'START_CMD="echo at-gate > {machine.reports.path}; read < {gate}; ')
    machine.serve(section, {"web": listen})
    with connect(listen):
        machine.reports.wait("^at-gate$")
        since = machine.journal.mark()
        crash()
        machine.journal.wait(MESSAGE_ID=UNIT_STARTED, UNIT=DAEMON, since=since)
    # For reading and writing: opening does not wait for a reader, and what is read is kept.
    with open(os.open(gate, os.O_RDWR), "wb", buffering=0) as opened:
        opened.write(b"go\n" * 4)
        promise(ask(listen).startswith("web "), "the next client is not served")


@check
def no_new_client_is_refused_or_lost_over_a_restart(machine):
    listen = port()
    machine.serve(machine.section("web", mode="target", at=port()), {"web": listen})
    ask(listen)
    served, lost, over = [], [], threading.Event()
    def knock():
        while not over.is_set():
            try:
                served.append(ask(listen))
            except OSError as error:
                lost.append(repr(error))
    thread = threading.Thread(target=knock)
    thread.start()
    try:
        for _ in range(3):
            systemctl("restart", DAEMON)
    finally:
        over.set()
        thread.join()
    promise(not lost, f"{len(lost)} of {len(served) + len(lost)} clients: {lost[:3]}")
    promise(all(a.endswith(" hello\n") for a in served), "an answer was cut short")


@check
def an_open_relay_finishes_before_a_restart_goes_on(machine):
    listen = port()
    machine.serve(machine.section("web", mode="target", at=port()), {"web": listen})
    with connect(listen) as client:
        say(client, "before")
        since = machine.journal.mark()
        systemctl("restart", "--no-block", DAEMON)
        for number in range(50):
            promise(say(client, f"{number}").endswith(f" {number}"), "the relay was cut")
        promise(
            not machine.journal.all(MESSAGE_ID=UNIT_STOPPED, UNIT=DAEMON, since=since),
            "the daemon did not wait for the open relay",
        )
    machine.journal.wait(MESSAGE_ID=UNIT_STARTED, UNIT=DAEMON, since=since)


@check
def a_stop_runs_stop_cmd_and_closes_the_sockets(machine):
    listen, never = port(), port()
    text = machine.section("web", mode="check", at=port())
    text += machine.section("unused", mode="check", at=port())
    machine.serve(text, {"web": listen, "unused": never})
    backend = pid_of(ask(listen))
    since = machine.journal.mark()
    systemctl("stop", DAEMON)
    promise(machine.reports.all("^stop ") == ["stop web"], f"{machine.reports.all('^stop ')}")
    promise(not alive(backend), "the backend runs after the stop")
    for unit in machine.sockets:
        machine.journal.wait(UNIT=unit, since=since, JOB_TYPE="stop", JOB_RESULT="done")
    for number in (listen, never):
        try:
            connect(number).close()
        except ConnectionRefusedError:
            continue
        promise(False, f"port {number} still takes connections")
    promise(show(DAEMON, "Result") == "success", f"the stop ended as {show(DAEMON, 'Result')}")
    systemctl("start", DAEMON)
    promise(pid_of(ask(listen)) != backend, "the sockets did not come back with the service")
