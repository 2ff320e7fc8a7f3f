"""A broken file at the start of the daemon, with clients waiting."""

from checks import check
from harness import (
    DAEMON, UNIT_STARTING, Broken, ask, connect, fate, port, promise, show, systemctl,
)


def starting(machine, since):
    """When the daemon was started, each time."""
    return [e.at for e in machine.journal.all(MESSAGE_ID=UNIT_STARTING, UNIT=DAEMON, since=since)]


def never_more_than_one_start_a_second(machine, since):
    times = starting(machine, since)
    for one, next_one in zip(times, times[1:]):
        promise(next_one - one > 0.9, f"{next_one - one:.2f} s from one start to the next")


@check
def with_a_broken_section_the_sound_ones_are_served_and_starts_are_rare(machine):
    sound, sick = port(), port()
    text = machine.section("sound", mode="target", at=port())
    machine.write(text + "[sick]\nSTART_CMD=true\nTARGET=nonsense\n")
    machine.listen({"sound": sound, "sick": sick})
    since = machine.journal.mark()
    systemctl("start", *machine.sockets)
    with connect(sick) as waiting:
        promise(ask(sound).startswith("sound "), "the sound section is not served")
        said = machine.journal.wait(r"sleepingd\.conf:\d+", _SYSTEMD_UNIT=DAEMON)
        promise(int(said["PRIORITY"]) <= 3, f"it is said with priority {said['PRIORITY']}")
        status = show(DAEMON, "StatusText")
        promise("error" in status or "broken" in status, f"STATUS= is {status!r}")
        waiting.settimeout(3)
        try:
            end = fate(waiting)
        except TimeoutError:
            end = "held"
        promise(end in ("reset", "held"), f"the client of the broken section saw {end!r}")
    promise(ask(sound).startswith("sound "), "the sound section is not served any more")
    never_more_than_one_start_a_second(machine, since)
    for unit in machine.sockets:
        promise(show(unit, "ActiveState") == "active", f"{unit} is {show(unit, 'ActiveState')}")
    machine.write(text + machine.section("sick", mode="target", at=port()))
    systemctl("reload", DAEMON)
    promise(ask(sick).startswith("sick "), "the mended section is not served")


@check
def a_restart_with_a_broken_file_serves_the_last_good_one(machine):
    ports = {"one": port(), "two": port()}
    text = "".join(machine.section(name, mode="target", at=port()) for name in ports)
    machine.serve(text, ports)
    machine.write(text.replace("TARGET=127.0.0.1", "TARGET=nonsense ", 1))
    systemctl("restart", DAEMON)
    for name, number in ports.items():
        promise(ask(number).startswith(f"{name} "), f"{name} is not served from the last good file")
    promise(show(DAEMON, "StatusText"), "STATUS= says nothing of it")


@check
def a_file_with_nothing_sound_in_it_makes_no_storm_and_the_sockets_live(machine):
    listen = port()
    text = machine.section("web", mode="target", at=port())
    machine.write(text, mode=0o666)
    machine.listen({"web": listen})
    since = machine.journal.mark()
    systemctl("start", *machine.sockets)
    with connect(listen) as waiting:
        # Either it starts again and again, once a second, or it stays up and serves nobody.
        times = []
        try:
            for _ in range(3):
                entry = machine.journal.wait(
                    MESSAGE_ID=UNIT_STARTING, UNIT=DAEMON, timeout=4,
                    since=times[-1] + 0.001 if times else since,
                )
                times.append(entry.at)
        except Broken:
            promise(show(DAEMON, "ActiveState") == "active", "it neither runs nor is started")
        never_more_than_one_start_a_second(machine, since)
        promise(show(machine.sockets[0], "ActiveState") == "active", "the socket is dead")
        machine.write(text)
        if times and show(DAEMON, "ActiveState") == "active":
            systemctl("reload", DAEMON)
        del waiting
    promise(ask(listen).startswith("web "), "the mended file is not served")
