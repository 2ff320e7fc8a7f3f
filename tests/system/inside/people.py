"""Users of the machine, each with a manager of their own."""

import pwd

from harness import run, systemctl

SERVICE = "sleepingd.service"


class Person:
    """A user whose manager runs."""

    def __init__(self, name):
        try:
            pwd.getpwnam(name)
        except KeyError:
            run("useradd", "--create-home", name)
        self.name = name
        self.entry = pwd.getpwnam(name)
        self.manager = f"user@{self.entry.pw_uid}.service"
        self.runtime = f"/run/user/{self.entry.pw_uid}"
        systemctl("start", self.manager)

    def run(self, *words, ok=(0,)):
        return run(
            "runuser", "-u", self.name, "--", "env", f"XDG_RUNTIME_DIR={self.runtime}",
            f"DBUS_SESSION_BUS_ADDRESS=unix:path={self.runtime}/bus", *words, ok=ok,
        )

    def systemctl(self, *words, ok=(0,)):
        return self.run("systemctl", "--user", *words, ok=ok)

    def show(self, unit, prop):
        """One property of a unit of theirs."""
        return self.systemctl("show", "--property", prop, "--value", unit).stdout.strip()

    def main_pid(self):
        """Their daemon's process; 0 if it does not run."""
        return int(self.show(SERVICE, "MainPID"))

    def write(self, text):
        """Their configuration."""
        self._put(".config/sleepingd", "sleepingd.conf", text)

    def unit(self, name, text):
        """A unit of theirs, until they write another of this name."""
        self._put(".config/systemd/user", name, text)

    def end(self):
        self.systemctl("disable", "--now", SERVICE, ok=None)
        systemctl("stop", self.manager, ok=None)

    def _put(self, below, name, text):
        directory = f"{self.entry.pw_dir}/{below}"
        self.run("mkdir", "-p", directory)
        with open(f"{directory}/{name}", "w") as file:
            file.write(text)
