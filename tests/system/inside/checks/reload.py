"""`systemctl reload`: what changes, what stays, and what a broken file does."""

import os

from checks import check
from harness import (
    CONFIG, DAEMON, ask, connect, main_pid, pid_of, port, promise, run, say, show, systemctl,
)


@check
def a_reload_serves_new_sections_and_leaves_open_connections_alone(machine):
    listen, added = port(), port()
    text = machine.section("web", mode="target", at=port())
    machine.serve(text, {"web": listen})
    daemon = main_pid()
    with connect(listen) as client:
        backend = pid_of(say(client, "before"))
        more = machine.section("more", mode="target", at=port(), PORT=f"127.0.0.1:{added}")
        machine.write(text + more)
        systemctl("reload", DAEMON)
        promise(say(client, "after").endswith(" after"), "the open connection broke")
        promise(ask(added).startswith("more "), "the new section is not served")
        promise(pid_of(ask(listen)) == backend, "the old section has another backend")
    promise(main_pid() == daemon, "the reload was a restart")
    promise(machine.starts("web") == 1, "the old section was woken again")


@check
def a_reload_takes_away_the_port_of_a_section_that_is_gone(machine):
    listen, second = port(), port()
    text = machine.section("web", mode="target", at=port())
    gone = machine.section("gone", mode="target", at=port(), PORT=f"127.0.0.1:{second}")
    machine.serve(text + gone, {"web": listen})
    ask(second)
    machine.write(text)
    systemctl("reload", DAEMON)
    machine.reports.wait("^stop gone$")
    try:
        ask(second)
    except (ConnectionRefusedError, ConnectionResetError):
        pass
    else:
        promise(False, "the removed section is still served")
    promise(ask(listen).startswith("web "), "the section that stayed is not served")


@check
def a_reload_with_a_broken_file_fails_says_where_and_changes_nothing(machine):
    listen = port()
    text = machine.section("web", mode="target", at=port())
    machine.serve(text, {"web": listen})
    daemon, backend = main_pid(), pid_of(ask(listen))
    machine.write(text + "[more]\nPORT=99999\nSTART_CMD=true\nTARGET=nonsense\n")
    systemctl("reload", DAEMON, ok=(1,))
    lines = text.count("\n")
    for number, value in ((lines + 2, "99999"), (lines + 4, "nonsense")):
        said = machine.journal.wait(f"{os.path.basename(CONFIG)}:{number}\\b")
        promise(value in said["MESSAGE"], f"{said['MESSAGE']!r} does not show {value!r}")
    promise(show(DAEMON, "ActiveState") == "active", "the daemon is not active any more")
    promise(main_pid() == daemon, "the daemon was restarted")
    promise(pid_of(ask(listen)) == backend, "the backend was started anew")
    machine.write(text)
    systemctl("reload", DAEMON)


@check
def a_reload_refuses_a_file_that_others_may_write(machine):
    listen = port()
    text = machine.section("web", mode="target", at=port())
    machine.serve(text, {"web": listen})
    machine.write(text, mode=0o666)
    systemctl("reload", DAEMON, ok=(1,))
    promise(ask(listen).startswith("web "), "what ran before is not served")


@check
def sleepingctl_reload_reports_the_same_failure(machine):
    listen = port()
    text = machine.section("web", mode="target", at=port())
    machine.serve(text, {"web": listen})
    run("sleepingctl", "reload")
    machine.write(text + "this is no line of such a file\n")
    failed = run("sleepingctl", "reload", ok=None)
    promise(failed.returncode not in (0, 69), f"it exited with {failed.returncode}")
    promise(f":{text.count(chr(10)) + 1}" in failed.stderr, f"no line number in {failed.stderr!r}")


@check
def the_idle_clock_goes_on_across_a_reload(machine):
    listen, idle = port(), 5
    text = machine.section("web", mode="target", at=port(), IDLE_TIME=idle, options="--chatter")
    machine.serve(text, {"web": listen})
    ask(listen)
    for _ in range(10):
        machine.reports.wait("^tick ")
    reloaded = machine.journal.mark()
    systemctl("reload", DAEMON)
    stopped = machine.journal.wait("asleep", SLEEPINGD_SERVICE="web").at
    promise(stopped < reloaded + idle, "the reload set the idle clock back")
