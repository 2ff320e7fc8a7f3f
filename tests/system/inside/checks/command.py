"""COMMAND: a backend that the daemon looks after, and that outlives it."""

import os
import signal
import time

from checks import check
from harness import (
    BACKEND, CONFIG, DAEMON, UNIT_STARTED, alive, ask, connect, fate, main_pid, pid_of, port, processes,
    promise, run, say, show, systemctl, until,
)


def section(machine, back, **keys):
    """Its COMMAND needs no shell, and so is the backend itself."""
    lines = [
        "[web]",
        f"TARGET=127.0.0.1:{back}",
        f"COMMAND={BACKEND} {back} web --reports {machine.reports.path}",
    ]
    return "\n".join(lines + [f"{key}={value}" for key, value in keys.items()]) + "\n"


def stored():
    """How many descriptors systemd keeps for the daemon."""
    return int(show(DAEMON, "NFileDescriptorStore"))


def restarted(machine, interrupt):
    since, daemon = machine.journal.mark(), main_pid()
    interrupt()
    machine.journal.wait(MESSAGE_ID=UNIT_STARTED, UNIT=DAEMON, since=since)
    until("another daemon", lambda: main_pid() not in (0, daemon))


def survives(machine, interrupt):
    listen, back = port(), port()
    machine.serve(section(machine, back), {"web": listen})
    before = stored()
    pid = pid_of(ask(listen))
    promise(stored() == before + 3, f"of its two pipes and itself {stored() - before} are kept")
    restarted(machine, interrupt)
    promise(alive(pid), "it did not survive")
    promise(pid_of(ask(listen)) == pid, "another backend answers")
    promise(stored() == before + 3, "it is kept no more, or twice")
    since = machine.journal.mark()
    os.kill(pid, signal.SIGKILL)
    said = machine.journal.wait("COMMAND has ended .*asleep", SLEEPINGD_SERVICE="web", since=since)
    promise(said.at < since + 5, "its end was noticed late")
    until("nothing of it is kept", lambda: stored() == before)
    again = pid_of(ask(listen))
    promise(again != pid, "a dead process answers")
    return listen, again


@check
def command_survives_a_restart_and_its_end_is_noticed_afterwards(machine):
    survives(machine, lambda: systemctl("restart", DAEMON))


@check
def command_survives_a_crash_and_its_end_is_noticed_afterwards(machine):
    _, pid = survives(machine, lambda: systemctl("kill", "--kill-who=main", "--signal=KILL", DAEMON))
    systemctl("stop", DAEMON)
    promise(not alive(pid), "it outlived the stop of the daemon")


@check
def command_stays_over_a_reload_and_an_apply_and_goes_with_its_section(machine):
    listen, back, other = port(), port(), port()
    text = section(machine, back, PORT=listen)
    machine.write(text)
    systemctl("daemon-reload")
    systemctl("enable", "--now", DAEMON)
    with connect(listen) as client:
        pid = pid_of(say(client, "hello"))
        machine.write(text + machine.section("other", mode="target", at=port(), PORT=other))
        systemctl("reload", DAEMON)
        promise(pid_of(say(client, "after the reload")) == pid, "another backend answers")
        run("sleepingctl", "apply")
        promise(pid_of(say(client, "after apply")) == pid, "another backend answers")
    machine.write(machine.section("other", mode="target", at=port(), PORT=other))
    run("sleepingctl", "apply")
    until("it is gone", lambda: not alive(pid))


@check
def command_that_a_former_daemon_started_is_ended_with_all_it_started_by_a_stop(machine):
    """As the machine's shutdown stops the daemon."""
    listen, back, fifo = port(), port(), machine.reports.path
    text = (
        f"[web]\nTARGET=127.0.0.1:{back}\nSTOP_SIGNAL=USR1\n"
        f"COMMAND=\"trap 'echo told > {fifo}; kill $!; exit 0' USR1; setsid sleep 1000 & "
        f"{BACKEND} {back} web & wait\"\n"
    )
    machine.serve(text, {"web": listen})
    ask(listen)
    until("the whole family", lambda: len(processes(DAEMON)) == 4)
    restarted(machine, lambda: systemctl("restart", DAEMON))
    family = processes(DAEMON)
    promise(len(family) == 4, "some of it did not survive the restart")
    systemctl("stop", DAEMON)
    machine.reports.wait("^told$")
    left = [pid for pid in family if alive(pid)]
    promise(not left, f"left behind: {left}")


@check
def command_that_ends_leaves_nothing_that_it_started(machine):
    listen, back = port(), port()
    text = (
        f"[web]\nTARGET=127.0.0.1:{back}\n"
        f'COMMAND="setsid sleep 1000 & sleep 1000 & exec {BACKEND} {back} web"\n'
    )
    machine.serve(text, {"web": listen})
    pid = pid_of(ask(listen))
    until("the whole family", lambda: len(processes(DAEMON)) == 4)
    os.kill(pid, signal.SIGKILL)
    machine.journal.wait("COMMAND was killed by SIGKILL", SLEEPINGD_SERVICE="web")
    promise(processes(DAEMON) == [main_pid()], f"left behind: {processes(DAEMON)}")


def crashes():
    systemctl("kill", "--kill-who=main", "--signal=KILL", DAEMON)


@check
def a_crash_while_the_file_is_being_written_ends_no_command_and_closes_no_port(machine):
    listen, back = port(), port()
    text = section(machine, back, PORT=listen)
    machine.write(text)
    systemctl("daemon-reload")
    systemctl("start", DAEMON)
    pid = pid_of(ask(listen))
    for change in (lambda: machine.write("\n"), lambda: os.unlink(CONFIG)):
        change()
        restarted(machine, crashes)
        promise(pid_of(ask(listen)) == pid, "another COMMAND answers")
        systemctl("daemon-reload")
        promise(pid_of(ask(listen)) == pid, "another COMMAND answers")
    # Now that is what is wanted.
    machine.write("")
    run("sleepingctl", "apply")
    until("it is gone", lambda: not alive(pid))


def broken_over_a_crash(machine):
    """A COMMAND whose section has an error, and no good file is known."""
    listen, back = port(), port()
    machine.write(section(machine, back, PORT=listen))
    systemctl("daemon-reload")
    systemctl("start", DAEMON)
    pid = pid_of(ask(listen))
    machine.write(section(machine, "nonsense", PORT=listen))
    os.unlink("/run/sleepingd/last-good.json")
    restarted(machine, crashes)
    promise(alive(pid), "it was ended for an error in its section")
    return pid


@check
def command_whose_section_had_an_error_at_the_start_is_ended_by_a_stop(machine):
    pid = broken_over_a_crash(machine)
    systemctl("stop", DAEMON)
    promise(not alive(pid), "it runs on")
    promise(os.listdir("/run/sleepingd/state") == [], "it is written down as awake")


@check
def command_whose_section_had_an_error_at_the_start_goes_with_it_when_that_is_applied(machine):
    pid = broken_over_a_crash(machine)
    machine.write(machine.section("other", mode="target", at=port(), PORT=port()))
    run("sleepingctl", "apply")
    until("it is gone", lambda: not alive(pid))


@check
def command_that_ends_while_no_daemon_runs_is_asleep(machine):
    listen, back = port(), port()
    machine.serve(section(machine, back), {"web": listen})
    pid = pid_of(ask(listen))

    def crash_with_it():
        # RestartSec= is a second: it is gone before the next daemon comes.
        systemctl("kill", "--kill-who=main", "--signal=KILL", DAEMON)
        os.kill(pid, signal.SIGKILL)

    since = machine.journal.mark()
    restarted(machine, crash_with_it)
    machine.journal.wait("COMMAND has ended while no daemon ran", since=since)
    promise(pid_of(ask(listen)) != pid, "a dead process answers")


@check
def command_that_runs_keeps_the_daemon_from_its_exit_when_idle(machine):
    """It does not listen, so the service is asleep; but it runs."""
    listen, fifo = port(), machine.reports.path
    text = (
        "EXIT_IDLE_TIME=1\n[web]\n"
        f'TARGET=127.0.0.1:{port()}\nWAKE_TIMEOUT=500ms\nCOMMAND="echo runs $$ > {fifo}; sleep 1000"\n'
    )
    machine.serve(text, {"web": listen})
    with connect(listen) as client:
        pid = int(machine.reports.wait("^runs ").split()[1])
        promise(fate(client) == "reset", "the client was not reset at WAKE_TIMEOUT")
    # Nothing tells that something does not happen.
    time.sleep(3)
    promise(alive(pid) and main_pid() != 0, "the daemon has left what it looks after")
    since = machine.journal.mark()
    os.kill(pid, signal.SIGKILL)
    machine.journal.wait("everything has slept", since=since)
