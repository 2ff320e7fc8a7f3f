"""What happens to a package on a machine: stories whose steps are promises."""

import glob
import grp
import os
import pwd
import re
import shutil
import stat

from harness import (
    BACKEND, DAEMON, SOCKETS, alive, ask, connect, fate, main_pid, pid_of, port, promise,
    read_all, run as _run, say, show, systemctl, until,
)

PACKAGES = "/opt/packages"
CONFIG = "/etc/sleepingd/sleepingd.conf"
STATE = "/run/packages-test"
UNIT = "packages-test.service"

# Whatever is under these belongs to the machine, to dpkg, or to these tests.
NOT_OURS = re.compile(
    r"^/(var/(log|cache|tmp/systemd-private-|lib/(dpkg|apt|systemd|sleepingd-tests))|run/(systemd|packages-test|log|udev|dbus)"
    r"|etc/(group|gshadow|passwd|shadow|subuid|subgid)[-]?$|opt|usr/lib/python3|usr/share/python3"
    r"|etc/ld.so.cache|var/lib/systemd|run/(utmp|motd|lock)|etc/\.pwd\.lock)"
)


def package(name, kind="deb"):
    """The one package of this kind in this directory."""
    (path,) = glob.glob(f"{PACKAGES}/{name}/*.{kind}")
    return path


def apt(*words):
    """apt-get with nobody to answer questions."""
    return _run(
        "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-y", *words, timeout=140
    )


def installed_version():
    return _run("dpkg-query", "-W", "-f", "${Version}", "sleepingd").stdout


def read(path):
    with open(path) as file:
        return file.read()


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def files():
    """Every file that could be a package's or a daemon's."""
    found = set()
    for top in ("/etc", "/usr", "/var", "/run"):
        for directory, names, others in os.walk(top):
            paths = (os.path.join(directory, name) for name in names + others)
            found |= {path for path in paths if not NOT_OURS.search(path)}
    return found


def no_unit_has_failed():
    failed = systemctl("list-units", "--failed", "--plain", "--no-legend", "sleepingd*").stdout
    promise(not failed, f"failed units: {failed}")


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def ports(pattern="sleepingd-*.socket"):
    said = systemctl("list-units", "--plain", "--no-legend", "--state=active", pattern).stdout
    return [line.split()[0] for line in said.splitlines()]


def a_new_machine(run):
    """From the first installation to the last trace."""
    before = files()
    front, back = port(), port()
    # Woken in the other ways: by UNIT, and as COMMAND.
    others = {kind: (port(), port()) for kind in ("unit", "own")}
    seen = {}
    section = (
        "DRAIN_TIMEOUT=2\n"
        "[Hello]\n"
        f"PORT={front}\n"
        f"TARGET=127.0.0.1:{back}\n"
        f'START_CMD="{BACKEND} {back} hello --pidfile {STATE}/pid &"\n'
        f'STOP_CMD="kill $(cat {STATE}/pid) && touch {STATE}/stopped"\n'
    ) + "".join(
        f"[{kind}]\nPORT={listen}\nTARGET=127.0.0.1:{at}\n{how}\n"
        for (kind, (listen, at)), how in zip(
            others.items(), (f"UNIT={UNIT}", f"COMMAND={BACKEND} {others['own'][1]} own")
        )
    )

    def woken():
        return {kind: pid_of(ask(listen)) for kind, (listen, _) in others.items()}

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
        write(
            f"/run/systemd/system/{UNIT}",
            f"[Service]\nType=exec\nExecStart={BACKEND} {others['unit'][1]} unit\n",
        )
        write(CONFIG, section)
        said = run("sleepingctl", "apply").stdout
        promise("opened" in said, said)
        seen["backend"] = pid_of(ask(front))
        seen["others"] = woken()
        promise("no service" not in show(DAEMON, "StatusText"), "it still says that it has none")

    def a_reload_with_errors_fails_and_one_without_does_not():
        write(CONFIG, section + "IDLE_TIME=soon\n")
        systemctl("reload", DAEMON, ok=(1,))
        promise(pid_of(ask(front)) == seen["backend"], "the old configuration is not in force")
        write(CONFIG, section + "IDLE_TIME=1h\n")
        systemctl("reload", DAEMON)

    def an_upgrade_keeps_the_file_the_port_and_the_backend_and_drains_connections():
        seen["configuration"] = read(CONFIG)
        daemon = main_pid()
        with connect(front) as client:
            promise(pid_of(say(client, "before")) == seen["backend"], "another backend")
            apt("install", package("newer"))
            # What is open has DRAIN_TIMEOUT to finish, and is then cut.
            promise(fate(client) in ("reset", "closed"), "somebody spoke")
        promise(installed_version().startswith("2.0.1"), installed_version())
        promise(main_pid() not in (0, daemon), "the daemon is the old one")
        promise(alive(seen["backend"]), "the backend was stopped")
        promise(pid_of(ask(front)) == seen["backend"], "the backend is another one")
        promise(woken() == seen["others"], f"of {seen['others']} not all are the same: {woken()}")
        promise(read(CONFIG) == seen["configuration"], "the configuration was changed")
        promise(not os.path.exists(f"{STATE}/stopped"), "STOP_CMD ran")
        no_unit_has_failed()

    def what_the_administrator_disabled_stays_disabled():
        systemctl("disable", DAEMON)
        apt("install", "--reinstall", package("newer"))
        said = systemctl("is-enabled", DAEMON, ok=(1,)).stdout.strip()
        promise(said == "disabled", f"it is {said}")
        systemctl("enable", DAEMON)

    def removing_stops_the_backend_closes_the_ports_and_keeps_the_file():
        # From a stop on, the port is a unit's and no longer the daemon's.
        systemctl("stop", DAEMON)
        os.unlink(f"{STATE}/stopped")
        systemctl("start", DAEMON)
        promise(ports() != [], "there is no generated socket")
        seen["backend"] = pid_of(ask(front))
        apt("remove", "sleepingd")
        until("the backend is gone", lambda: not alive(seen["backend"]))
        promise(os.path.exists(f"{STATE}/stopped"), "STOP_CMD did not run")
        promise(ports() == [], f"open: {ports()}")
        try:
            connect(front).close()
            promise(False, "the port is open")
        except ConnectionRefusedError:
            pass
        promise(read(CONFIG) == seen["configuration"], "the configuration is gone")

    def installed_again_it_serves_the_file_that_was_kept():
        apt("install", package("new"))
        promise(ask(front).startswith("hello "), "it is not served")

    def purging_leaves_nothing():
        apt("purge", "sleepingd")
        left = sorted(files() - before)
        promise(left == [], f"left: {left}")
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
        an_upgrade_keeps_the_file_the_port_and_the_backend_and_drains_connections,
        what_the_administrator_disabled_stays_disabled,
        removing_stops_the_backend_closes_the_ports_and_keeps_the_file,
        installed_again_it_serves_the_file_that_was_kept,
        purging_leaves_nothing,
    ]


def from_sleeping_beauty(run):
    """Its package gives way to ours, and its configuration stays in force."""
    seen = {}

    def upgraded(old, edit="", remove=False):
        apt("install", package(old))
        promise(installed_version() == "1.0-beta0", installed_version())
        if edit:
            write(CONFIG, read(CONFIG) + edit)
        before = read(CONFIG)
        if remove:
            apt("remove", "sleepingd")
        apt("install", package("new"))
        promise(installed_version().startswith("2.0.0"), installed_version())
        promise(read(CONFIG) == before, "its configuration was changed")
        beside = sorted(os.listdir("/etc/sleepingd"))
        promise(beside == ["sleepingd.conf"], f"there are {beside}")
        promise(show(DAEMON, "ActiveState") == "active", "the daemon does not run")
        no_unit_has_failed()
        # No FIN before the answer, as a browser: its nc may end at one with nothing said.
        with connect(10080) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = read_all(client)
        promise(answer.startswith("Response from 8080: "), f"the client got {answer!r}")

    def removed():
        apt("purge", "sleepingd")
        promise(not os.path.exists("/etc/sleepingd"), "there is a directory left")

    def its_configuration_is_kept_where_nobody_has_edited_it():
        upgraded("old")
        seen["example"] = os.access("/usr/share/sleepingd/example/startserver", os.X_OK)
        removed()

    def its_configuration_is_kept_where_somebody_has_edited_it():
        upgraded("old", "# mine\n")
        promise(read(CONFIG).endswith("# mine\n"), "the edit is gone")

    def a_later_upgrade_keeps_it_too():
        before = read(CONFIG)
        apt("install", package("newer"))
        promise(read(CONFIG) == before, "its configuration was changed")
        removed()

    def its_configuration_is_kept_where_dpkg_did_not_know_it_for_one():
        upgraded("old-without-conffiles")
        removed()

    def its_configuration_is_kept_where_it_alone_was_left():
        upgraded("old", remove=True)
        removed()

    def the_script_that_it_calls_is_there_if_the_project_has_it():
        promise(
            seen["example"] or not os.path.exists(f"{PACKAGES}/with-startserver"),
            "/usr/share/sleepingd/example/startserver cannot be run",
        )

    return [
        its_configuration_is_kept_where_nobody_has_edited_it,
        its_configuration_is_kept_where_somebody_has_edited_it,
        a_later_upgrade_keeps_it_too,
        its_configuration_is_kept_where_dpkg_did_not_know_it_for_one,
        its_configuration_is_kept_where_it_alone_was_left,
        the_script_that_it_calls_is_there_if_the_project_has_it,
    ]


# What Fedora's systemd has, and Debian's has not. The second half is what its package does at the
# end of a transaction, by triggers of rpm.
HELPER = "/usr/lib/systemd/systemd-update-helper"
HELPER_TEXT = """#!/bin/sh
verb=$1
shift
case $verb in
install-system-units) systemctl --no-reload preset "$@" ;;
remove-system-units) systemctl --no-reload disable --now "$@" ;;
mark-restart-system-units)
    for unit in "$@"; do systemctl set-property "$unit" Markers=+needs-restart; done
    ;;
esac
"""


def of_rpm(run):
    """The same machine with rpm: what its packages are made of is there, but it does not know."""
    front, back = port(), port()
    seen = {}
    section = (
        "DRAIN_TIMEOUT=2\n"
        f"[Hello]\nPORT={front}\nTARGET=127.0.0.1:{back}\n"
        f'START_CMD="{BACKEND} {back} hello --pidfile {STATE}/pid &"\n'
        f'STOP_CMD="kill $(cat {STATE}/pid) && touch {STATE}/stopped"\n'
    )

    def transaction(*words):
        done = run("rpm", "--nodeps", "--nosignature", *words, timeout=140)
        promise("scriptlet failed" not in done.stderr, f"rpm said {done.stderr}")
        run("systemd-sysusers")
        systemctl("daemon-reload")
        systemctl("reload-or-restart", "--marked")

    def verified():
        """What rpm finds changed."""
        return run("rpm", "--verify", "--nodeps", "sleepingd", ok=None).stdout.splitlines()

    def listener():
        """The socket that listens at the port, whoever has it."""
        return re.findall(r"\bino:(\d+)", run("ss", "-ltnHe", f"sport = :{front}").stdout)

    def upgraded(name, version):
        """What runs and what was written stay; the daemon is another one."""
        daemon, socket = main_pid(), listener()
        promise(len(socket) == 1, f"listening: {socket}")
        with connect(front) as client:
            promise(pid_of(say(client, "before")) == seen["backend"], "another backend")
            transaction("--upgrade", package(name, "rpm"))
            promise(fate(client) in ("reset", "closed"), "somebody spoke")
        said = run("rpm", "--query", "sleepingd").stdout
        promise(said.startswith(f"sleepingd-{version}-"), said)
        promise(main_pid() not in (0, daemon), "the daemon was not restarted")
        promise(alive(seen["backend"]), "the backend was stopped")
        promise(pid_of(ask(front)) == seen["backend"], "the backend is another one")
        promise(not os.path.exists(f"{STATE}/stopped"), "STOP_CMD ran")
        promise(listener() == socket, f"the port was closed: {socket}, then {listener()}")
        promise(read(CONFIG) == section, "the configuration was changed")
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
        promise(main_pid() == 0, "the daemon was started, which is not for an .rpm to do")
        # Written before the start, so that the port is a unit's.
        write(CONFIG, section)
        systemctl("daemon-reload")
        systemctl("start", DAEMON)
        seen["backend"] = pid_of(ask(front))

    def an_upgrade_of_the_rpm_restarts_the_daemon_and_keeps_port_backend_and_file():
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
        until("the port is closed", lambda: listener() == [])
        units = systemctl("list-units", "--all", "--plain", "--no-legend", "sleepingd*").stdout
        ours = [line for line in units.splitlines() if "sleepingd-tests" not in line]
        promise(ours == [], f"units: {ours}")
        beside = sorted(os.listdir("/etc/sleepingd"))
        promise(
            beside == ["sleepingd.conf.rpmnew", "sleepingd.conf.rpmsave"]
            or beside == ["sleepingd.conf.rpmsave"], f"there are {beside}",
        )
        promise(read(f"{CONFIG}.rpmsave") == section, "the edited file is another one")
        left = [p for p in ("/usr/bin/sleepingd", "/run/sleepingd") if os.path.exists(p)]
        promise(left == [], f"left: {left}")
        no_unit_has_failed()

    return [
        an_rpm_installs_and_enables_what_the_presets_say,
        an_upgrade_of_the_rpm_restarts_the_daemon_and_keeps_port_backend_and_file,
        an_upgrade_of_the_rpm_puts_another_configuration_beside_an_edited_one,
        an_erased_rpm_leaves_nothing_running_and_the_edited_file,
    ]


STORIES = [a_new_machine, from_sleeping_beauty, of_rpm]
