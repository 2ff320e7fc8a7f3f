"""The generator: sections become sockets, and what happens to those when sections change."""

import contextlib
import os
import re
import subprocess

from checks import check
from harness import (
    CONFIG, DAEMON, SOCKETS, Broken, alive, ask, connect, main_pid, pid_of, port, promise,
    run, say, show, systemctl, until,
)

GENERATOR = "/usr/lib/systemd/system-generators/sleepingd-generator"


def unit(name, listen):
    """The unit of a section's port."""
    return f"sleepingd-{name}_{listen}.socket"


def section(machine, name, listen, **keys):
    return machine.section(name, mode="target", at=port(), PORT=listen, **keys)


def inode(listen):
    """Which socket listens there; None if none does."""
    said = run("ss", "-ltnHe", f"sport = :{listen}").stdout
    found = re.findall(r"\bino:(\d+)", said)
    promise(len(found) < 2, f"more than one socket listens on {listen}: {said}")
    return found[0] if found else None


def state(name):
    return show(name, "ActiveState")


def refused(listen):
    try:
        connect(listen).close()
    except ConnectionRefusedError:
        return True
    return False


def open_sockets(machine, text):
    """As after boot: the ports are open, and no daemon has run yet."""
    machine.write(text)
    systemctl("daemon-reload")
    systemctl("start", SOCKETS)


@contextlib.contextmanager
def squatter(taken):
    """Somebody else has the port meanwhile."""
    with subprocess.Popen(
        ["nc", "-l", "-k", "127.0.0.1", str(taken)], stdin=subprocess.DEVNULL
    ) as other:
        try:
            until("somebody listens there", lambda: inode(taken))
            yield
        finally:
            other.kill()


@check
def one_command_gives_the_sockets_and_the_daemon(machine):
    first, second = port(), port()
    machine.write(section(machine, "web", first) + section(machine, "mail", second))
    systemctl("daemon-reload")
    promise(refused(first), "a port was open before anything was enabled")
    systemctl("enable", "--now", DAEMON)
    for name, listen in (("web", first), ("mail", second)):
        promise(state(unit(name, listen)) == "active", f"the socket of {name} is not active")
        promise(ask(listen).startswith(f"{name} "), f"{name} is not served")
    bound = machine.journal.all("bound|no section claims")
    promise(not bound, f"the daemon has sockets of its own: {bound}")


@check
def the_generated_units_are_clean(machine):
    listen = port()
    machine.write(
        section(machine, "a 100% web", listen) + section(machine, "path", "/run/a%b.sock")
        + section(machine, "six", f"[::1]:{port()}")
    )
    systemctl("daemon-reload")
    made = run("sh", "-c", "ls /run/systemd/generator/sleepingd-*.socket").stdout.split()
    promise(len(made) == 3, f"three units were to be made: {made}")
    said = run("systemd-analyze", "verify", "--man=no", *made, DAEMON)
    ours = [line for line in said.stderr.splitlines() if "sleepingd" in line]
    promise(not ours, f"systemd-analyze verify: {ours}")
    systemctl("start", DAEMON)
    promise(state(unit("a-100-web", listen)) == "active", "its socket is not active")
    promise(os.path.exists("/run/a%b.sock"), "the path is another one")
    systemctl("stop", DAEMON)


@check
def a_socket_that_triggers_often_is_slowed_down_at_most_and_never_given_up(machine):
    listen = port()
    machine.write(section(machine, "web", listen))
    systemctl("daemon-reload")
    systemctl("start", DAEMON)

    def limit(of):
        """How many in how long, as systemd has it; empty where it knows no such limit."""
        properties = f"--property={of}IntervalUSec", f"--property={of}Burst"
        said = systemctl("show", *properties, unit("web", listen)).stdout
        return dict(line.split("=") for line in said.splitlines())

    triggers = limit("TriggerLimit")
    promise(triggers.get("TriggerLimitIntervalUSec") == "0", f"the trigger is limited: {triggers}")
    version = int(run("systemctl", "--version").stdout.split()[1])
    polls = limit("PollLimit")
    if version < 255:
        promise(polls == {}, f"systemd {version} knows the limit of newer ones: {polls}")
        return
    on = polls.get("PollLimitIntervalUSec", "0") not in ("0", "infinity")
    promise(on and int(polls.get("PollLimitBurst", "0")) > 0, f"nothing slows it down: {polls}")


@check
def stop_closes_the_ports_and_restart_and_crash_keep_them(machine):
    listen = port()
    machine.write(section(machine, "web", listen))
    systemctl("daemon-reload")
    systemctl("enable", "--now", DAEMON)
    before = inode(listen)
    promise(before, "nobody listens")
    systemctl("restart", DAEMON)
    promise(inode(listen) == before, "restart made another socket")
    ask(listen)
    since = machine.journal.mark()
    systemctl("kill", "--kill-who=main", "--signal=KILL", DAEMON)
    machine.journal.wait("^ready:", since=since)
    promise(inode(listen) == before, "the crash made another socket")
    systemctl("stop", DAEMON)
    # systemd stops the sockets in jobs of their own.
    machine.journal.wait(f"Closed {unit('web', listen)}", since=since)
    promise(refused(listen), "stop left the port open")
    systemctl("start", DAEMON)
    promise(ask(listen).startswith("web "), "start did not bring it back")


@check
def disable_means_no_sockets_at_boot(machine):
    machine.write(section(machine, "web", port()))
    systemctl("daemon-reload")

    def pulled():
        said = systemctl("list-dependencies", "--all", "--plain", "multi-user.target", "sockets.target")
        return [word for word in said.stdout.split() if re.search(r"^sleepingd-.*_", word)]

    promise(not pulled(), f"without enable the boot would open {pulled()}")
    systemctl("enable", DAEMON)
    promise(len(pulled()) == 1, f"with the service enabled the boot would open {pulled()}")
    systemctl("disable", DAEMON)
    promise(not pulled(), f"after disable the boot would open {pulled()}")
    systemctl("enable", SOCKETS)
    promise(len(pulled()) > 0, "with the target enabled the boot would open nothing")
    systemctl("disable", SOCKETS)
    promise(not pulled(), f"after disable the boot would open {pulled()}")


@check
def with_the_target_alone_the_first_client_starts_the_daemon_and_it_goes_again(machine):
    listen = port()
    head = "EXIT_IDLE_TIME=1\n"
    machine.write(head + section(machine, "web", listen, IDLE_TIME=1))
    systemctl("daemon-reload")
    systemctl("enable", "--now", SOCKETS)
    promise(main_pid() == 0, "the daemon runs before anybody has come")
    before = inode(listen)
    for _ in range(3):
        since = machine.journal.mark()
        with connect(listen) as client:
            promise(say(client, "hello").startswith("web "), "the first client is not served")
            daemon = main_pid()
            promise(daemon != 0, "nobody served it")
        machine.journal.wait("everything has slept", since=since)
        machine.journal.wait("Deactivated successfully", UNIT=DAEMON, since=since)
        promise(not alive(daemon), "the daemon is still there")
        promise(inode(listen) == before, "its exit made another socket")
    promise(machine.starts("web") == 3, "each was to wake the backend once")


@check
def nobody_is_lost_while_the_daemon_exits_and_starts(machine):
    """Clients come all the time, and the daemon exits as often as it can."""
    listen = port()
    machine.write(
        "EXIT_IDLE_TIME=1ms\n[web]\n"
        f"PORT={listen}\nALLOW=127.0.0.2\n"
        "START_CMD=\"echo 127.0.0.1 1\"\n"
    )
    systemctl("daemon-reload")
    systemctl("start", SOCKETS)
    # Whoever is not allowed is reset at once: a client costs no backend, and each must hear that.
    script = (
        "import socket, sys\n"
        "fates = {}\n"
        "for _ in range(1000):\n"
        "    client = socket.socket()\n"
        "    client.settimeout(20)\n"
        "    try:\n"
        f"        client.connect(('127.0.0.1', {listen}))\n"
        "        fate = client.recv(1) or 'closed'\n"
        "    except ConnectionResetError:\n"
        "        fate = 'reset'\n"
        "    except OSError as error:\n"
        "        fate = repr(error)\n"
        "    fates[fate] = fates.get(fate, 0) + 1\n"
        "    client.close()\n"
        "print(fates)\n"
    )
    fates = run("python3", "-c", script, timeout=80).stdout.strip()
    promise(fates == "{'reset': 1000}", f"their fates: {fates}")
    exits = machine.journal.all("everything has slept")
    promise(exits, "the daemon never exited, so this has shown nothing")


@check
def apply_opens_and_closes_and_touches_nothing_else(machine):
    kept, gone, new = port(), port(), port()
    text = section(machine, "kept", kept)
    machine.write(text + section(machine, "gone", gone))
    systemctl("daemon-reload")
    systemctl("enable", "--now", DAEMON)
    daemon, before = main_pid(), inode(kept)
    with connect(kept) as client:
        backend = pid_of(say(client, "before"))
        machine.write(text + section(machine, "new", new))
        plan = run("sleepingctl", "apply", "--dry-run").stdout
        promise(f"would open {unit('new', new)}" in plan, f"the plan: {plan}")
        promise(f"would close {unit('gone', gone)}" in plan, f"the plan: {plan}")
        said = run("sleepingctl", "apply").stdout
        promise(f"opened {unit('new', new)}" in said, f"it said: {said}")
        promise(f"closed {unit('gone', gone)}" in said, f"it said: {said}")
        promise("1 socket(s) unchanged" in said, f"it said: {said}")
        promise(pid_of(say(client, "after")) == backend, "the open connection broke")
    promise(main_pid() == daemon, "the daemon was restarted")
    promise(inode(kept) == before, "the socket that stayed is another one")
    promise(refused(gone), "the removed section's port is still open")
    promise(ask(new).startswith("new "), "the new section is not served")
    promise(state(unit("gone", gone)) != "active", "the unit that is gone is active")

    # Any package may do this at any time.
    systemctl("daemon-reload")
    promise(ask(new).startswith("new "), "a daemon-reload took the new port")
    promise(inode(kept) == before, "a daemon-reload took the old port")
    again = run("sleepingctl", "apply").stdout
    promise("2 socket(s) unchanged" in again, f"a second time it said: {again}")
    # From the next start on the new port is a unit like the others.
    systemctl("stop", DAEMON)
    systemctl("start", DAEMON)
    promise(state(unit("new", new)) == "active", "the new port did not become a unit")
    promise(ask(new).startswith("new "), "after the start the new section is not served")


@check
def apply_moves_a_port(machine):
    old, new = port(), port()
    at = port()
    text = machine.section("web", mode="target", at=at, PORT=old)
    machine.write(text)
    systemctl("daemon-reload")
    systemctl("enable", "--now", DAEMON)
    backend = pid_of(ask(old))
    machine.write(text.replace(f"PORT={old}", f"PORT={new}"))
    run("sleepingctl", "apply")
    promise(refused(old), "the old port is still open")
    promise(pid_of(ask(new)) == backend, "the backend was started anew")


@check
def apply_without_the_daemon_opens_sockets_and_starts_nobody(machine):
    first, second = port(), port()
    text = section(machine, "web", first)
    open_sockets(machine, text)
    machine.write(text + section(machine, "more", second))
    run("sleepingctl", "apply")
    promise(main_pid() == 0, "the daemon was started")
    promise(state(unit("more", second)) == "active", "the new socket is not open")
    machine.write(text)
    run("sleepingctl", "apply")
    promise(refused(second), "the removed port is open")


@check
def apply_of_a_broken_file_says_where_and_changes_nothing(machine):
    listen = port()
    text = section(machine, "web", listen)
    machine.write(text)
    systemctl("daemon-reload")
    systemctl("enable", "--now", DAEMON)
    machine.write(text + f"[more]\nPORT={port()}\nTARGET=nonsense\n")
    failed = run("sleepingctl", "apply", ok=(78,))
    promise(f"{CONFIG}:{text.count(chr(10)) + 3}" in failed.stderr, f"it said: {failed.stderr}")
    promise(ask(listen).startswith("web "), "what ran before is not served")


@check
def a_broken_file_takes_no_port_at_a_daemon_reload(machine):
    listen = port()
    text = section(machine, "web", listen)
    machine.write(text)
    systemctl("daemon-reload")
    systemctl("enable", "--now", DAEMON)
    # The very section that has the port, and the file as a whole.
    machine.write(text.replace("TARGET=", "TARGET=nonsense "))
    systemctl("daemon-reload")
    promise(show(unit("web", listen), "LoadState") == "loaded", "its unit is gone")
    machine.write("nothing of this is a configuration\n")
    # A container's kernel log goes nowhere, so what the generator says there is seen here alone.
    said = run(GENERATOR, "--dry-run").stderr
    promise("last good" in said and f"{CONFIG}:1" in said, f"it said {said}")
    systemctl("daemon-reload")
    promise(show(unit("web", listen), "LoadState") == "loaded", "its unit is gone")
    promise(ask(listen).startswith("web "), "it is not served")


@check
def at_boot_a_broken_section_takes_no_sound_one_with_it(machine):
    listen = port()
    machine.write(f"[bad]\nPORT={port()}\nTARGET=nonsense\n" + section(machine, "web", listen))
    # As at boot: there is no last good file.
    made = run(GENERATOR, "--dry-run")
    promise(unit("web", listen) in made.stdout, f"it made {made.stdout}")
    promise("[bad" not in made.stdout, f"it made {made.stdout}")
    promise(f"{CONFIG}:3" in made.stderr, f"it said {made.stderr}")
    systemctl("daemon-reload")
    systemctl("start", DAEMON)
    promise(ask(listen).startswith("web "), "the sound section is not served")


@check
def a_port_that_is_taken_costs_nobody_else_theirs(machine):
    listen, taken = port(), port()
    with squatter(taken):
        machine.write(
            section(machine, "web", listen) + section(machine, "late", f"127.0.0.1:{taken}")
        )
        systemctl("daemon-reload")
        systemctl("start", DAEMON)
        promise(ask(listen).startswith("web "), "the other section is not served")
        status = run("sleepingctl", "status").stdout
        promise("cannot listen" in status, f"the status does not say it: {status}")
    if not refused(taken):
        raise Broken("the squatter is still there")
    run("sleepingctl", "apply")
    promise(ask(taken).startswith("late "), "after apply it is not served")


@check
def a_port_that_systemd_does_not_keep_any_more_keeps_the_daemon(machine):
    """Its unit is stopped by hand: the daemon has the port, and systemd has let go of it."""
    listen = port()
    open_sockets(machine, "EXIT_IDLE_TIME=1\n" + section(machine, "web", listen, IDLE_TIME=1))
    ask(listen)
    daemon = main_pid()
    systemctl("stop", unit("web", listen))
    machine.journal.wait("the daemon stays")
    promise(main_pid() == daemon, "the daemon has gone, and the port with it")
    promise(ask(listen).startswith("web "), "the port is not served")


@check
def a_port_that_cannot_be_opened_keeps_no_removed_one_open(machine):
    kept, gone, taken = port(), port(), port()
    text = section(machine, "kept", kept)
    machine.write(text + section(machine, "gone", gone))
    systemctl("daemon-reload")
    systemctl("enable", "--now", DAEMON)
    with squatter(taken):
        machine.write(text + section(machine, "late", f"127.0.0.1:{taken}"))
        failed = run("sleepingctl", "apply", ok=(1,))
        promise("is in force, but" in failed.stderr, f"it said {failed.stderr}")
        promise(str(taken) in failed.stderr, f"it said {failed.stderr}")
    promise(refused(gone), "the removed port is still open")
    promise(ask(kept).startswith("kept "), "the section that stayed is not served")
