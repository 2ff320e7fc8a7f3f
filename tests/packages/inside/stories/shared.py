"""What the stories share: the packages, what is on the machine, and what a daemon has woken."""

import glob
import os
import re

from harness import BACKEND, ask, pid_of, port, promise, run, systemctl

PACKAGES = "/opt/packages"
CONFIG = "/etc/sleepingd/sleepingd.conf"
STATE = "/run/packages-test"
UNIT = "packages-test.service"

# Whatever is under these belongs to the machine, to dpkg, or to these tests. Of what systemd keeps,
# the books on what packages have enabled are not, nor what generators make.
NOT_OURS = re.compile(
    r"^/(var/(log|cache|tmp/systemd-private-|lib/(dpkg|apt|systemd/(?!deb-)|sleepingd-tests))"
    r"|run/(systemd/(?!generator)|packages-test|log|udev|dbus)"
    # Copies that whoever edits accounts leaves; the accounts themselves are looked into.
    r"|etc/(group|gshadow|passwd|shadow|subuid|subgid)-$|opt|usr/lib/python3|usr/share/python3"
    r"|etc/ld.so.cache|run/(utmp|motd|lock)|etc/\.pwd\.lock)"
)
ACCOUNTS = ("passwd", "shadow", "group", "gshadow", "subuid", "subgid")


def package(name, kind="deb"):
    """The one package of this kind in this directory."""
    (path,) = glob.glob(f"{PACKAGES}/{name}/*.{kind}")
    return path


def apt(*words):
    """apt-get with nobody to answer questions."""
    return run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-y", *words, timeout=140)


def installed_version():
    return run("dpkg-query", "-W", "-f", "${Version}", "sleepingd").stdout


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


def accounts():
    """Every line about users and groups, with the file that it is in."""
    there = [path for path in (f"/etc/{name}" for name in ACCOUNTS) if os.path.exists(path)]
    return {(path, line) for path in there for line in read(path).splitlines()}


def no_unit_has_failed():
    failed = systemctl("list-units", "--failed", "--plain", "--no-legend", "sleepingd*").stdout
    promise(not failed, f"failed units: {failed}")


def listener(at):
    """The sockets that listen at a port, whoever has them."""
    return re.findall(r"\bino:(\d+)", run("ss", "-ltnHe", f"sport = :{at}").stdout)


class Services:
    """Three services, each of which is woken in another way: by START_CMD, as UNIT, as COMMAND."""

    def __init__(self):
        self.front, self._back = port(), port()
        self._others = {kind: (port(), port()) for kind in ("unit", "own")}
        self.config = (
            "DRAIN_TIMEOUT=2\n"
            "[Hello]\n"
            f"PORT={self.front}\n"
            f"TARGET=127.0.0.1:{self._back}\n"
            f'START_CMD="{BACKEND} {self._back} hello --pidfile {STATE}/pid &"\n'
            f'STOP_CMD="kill $(cat {STATE}/pid) && touch {STATE}/stopped"\n'
        ) + "".join(
            f"[{kind}]\nPORT={listen}\nTARGET=127.0.0.1:{at}\n{how}\n"
            for (kind, (listen, at)), how in zip(
                self._others.items(),
                (f"UNIT={UNIT}", f"COMMAND={BACKEND} {self._others['own'][1]} own"),
            )
        )

    def make_the_unit(self):
        at = self._others["unit"][1]
        write(
            f"/run/systemd/system/{UNIT}", f"[Service]\nType=exec\nExecStart={BACKEND} {at} unit\n"
        )
        systemctl("daemon-reload")

    def hello(self):
        """The process that START_CMD has woken, or wakes now."""
        return pid_of(ask(self.front))

    def others(self):
        """The processes of the other two."""
        return {kind: pid_of(ask(listen)) for kind, (listen, _) in self._others.items()}
