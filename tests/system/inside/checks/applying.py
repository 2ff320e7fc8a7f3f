"""`sleepingctl apply`, and what systemd makes of sections that change."""

import ctypes
import os
import signal
import socket
import subprocess

from checks import check
from checks.sockets import inode, open_sockets, refused, section, squatter, state, unit
from harness import (
    CONFIG, DAEMON, PATIENCE, SOCKETS, UNITS, ask, fate_of_a_client, main_pid, port, promise, run, show,
    systemctl, until,
)

# ptrace(2).
PTRACE_ATTACH = 16

HELD = "/run/sleepingd/held"


def apply(ok=(0,)):
    """What it said, errors too."""
    done = run("sleepingctl", "apply", ok=ok)
    return done.stdout + done.stderr


def held():
    return os.listdir(HELD) if os.path.isdir(HELD) else []


def limited_stop(seconds):
    """How much patience systemd has with a daemon that hangs."""
    os.makedirs(f"{UNITS}/{DAEMON}.d", exist_ok=True)
    with open(f"{UNITS}/{DAEMON}.d/limited_stop.conf", "w") as file:
        file.write(f"[Service]\nTimeoutStopSec={seconds}\n")


def while_it_hangs(verb):
    """The daemon does nothing any more, and systemd has to kill it.

    A debugger has it: from SIGSTOP it would be woken, for SIGTERM comes with SIGCONT.
    """
    pid, libc = main_pid(), ctypes.CDLL(None, use_errno=True)
    attached = libc.ptrace(PTRACE_ATTACH, pid, None, None)
    promise(attached == 0, f"it cannot be stopped: {os.strerror(ctypes.get_errno())}")
    _, status = os.waitpid(pid, 0)
    promise(os.WIFSTOPPED(status), f"it has not stopped, but {status}")
    job = subprocess.Popen(["systemctl", verb, DAEMON])
    # Until its tracer knows, nobody else is told that it is dead.
    _, status = os.waitpid(pid, 0)
    promise(os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, f"not killed, but {status}")
    promise(job.wait(timeout=PATIENCE) == 0, f"systemctl {verb} failed")


def exited(machine, since=0.0):
    machine.journal.wait("everything has slept", since=since)
    until("the daemon is gone", lambda: state(DAEMON) == "inactive")


@check
def apply_narrows_a_port_to_one_address_and_widens_it_again(machine):
    listen, at = port(), port()
    other = section(machine, "other", port())

    def text(where):
        return machine.section("web", mode="target", at=at, PORT=where) + other

    machine.write(text(listen))
    systemctl("daemon-reload")
    systemctl("start", DAEMON)
    ask(listen)
    # From a socket of systemd's to one of the daemon's, and between two of those.
    for where in (f"127.0.0.1:{listen}", listen, f"127.0.0.1:{listen}"):
        machine.write(text(where))
        said = apply()
        promise("opened" in said and "1 socket(s) unchanged" in said, f"{where}: it said {said}")
        promise(ask(listen).startswith("web "), f"{where} is not served")
    systemctl("restart", DAEMON)
    promise(ask(listen).startswith("web "), "after a restart it is not served")


@check
def a_renamed_section_keeps_its_socket_over_apply_restart_and_crash(machine):
    listen, at = port(), port()

    def text(name):
        return machine.section(name, mode="target", at=at, PORT=listen)

    machine.write(text("web"))
    systemctl("daemon-reload")
    systemctl("start", DAEMON)
    before = inode(listen)
    machine.write(text("wiki"))
    said = apply()
    promise(f"opened {unit('wiki', listen)}" in said, f"it said {said}")
    promise(inode(listen) == before, "apply made another socket")
    systemctl("restart", DAEMON)
    promise(inode(listen) == before, "restart made another socket")
    since = machine.journal.mark()
    systemctl("kill", "--kill-who=main", "--signal=KILL", DAEMON)
    machine.journal.wait("^ready:", since=since)
    promise(inode(listen) == before, "the crash made another socket")
    promise(ask(listen).startswith("wiki "), "it is not served")
    systemctl("stop", DAEMON)
    systemctl("start", DAEMON)
    promise(state(unit("wiki", listen)) == "active", "after stop and start it is no unit")


@check
def a_renamed_section_keeps_its_path(machine):
    path, at = "/run/renamed.sock", port()

    def text(name):
        return machine.section(name, mode="target", at=at, PORT=path)

    def answer():
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(path)
            client.sendall(b"hello\n")
            client.shutdown(socket.SHUT_WR)
            return client.recv(100).decode()

    machine.write(text("web"))
    systemctl("daemon-reload")
    systemctl("start", DAEMON)
    promise(answer().startswith("web "), "it is not served")
    machine.write(text("wiki"))
    apply()
    promise(answer().startswith("wiki "), "after apply it is not served")


@check
def apply_touches_nothing_that_the_daemon_would_refuse(machine):
    listen, gone = port(), port()
    text = section(machine, "web", listen)
    machine.write(text + section(machine, "gone", gone))
    systemctl("daemon-reload")
    systemctl("start", DAEMON)
    # Sound for a generator, that cannot know which sockets there will be.
    machine.write(text + "[nowhere]\nTARGET=127.0.0.1:9\n")
    said = apply(ok=(78,))
    promise("'nowhere' listens nowhere" in said, f"it said {said}")
    promise(state(unit("gone", gone)) == "active", "the socket was stopped")
    promise(ask(gone).startswith("gone "), "what ran before is not served")


@check
def apply_says_what_it_did_where_an_address_is_taken(machine):
    listen, gone, new, taken = port(), port(), port(), port()
    text = section(machine, "web", listen)
    open_sockets(machine, text + section(machine, "gone", gone))
    with squatter(taken):
        machine.write(
            text + section(machine, "new", new) + section(machine, "late", f"127.0.0.1:{taken}")
        )
        said = apply(ok=(1,))
    promise(f"closed {unit('gone', gone)}" in said, f"it said {said}")
    promise(f"opened {unit('new', new)}" in said, f"it said {said}")
    promise(f"opened {unit('late', f'127.0.0.1_{taken}')}" not in said, f"it said {said}")
    promise(ask(new).startswith("new "), "the new section is not served")


@check
def a_file_that_is_being_written_closes_no_port(machine):
    """No daemon runs, and a package has systemd run its generators just then."""
    listen = port()
    text = section(machine, "web", listen)
    open_sockets(machine, "EXIT_IDLE_TIME=1ms\n" + text.replace("[web]", "IDLE_TIME=1ms\n[web]"))
    ask(listen)
    exited(machine)
    before = inode(listen)
    machine.write("\n")
    systemctl("daemon-reload")
    promise(inode(listen) == before, "an empty file closed it")
    os.unlink(CONFIG)
    systemctl("daemon-reload")
    promise(inode(listen) == before, "a file that was away closed it")
    machine.write(text)
    systemctl("daemon-reload")
    promise(inode(listen) == before, "it is another socket")
    promise(ask(listen).startswith("web "), "it is not served")


@check
def a_file_that_breaks_before_the_first_client_has_come_closes_no_port(machine):
    """Sockets alone, as after boot: no daemon has run that would have kept a good file."""
    listen = port()
    text = section(machine, "web", listen)
    open_sockets(machine, text)
    before = inode(listen)
    machine.write(text.replace("TARGET=", "TARGET=nonsense "))
    systemctl("daemon-reload")
    promise(inode(listen) == before, "it was closed")
    machine.write(text)
    systemctl("daemon-reload")
    promise(ask(listen).startswith("web "), "it is not served")


@check
def the_last_section_goes_when_that_is_applied(machine):
    listen = port()
    open_sockets(machine, "EXIT_IDLE_TIME=1ms\nIDLE_TIME=1ms\n" + section(machine, "web", listen))
    ask(listen)
    exited(machine)
    machine.write("")
    promise(f"closed {unit('web', listen)}" in apply(), "it was not closed")
    promise(refused(listen), "the port is open")
    systemctl("start", DAEMON)
    promise(refused(listen), "the next start opened it again")
    promise(show(unit("web", listen), "LoadState") == "not-found", "its unit is there yet")


@check
def apply_opens_again_what_systemd_takes_for_open(machine):
    """A section is away at one daemon-reload, and back at the next."""
    listen = port()
    text = section(machine, "web", listen)
    open_sockets(machine, text)
    machine.write("# Nothing now.\n")
    systemctl("daemon-reload")
    machine.write(text)
    systemctl("daemon-reload")
    promise(inode(listen) is None, "systemd has kept it, so this shows nothing")
    said = apply()
    promise(f"opened again {unit('web', listen)}" in said, f"it said {said}")
    promise(ask(listen).startswith("web "), "it is not served")


@check
def a_daemon_that_has_to_be_killed_leaves_no_port_open_and_none_held(machine):
    first, second = port(), port()
    text = section(machine, "web", first)
    machine.write(text)
    systemctl("daemon-reload")
    systemctl("start", DAEMON)
    machine.write(text + section(machine, "more", second))
    apply()
    promise(held() == [unit("more", second)], f"held: {held()}")
    limited_stop(1)
    systemctl("daemon-reload")
    while_it_hangs("stop")
    until("the ports are closed", lambda: not inode(first) and not inode(second))
    promise(not held(), f"held: {held()}")
    systemctl("start", DAEMON)
    promise(state(unit("more", second)) == "active", "the daemon had to open it")


@check
def a_removed_section_has_no_port_after_stop_and_start_whoever_reloads_systemd(machine):
    listen, gone = port(), port()
    text = section(machine, "web", listen)
    machine.write(text + section(machine, "gone", gone))
    systemctl("daemon-reload")
    systemctl("start", DAEMON)
    machine.write(text)
    systemctl("daemon-reload")
    systemctl("stop", DAEMON)
    until("the ports are closed", lambda: not inode(listen) and not inode(gone))
    systemctl("start", DAEMON)
    promise(inode(listen) and not inode(gone), "the removed section's port is open")


@check
def held_files_of_nobody_are_forgotten(machine):
    listen = port()
    machine.write(section(machine, "web", listen))
    systemctl("daemon-reload")
    os.makedirs(HELD)
    with open(f"{HELD}/{unit('web', listen)}", "w"):
        pass
    systemctl("start", SOCKETS)
    promise(refused(listen), "nobody held it, so this shows nothing")
    apply()
    promise(ask(listen).startswith("web "), "it is not open")


@check
def stopping_the_target_closes_the_ports_and_ends_the_daemon(machine):
    listen = port()
    machine.write(section(machine, "web", listen))
    systemctl("daemon-reload")
    systemctl("enable", "--now", SOCKETS)
    ask(listen)
    systemctl("disable", "--now", SOCKETS)
    until("the daemon has ended", lambda: state(DAEMON) == "inactive")
    until("the port is closed", lambda: not inode(listen))
    # So without a daemon, too.
    systemctl("start", SOCKETS)
    promise(inode(listen), "it was not opened")
    systemctl("stop", SOCKETS)
    until("the port is closed", lambda: not inode(listen))


@check
def sleepingd_stop_closes_the_ports_after_an_idle_exit(machine):
    listen = port()
    machine.write("EXIT_IDLE_TIME=1ms\nIDLE_TIME=1ms\n" + section(machine, "web", listen))
    systemctl("daemon-reload")
    systemctl("enable", "--now", DAEMON)
    exited(machine)
    said = run("sleepingctl", "status").stdout
    promise("Everything is asleep" in said and "1 of its sockets" in said, f"it said {said}")
    said = run("sleepingctl", "status", "web", ok=(3,)).stdout
    promise("web is asleep" in said, f"it said {said}")
    run("sleepingctl", "status", "nobody", ok=(4,))
    run("sleepingctl", "status", "--json", ok=(69,))
    run("sleepingd", "stop")
    until("the port is closed", lambda: not inode(listen))
    run("sleepingctl", "status", ok=(69,))


@check
def apply_and_idle_exits_do_not_trip_over_each_other(machine):
    listen, more = port(), port()

    def text(name, at):
        return f"[{name}]\nPORT={at}\nALLOW=127.0.0.2\nSTART_CMD=\"echo 127.0.0.1 1\"\n"

    head = "EXIT_IDLE_TIME=1ms\n" + text("web", listen)
    open_sockets(machine, head)
    for turn in range(20):
        wanted = turn % 2 == 0
        machine.write(head + (text("more", more) if wanted else ""))
        # Has the daemon started, and exit at once.
        fate_of_a_client(listen)
        said = apply()
        promise(bool(inode(more)) == wanted, f"turn {turn}: it said {said}")
    exits = machine.journal.all("everything has slept")
    promise(exits, "the daemon never exited, so this has shown nothing")


@check
def auto_start_is_for_a_start_and_not_for_the_next_client_of_another(machine):
    listen = port()
    machine.write(
        "EXIT_IDLE_TIME=1s\nIDLE_TIME=1ms\n" + section(machine, "web", listen)
        + section(machine, "auto", port(), AUTO_START="yes")
    )
    systemctl("daemon-reload")
    systemctl("start", DAEMON)
    exited(machine)
    promise(machine.starts("auto") == 1, "the start did not wake it")
    since = machine.journal.mark()
    ask(listen)
    exited(machine, since=since)
    promise(machine.starts("auto") == 1, "a client of another section woke it")


@check
def without_any_file_the_daemon_waits_for_one(machine):
    promise(not os.path.exists(CONFIG), "there is a file, so this shows nothing")
    systemctl("start", DAEMON)
    promise("no service is configured" in show(DAEMON, "StatusText"), show(DAEMON, "StatusText"))
    listen = port()
    machine.write(section(machine, "web", listen))
    apply()
    promise(ask(listen).startswith("web "), "the first section is not served")
    promise(show(DAEMON, "NRestarts") == "0", "it was restarted")
