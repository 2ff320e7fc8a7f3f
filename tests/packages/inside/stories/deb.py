"""The .deb on a machine where there was none."""

import grp
import os
import pwd
import stat

from harness import (
    DAEMON, SOCKETS, alive, connect, fate, main_pid, pid_of, promise, say, show, systemctl, until,
)
from stories.shared import (
    CONFIG, STATE, Services, accounts, apt, files, installed_version, no_unit_has_failed, package,
    read, write,
)
from stories.users import Users, enabled_for_all


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def ports(pattern="sleepingd-*.socket"):
    said = systemctl("list-units", "--plain", "--no-legend", "--state=active", pattern).stdout
    return [line.split()[0] for line in said.splitlines()]


def a_new_machine(run):
    """From the first installation to the last trace."""
    before, people = files(), accounts()
    services, users = Services(), Users()
    seen = {}

    def a_first_installation_runs_the_daemon_and_fails_no_unit():
        os.makedirs(STATE, exist_ok=True)
        apt("install", package("new"))
        promise(show(DAEMON, "ActiveState") == "active", "the daemon does not run")
        promise(systemctl("is-enabled", DAEMON).stdout.strip() == "enabled", "not enabled")
        other = systemctl("is-enabled", SOCKETS, ok=None).stdout.strip()
        promise(other == "disabled", f"{SOCKETS} is {other}")
        status = show(DAEMON, "StatusText")
        promise(f"no service is configured; write a section into {CONFIG}" in status, status)
        no_unit_has_failed()

    def everything_is_where_it_belongs():
        wrong = run("dpkg", "--verify", "sleepingd").stdout
        promise(not wrong, f"dpkg --verify: {wrong}")
        conffiles = run("dpkg-query", "-W", "-f", "${Conffiles}", "sleepingd").stdout.split()
        promise(conffiles[::2] == [CONFIG], f"configuration files: {conffiles}")
        for program in ("/usr/bin/sleepingd", "/usr/bin/sleepingctl"):
            promise(mode(program) == 0o755, f"{program} has mode {mode(program):o}")
        promise(mode(CONFIG) == 0o644, f"its mode is {mode(CONFIG):o}")
        generator = "/usr/lib/systemd/user-generators/sleepingd-generator"
        promise(os.path.islink(generator) and os.access(generator, os.X_OK), "no user generator")
        run("systemd-analyze", "verify", "--man=no", DAEMON, SOCKETS)
        run("sleepingd", "check")

    def the_group_is_made_and_no_user():
        group = grp.getgrnam("sleepingd")
        socket = os.stat("/run/sleepingd/control.sock")
        promise((socket.st_uid, socket.st_gid) == (0, group.gr_gid), "the socket is another's")
        promise(mode("/run/sleepingd/control.sock") == 0o660, "its mode is another")
        users = [user.pw_name for user in pwd.getpwall() if "sleepingd" in user.pw_name]
        promise(not users, f"there are users: {users}")
        run("setpriv", "--reuid=65534", "--regid=65534", f"--groups={group.gr_gid}",
            "sleepingctl", "reload")
        run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
            "sleepingctl", "status", ok=(77,))

    def members_of_the_group_may_reload_and_restart_the_service_and_others_may_not():
        run("useradd", "--no-create-home", "--groups", "sleepingd", "member")
        run("useradd", "--no-create-home", "stranger")

        def asks(user, *words):
            """Whether systemd does what this user asks for, and what it says."""
            done = run(
                "runuser", "-u", user, "--", "systemctl", "--no-ask-password", *words, ok=None
            )
            return done.returncode == 0, done.stderr.strip()

        for verb in ("reload", "restart"):
            may, said = asks("member", verb, DAEMON)
            promise(may, f"a member may not {verb}: {said}")
            may, said = asks("stranger", verb, DAEMON)
            promise(not may, f"a stranger may {verb}")
            # Not for a reason of some other kind, such as that nobody could be asked.
            promise("authentication required" in said.lower(), f"a stranger was told: {said}")
        for words in (("stop", DAEMON), ("restart", "systemd-logind.service"), ("daemon-reload",)):
            may, _ = asks("member", *words)
            promise(not may, f"a member may {' '.join(words)}")
        promise(show(DAEMON, "ActiveState") == "active", "somebody has stopped it")
        for user in ("member", "stranger"):
            run("userdel", user)

    def an_edited_file_takes_effect_with_one_command():
        services.make_the_unit()
        write(CONFIG, services.config)
        said = run("sleepingctl", "apply").stdout
        promise("opened" in said, said)
        seen["backend"] = services.hello()
        seen["others"] = services.others()
        promise("no service" not in show(DAEMON, "StatusText"), "it still says that it has none")

    def a_reload_with_errors_fails_and_one_without_does_not():
        write(CONFIG, services.config + "IDLE_TIME=soon\n")
        systemctl("reload", DAEMON, ok=(1,))
        promise(services.hello() == seen["backend"], "the old configuration is not in force")
        write(CONFIG, services.config + "IDLE_TIME=1h\n")
        systemctl("reload", DAEMON)

    def users_may_have_daemons_of_their_own_and_nobody_is_given_one():
        for unit in (DAEMON, SOCKETS):
            state = enabled_for_all(unit)
            promise(state == "disabled", f"{unit} is {state} for all users")
        users.come()

    def an_upgrade_keeps_the_file_the_port_and_the_backend_and_drains_connections():
        seen["configuration"] = read(CONFIG)
        daemon = main_pid()
        with connect(services.front) as client:
            promise(pid_of(say(client, "before")) == seen["backend"], "another backend")
            apt("install", package("newer"))
            # What is open has DRAIN_TIMEOUT to finish, and is then cut.
            promise(fate(client) in ("reset", "closed"), "somebody spoke")
        promise(installed_version().startswith("2.0.1"), installed_version())
        promise(main_pid() not in (0, daemon), "the daemon is the old one")
        promise(alive(seen["backend"]), "the backend was stopped")
        promise(services.hello() == seen["backend"], "the backend is another one")
        others = services.others()
        promise(others == seen["others"], f"of {seen['others']} not all are the same: {others}")
        promise(read(CONFIG) == seen["configuration"], "the configuration was changed")
        promise(not os.path.exists(f"{STATE}/stopped"), "STOP_CMD ran")
        no_unit_has_failed()

    def the_upgrade_leaves_the_daemons_of_users_alone_until_they_restart_them():
        users.are_left_alone_by_an_upgrade_until_they_restart_it()

    def what_the_administrator_disabled_or_enabled_for_all_users_stays_so():
        systemctl("disable", DAEMON)
        systemctl("--global", "enable", SOCKETS)
        apt("install", "--reinstall", package("newer"))
        said = systemctl("is-enabled", DAEMON, ok=(1,)).stdout.strip()
        promise(said == "disabled", f"it is {said}")
        state = enabled_for_all(SOCKETS)
        promise(state == "enabled", f"for all users {SOCKETS} is {state}")
        systemctl("enable", DAEMON)

    def removing_stops_the_backend_closes_the_ports_and_keeps_the_file():
        # From a stop on, the port is a unit's and no longer the daemon's.
        systemctl("stop", DAEMON)
        os.unlink(f"{STATE}/stopped")
        systemctl("start", DAEMON)
        promise(ports() != [], "there is no generated socket")
        seen["backend"] = services.hello()
        apt("remove", "sleepingd")
        until("the backend is gone", lambda: not alive(seen["backend"]))
        promise(os.path.exists(f"{STATE}/stopped"), "STOP_CMD did not run")
        promise(ports() == [], f"open: {ports()}")
        try:
            connect(services.front).close()
            promise(False, "the port is open")
        except ConnectionRefusedError:
            pass
        promise(read(CONFIG) == seen["configuration"], "the configuration is gone")

    def removing_stops_the_daemons_of_users_and_leaves_what_is_in_their_homes():
        users.are_stopped()
        enabled = users.have_it_enabled()
        promise(enabled == ["alice", "bob"], f"still enabled by {enabled}")

    def installed_again_it_serves_the_file_that_was_kept():
        apt("install", package("new"))
        services.hello()

    def installed_again_it_is_there_for_users_who_had_it_enabled():
        users.find_it_again()

    def purging_stops_the_daemons_of_users():
        apt("purge", "sleepingd")
        users.are_stopped()
        users.go()

    def purging_leaves_nothing_but_the_group():
        left = sorted(files() - before)
        promise(left == [], f"left: {left}")
        # Of accounts that group alone, which Debian's policy has stay: files may belong to it.
        changed = sorted((path, line.split(":")[0]) for path, line in accounts() ^ people)
        group = [("/etc/group", "sleepingd"), ("/etc/gshadow", "sleepingd")]
        promise(changed == group, f"in the books of accounts: {changed}")
        no_unit_has_failed()
        units = systemctl("list-unit-files", "--plain", "--no-legend", "sleepingd*", ok=None).stdout
        ours = [line for line in units.splitlines() if "sleepingd-tests" not in line]
        promise(ours == [], f"units: {ours}")

    return [
        a_first_installation_runs_the_daemon_and_fails_no_unit,
        everything_is_where_it_belongs,
        the_group_is_made_and_no_user,
        members_of_the_group_may_reload_and_restart_the_service_and_others_may_not,
        an_edited_file_takes_effect_with_one_command,
        a_reload_with_errors_fails_and_one_without_does_not,
        users_may_have_daemons_of_their_own_and_nobody_is_given_one,
        an_upgrade_keeps_the_file_the_port_and_the_backend_and_drains_connections,
        the_upgrade_leaves_the_daemons_of_users_alone_until_they_restart_them,
        what_the_administrator_disabled_or_enabled_for_all_users_stays_so,
        removing_stops_the_backend_closes_the_ports_and_keeps_the_file,
        removing_stops_the_daemons_of_users_and_leaves_what_is_in_their_homes,
        installed_again_it_serves_the_file_that_was_kept,
        installed_again_it_is_there_for_users_who_had_it_enabled,
        purging_stops_the_daemons_of_users,
        purging_leaves_nothing_but_the_group,
    ]
