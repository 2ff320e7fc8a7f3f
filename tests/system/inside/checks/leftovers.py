"""Timeouts that leave no process behind, and a journald that stands still."""

import os
import re
import signal
import time

from checks import check
from harness import (
    BACKEND, DAEMON, ask, command_line, connect, fate, main_pid, port, processes, promise, show, until,
)


def only_the_daemon_is_left():
    """Nothing but the daemon is in its control group, nor in any below it."""
    return processes(DAEMON) == [main_pid()]


def stray_processes():
    return [command_line(pid) for pid in processes(DAEMON) if pid != main_pid()]


def times_out(machine, keys, listen):
    """A command that runs out of time takes its whole family along: the child that ignores
    SIGTERM, and the grandchild that made a session of its own."""
    machine.serve("[web]\n" + keys, {"web": listen})
    with connect(listen) as client:
        machine.reports.wait("^family$")
        until("the whole family", lambda: len([p for p in stray_processes() if p == "sleep 1000"]) == 3)
        end = fate(client)
    promise(end == "reset", f"the client saw {end!r}, not a reset")
    try:
        until("an empty control group", only_the_daemon_is_left)
    except AssertionError as error:
        promise(False, f"{error}; left behind: {stray_processes()}")


def family(machine):
    return (
        f"setsid sleep 1000 & (trap '' TERM; exec sleep 1000) & sleep 1000 & "
        f"echo family > {machine.reports.path}; wait"
    )


@check
def a_start_that_times_out_leaves_no_process_behind(machine):
    listen = port()
    keys = f'START_CMD="{family(machine)}"\nSTART_CMD_TIMEOUT=2\nTARGET=127.0.0.1:{port()}\n'
    times_out(machine, keys, listen)


@check
def a_check_that_times_out_leaves_no_process_behind(machine):
    listen = port()
    keys = (
        f'CHECK_CMD="{family(machine)}"\nCHECK_CMD_TIMEOUT=2\n'
        "START_CMD=\"echo 'no, not today' >&2; exit 1\"\n"
    )
    times_out(machine, keys, listen)


@check
def a_command_gets_nothing_of_the_daemon_but_its_three_descriptors(machine):
    listen, back, fifo = port(), port(), machine.reports.path
    # The shell opens nothing for it, so what it was born with is what the daemon gave the shell.
    machine.serve(
        f'[web]\nSTART_CMD="{BACKEND} {back} web --reports {fifo} --birth &"\n'
        f"TARGET=127.0.0.1:{back}\n",
        {"web": listen},
    )
    ask(listen)
    said = machine.reports.wait("^descriptors")
    promise(said == "descriptors 0 1 2", f"START was born with {said!r}")
    names = machine.reports.wait("^environment").split()[1:]
    strange = [n for n in names if re.match("LISTEN_|NOTIFY_|WATCHDOG_|JOURNAL_|INVOCATION_", n)]
    promise(not strange, f"START has the daemon's own variables: {strange}")


@check
def a_journald_that_stands_still_delays_no_relay_and_losses_are_counted(machine):
    # At debug there is more than one line a client: the queue of 4096 is full long before the end.
    listen, back, clients = port(), port(), 6000
    machine.verbose()
    machine.serve(machine.section("web", mode="target", at=back), {"web": listen})
    ask(listen)
    journald = int(show("systemd-journald.service", "MainPID"))
    slowest = 0.0
    os.kill(journald, signal.SIGSTOP)
    try:
        for number in range(clients):
            began = time.monotonic()
            answer = ask(listen, f"{number}")
            slowest = max(slowest, time.monotonic() - began)
            promise(answer.endswith(f" {number}\n"), f"client {number} got {answer!r}")
    finally:
        os.kill(journald, signal.SIGCONT)
    promise(slowest < 1.0, f"a client waited {slowest:.2f} s while journald stood still")
    ask(listen)
    told = machine.journal.wait(r"\d+ (log )?messages? (was|were) dropped", _SYSTEMD_UNIT=DAEMON)
    promise(int(re.search(r"\d+", told["MESSAGE"]).group()) > 0, f"{told['MESSAGE']!r}")
