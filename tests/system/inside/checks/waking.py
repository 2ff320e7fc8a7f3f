"""Waking and sleeping, as the client and the administrator see it."""

import re
import subprocess
import threading

from checks import check
from harness import (
    DAEMON, SCRATCH, alive, ask, connect, fate_of_a_client, pid_of, port, promise, run, say, show,
    systemctl, until,
)


@check
def the_first_client_wakes_the_backend_and_the_second_does_not(machine):
    listen, back = port(), port()
    machine.serve(machine.section("web", mode="check", at=back), {"web": listen})
    first, second = ask(listen), ask(listen, "again")
    promise(first.endswith(" hello\n") and second.endswith(" again\n"), f"{first!r} {second!r}")
    promise(pid_of(first) == pid_of(second), "the second client got another backend")
    promise(machine.starts("web") == 1, f"START ran {machine.starts('web')} times")


@check
def many_clients_at_once_cause_one_wake_and_all_are_served(machine):
    listen, back = port(), port()
    machine.serve(machine.section("web", mode="target", at=back), {"web": listen})
    answers = [None] * 100
    def one(number):
        answers[number] = ask(listen, f"client {number}")
    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(answers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wrong = [n for n, a in enumerate(answers) if a is None or not a.endswith(f" client {n}\n")]
    promise(not wrong, f"not served, or not with their own answer: {wrong}")
    promise(machine.starts("web") == 1, f"START ran {machine.starts('web')} times")


@check
def an_idle_backend_is_stopped_and_the_next_client_wakes_it_again(machine):
    listen, back = port(), port()
    machine.serve(machine.section("web", mode="check", at=back, IDLE_TIME=1), {"web": listen})
    first = pid_of(ask(listen))
    machine.reports.wait("^stop web$")
    machine.journal.wait("asleep", SLEEPINGD_SERVICE="web")
    promise(not alive(first), "it is said to sleep and its process runs")
    promise(pid_of(ask(listen)) != first, "the same process answered after STOP")


@check
def an_open_connection_keeps_the_backend_awake(machine):
    listen, back = port(), port()
    section = machine.section(
        "web", mode="target", at=back, IDLE_TIME=1, IDLE_ON="connections", options="--chatter"
    )
    machine.serve(section, {"web": listen})
    with connect(listen) as client:
        say(client, "one")
        # Three times the idle time, told by the backend's own ticks of 0.2 s.
        for _ in range(15):
            machine.reports.wait("^tick ")
        promise(not machine.reports.all("^stop"), "STOP ran under an open connection")
        promise(say(client, "two").endswith(" two"), "the connection is of no use any more")
    machine.reports.wait("^stop web$")


@check
def a_start_that_fails_resets_its_client_at_once_and_says_why(machine):
    listen = port()
    text = (
        "[web]\nSTART_CMD=\"echo 'the disk is on fire' >&2; exit 3\"\n"
        f"TARGET=127.0.0.1:{port()}\n"
    )
    machine.serve(text, {"web": listen})
    end = fate_of_a_client(listen)
    promise(end == "reset", f"the client saw {end!r}, not a reset")
    said = machine.journal.wait("START_CMD exited with status 3", SLEEPINGD_SERVICE="web")
    promise("the disk is on fire" in said["MESSAGE"], f"it does not say why: {said['MESSAGE']!r}")


@check
def commands_run_as_the_user_of_the_section_with_all_its_groups(machine):
    run("groupadd", "--force", "extra-group")
    if run("id", "webby", ok=None).returncode != 0:
        run("useradd", "--create-home", "--groups", "extra-group", "webby")
    listen, back, fifo = port(), port(), machine.reports.path
    report = (
        f"echo user $(id -u) $(id -g) $(id -G) home $HOME name $USER $LOGNAME > {fifo}"
    )
    section = machine.section("web", mode="target", at=back, USER="webby", IDLE_TIME=1)
    section = section.replace('_CMD="', f'_CMD="{report}; ').replace(SCRATCH + "/web.pid", "/home/webby/web.pid")
    machine.serve(section, {"web": listen})
    answer = ask(listen)
    ids = [run("id", flag, "webby").stdout.strip() for flag in ("-u", "-g", "-G")]
    wanted = f"user {' '.join(ids)} home /home/webby name webby webby"
    for command in ("START", "STOP"):
        said = machine.reports.wait("^user ")
        promise(said == wanted, f"{command} ran as {said!r}, not {wanted!r}")
        if command == "START":
            with open(f"/proc/{pid_of(answer)}/status") as file:
                status = file.read()
            uids = re.search(r"^Uid:\t(.*)$", status, re.M).group(1).split()
            promise(set(uids) == {ids[0]}, f"the backend has the user ids {uids}")
    promise(run("id", "-G", "webby").stdout.split()[1:], "the test's user has no further group")


@check
def the_journal_tells_each_wake_and_sleep_with_its_fields(machine):
    listen, back = port(), port()
    section = machine.section("web", mode="target", at=back, IDLE_TIME=1)
    section = section.replace("[web]", "[My Web]").replace('START_CMD="', "START_CMD=\"echo 'a word on stderr' >&2; ")
    machine.serve(section, {"my-web": listen})
    with connect(listen) as client:
        local = "%s:%d" % client.getsockname()
        say(client, "hello")
        woken = machine.journal.wait("^My Web: woken by ", SLEEPINGD_SERVICE="My Web")
    asleep = machine.journal.wait("asleep", SLEEPINGD_SERVICE="My Web")
    promise(local in woken["MESSAGE"], f"{woken['MESSAGE']!r} does not name the client {local}")
    promise(f"127.0.0.1:{back}" in woken["MESSAGE"], f"{woken['MESSAGE']!r} has no destination")
    for entry in (woken, asleep):
        promise(re.fullmatch("[0-9a-f]{32}", entry["MESSAGE_ID"]), f"no MESSAGE_ID: {entry}")
        wanted = {"SYSLOG_IDENTIFIER": "sleepingd", "_SYSTEMD_UNIT": DAEMON, "PRIORITY": "6"}
        for field, value in wanted.items():
            promise(entry[field] == value, f"{field}={entry[field]!r}, not {value!r}")
    promise(woken["MESSAGE_ID"] != asleep["MESSAGE_ID"], "wake and sleep share a MESSAGE_ID")
    promise(
        len(machine.journal.all(MESSAGE_ID=woken["MESSAGE_ID"], SLEEPINGD_SERVICE="My Web")) == 1,
        "one wake is told more than once",
    )
    machine.journal.wait("a word on stderr", SLEEPINGD_SERVICE="My Web", SLEEPINGD_ACTION="start")


@check
def systemctl_status_says_what_is_awake(machine):
    listen, back = port(), port()
    machine.serve(machine.section("web", mode="target", at=back), {"web": listen})
    before = show(DAEMON, "StatusText")
    promise(before, "there is no STATUS= before the first client")
    with connect(listen) as client:
        say(client, "hello")
        until("another STATUS= after the wake", lambda: show(DAEMON, "StatusText") != before)
        shown = systemctl("status", "--no-pager", "-l", DAEMON).stdout
    line = re.search(r'^\s*Status: "(.*)"$', shown, re.M)
    promise(line, "`systemctl status` shows no Status line")
    promise("1 awake" in line.group(1), f"it says {line.group(1)!r}")


@check
def sleepingctl_status_tells_awake_from_asleep_and_wakes_nobody(machine):
    listen, back = port(), port()
    machine.serve(machine.section("web", mode="target", at=back), {"web": listen})
    run("sleepingctl", "status", "web", ok=(3,))
    promise("web" in run("sleepingctl", "status").stdout, "the table does not have the service")
    promise(machine.starts("web") == 0, "asking woke it")
    ask(listen)
    run("sleepingctl", "status", "web", ok=(0,))
    run("sleepingctl", "status", "nobody", ok=(4,))
    promise('"web"' in run("sleepingctl", "status", "--json").stdout, "the JSON does not have it")


@check
def a_backend_that_died_behind_our_back_is_woken_by_the_next_client(machine):
    listen, back = port(), port()
    machine.serve(machine.section("web", mode="target", at=back), {"web": listen})
    first = pid_of(ask(listen))
    subprocess.run(["kill", "-KILL", str(first)], check=True)
    run("/opt/sleepingd-tests/backend", "--wait-gone", str(first))
    promise(pid_of(ask(listen)) != first, "the dead backend answered")
    promise(machine.starts("web") == 2, f"START ran {machine.starts('web')} times")
