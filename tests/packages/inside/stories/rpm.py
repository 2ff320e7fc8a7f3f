"""The .rpm, where the .deb was before."""

import os
import re
import shutil

from harness import (
    DAEMON, SOCKETS, alive, connect, fate, main_pid, pid_of, promise, say, systemctl, until,
)
from stories.shared import (
    CONFIG, STATE, Services, listener, no_unit_has_failed, package, read, write,
)
from stories.users import Users, enabled_for_all

# What Fedora's systemd has, and Debian's has not. The second half is what its package does at the
# end of a transaction, by triggers of rpm.
HELPER = "/usr/lib/systemd/systemd-update-helper"
HELPER_TEXT = """#!/bin/bash
verb=$1
shift
# with_users WORD...: systemctl, in the manager of each user who has one.
with_users() {
    local user
    for user in $(systemctl list-units --plain --no-legend 'user@*.service' | grep -o '[0-9][0-9]*' | sort -u); do
        systemctl --user --machine "$user@" "$@"
    done
}
case $verb in
install-user-units) systemctl --no-reload --global preset "$@" ;;
remove-user-units)
    systemctl --global disable "$@"
    with_users disable --now "$@"
    ;;
mark-restart-user-units)
    for unit in "$@"; do with_users set-property "$unit" Markers=+needs-restart; done
    ;;
at-the-end)
    systemctl daemon-reload
    systemctl reload-or-restart --marked
    with_users daemon-reload
    with_users reload-or-restart --marked
    ;;
install-system-units) systemctl --no-reload preset "$@" ;;
remove-system-units) systemctl --no-reload disable --now "$@" ;;
mark-restart-system-units)
    for unit in "$@"; do systemctl set-property "$unit" Markers=+needs-restart; done
    ;;
esac
"""


def of_rpm(run):
    """The same machine with rpm: what its packages are made of is there, but it does not know."""
    services, users = Services(), Users()
    seen = {}

    def transaction(*words):
        done = run("rpm", "--nodeps", "--nosignature", *words, timeout=140)
        promise("scriptlet failed" not in done.stderr, f"rpm said {done.stderr}")
        run("systemd-sysusers")
        run(HELPER, "at-the-end")

    def verified():
        """What rpm finds changed."""
        return run("rpm", "--verify", "--nodeps", "sleepingd", ok=None).stdout.splitlines()

    def upgraded(name, version):
        """What runs and what was written stay; the daemon is another one."""
        daemon, socket = main_pid(), listener(services.front)
        promise(len(socket) == 1, f"listening: {socket}")
        with connect(services.front) as client:
            promise(pid_of(say(client, "before")) == seen["backend"], "another backend")
            transaction("--upgrade", package(name, "rpm"))
            promise(fate(client) in ("reset", "closed"), "somebody spoke")
        said = run("rpm", "--query", "sleepingd").stdout
        promise(said.startswith(f"sleepingd-{version}-"), said)
        promise(main_pid() not in (0, daemon), "the daemon was not restarted")
        promise(alive(seen["backend"]), "the backend was stopped")
        promise(services.hello() == seen["backend"], "the backend is another one")
        others = services.others()
        promise(others == seen["others"], f"of {seen['others']} not all are the same: {others}")
        promise(not os.path.exists(f"{STATE}/stopped"), "STOP_CMD ran")
        now = listener(services.front)
        promise(now == socket, f"the port was closed: {socket}, then {now}")
        promise(read(CONFIG) == services.config, "the configuration was changed")
        users.are_restarted_by_an_upgrade()
        no_unit_has_failed()

    def an_rpm_installs_and_enables_what_the_presets_say():
        # Nothing of the stories before.
        shutil.rmtree(STATE, ignore_errors=True)
        os.makedirs(STATE)
        write(HELPER, HELPER_TEXT)
        os.chmod(HELPER, 0o755)
        transaction("--install", package("new", "rpm"))
        promise(verified() == [], f"rpm --verify: {verified()}")
        promise(systemctl("is-enabled", DAEMON).stdout.strip() == "enabled", "not enabled")
        other = systemctl("is-enabled", SOCKETS, ok=None).stdout.strip()
        promise(other == "disabled", f"{SOCKETS} is {other}")
        for unit in (DAEMON, SOCKETS):
            state = enabled_for_all(unit)
            promise(state == "disabled", f"{unit} is {state} for all users")
        promise(main_pid() == 0, "the daemon was started, which is not for an .rpm to do")
        # Written before the start, so that the port is a unit's.
        write(CONFIG, services.config)
        services.make_the_unit()
        systemctl("start", DAEMON)
        seen["backend"] = services.hello()
        seen["others"] = services.others()
        users.come()

    def an_upgrade_of_the_rpm_restarts_the_daemons_and_keeps_ports_backends_and_file():
        upgraded("newer", "2.0.1")
        promise(not os.path.exists(f"{CONFIG}.rpmnew"), "its own file is no other, and yet beside ours")

    def an_upgrade_of_the_rpm_puts_another_configuration_beside_an_edited_one():
        upgraded("newest", "2.0.2")
        promise("a word that is new" in read(f"{CONFIG}.rpmnew"), "it is not that of the package")
        (changed,) = verified()
        promise(re.fullmatch(r"S\S*5\S*\s+c " + re.escape(CONFIG), changed), f"changed: {changed}")

    def an_erased_rpm_leaves_nothing_running_and_the_edited_file():
        transaction("--erase", "sleepingd")
        until("the backend is gone", lambda: not alive(seen["backend"]))
        promise(os.path.exists(f"{STATE}/stopped"), "STOP_CMD did not run")
        promise(main_pid() == 0, "the daemon runs")
        until("the port is closed", lambda: listener(services.front) == [])
        units = systemctl("list-units", "--all", "--plain", "--no-legend", "sleepingd*").stdout
        ours = [line for line in units.splitlines() if "sleepingd-tests" not in line]
        promise(ours == [], f"units: {ours}")
        beside = sorted(os.listdir("/etc/sleepingd"))
        promise(
            beside == ["sleepingd.conf.rpmnew", "sleepingd.conf.rpmsave"]
            or beside == ["sleepingd.conf.rpmsave"], f"there are {beside}",
        )
        promise(read(f"{CONFIG}.rpmsave") == services.config, "the edited file is another one")
        left = [p for p in ("/usr/bin/sleepingd", "/run/sleepingd") if os.path.exists(p)]
        promise(left == [], f"left: {left}")
        no_unit_has_failed()

    def an_erased_rpm_stops_and_disables_the_daemons_of_users():
        users.are_stopped()
        enabled = users.have_it_enabled()
        promise(enabled == [], f"still enabled by {enabled}")
        users.go()

    return [
        an_rpm_installs_and_enables_what_the_presets_say,
        an_upgrade_of_the_rpm_restarts_the_daemons_and_keeps_ports_backends_and_file,
        an_upgrade_of_the_rpm_puts_another_configuration_beside_an_edited_one,
        an_erased_rpm_leaves_nothing_running_and_the_edited_file,
        an_erased_rpm_stops_and_disables_the_daemons_of_users,
    ]
