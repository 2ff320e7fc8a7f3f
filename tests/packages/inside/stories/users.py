"""Users with daemons of their own, and what becomes of these."""

import os

from harness import (
    BACKEND, alive, ask, pid_of, port, promise, run, systemctl, until,
)
from people import SERVICE, Person
from stories.shared import listener

PROGRAM = "/usr/bin/sleepingd"


class Users:
    """Alice's daemon has woken something. Bob's has exited when idle, and systemd has his port. Carol
    has none. All linger: their managers run whether they are there or not."""

    def __init__(self):
        self._hers, self._his = port(), port()
        self._at = port()

    def come(self):
        self.alice, self.bob, self.carol = map(Person, ("alice", "bob", "carol"))
        for person in (self.alice, self.bob, self.carol):
            run("loginctl", "enable-linger", person.name)
        pidfile = f"{self.alice.runtime}/hers.pid"
        self._stopped = f"{self.alice.runtime}/hers.stopped"
        self.alice.write(
            f"[Hers]\nPORT={self._hers}\nTARGET=127.0.0.1:{self._at}\n"
            f'START_CMD="{BACKEND} {self._at} hers --pidfile {pidfile} &"\n'
            f'STOP_CMD="kill $(cat {pidfile}) && touch {self._stopped}"\n'
        )
        self.bob.write(f"EXIT_IDLE_TIME=1ms\n[His]\nPORT={self._his}\nTARGET=127.0.0.1:{port()}\n")
        for person in (self.alice, self.bob):
            person.systemctl("daemon-reload")
            person.systemctl("enable", "--now", SERVICE)
        self._look()

    def _look(self):
        """How things are: the daemon and the backend of hers, and his socket without a daemon."""
        self._backend = pid_of(ask(self._hers))
        self._daemon = self.alice.main_pid()
        promise(self._daemon != 0, "her daemon does not run")
        until("his daemon has gone", lambda: self.bob.main_pid() == 0)
        self._socket = listener(self._his)
        promise(len(self._socket) == 1, f"at his port there are {self._socket}")

    def _kept(self):
        promise(alive(self._backend), "her backend was stopped")
        promise(pid_of(ask(self._hers)) == self._backend, "her backend is another one")
        promise(not os.path.exists(self._stopped), "her STOP_CMD ran")
        for person in (self.bob, self.carol):
            promise(person.main_pid() == 0, f"somebody has started a daemon of {person.name}'s")
        promise(listener(self._his) == self._socket, "his port is another socket's")

    def are_left_alone_by_an_upgrade_until_they_restart_it(self):
        promise(self.alice.main_pid() == self._daemon, "her daemon is another one")
        promise(program(self._daemon) != PROGRAM, "her daemon has the new program already")
        self._kept()
        self.alice.systemctl("restart", SERVICE)
        promise(program(self.alice.main_pid()) == PROGRAM, "a restart gives her the old program")
        self._kept()
        self._daemon = self.alice.main_pid()

    def are_restarted_by_an_upgrade(self):
        promise(self.alice.main_pid() not in (0, self._daemon), "her daemon was not restarted")
        promise(program(self.alice.main_pid()) == PROGRAM, "her daemon is the old program")
        self._kept()
        self._daemon = self.alice.main_pid()

    def are_stopped(self):
        """Their daemons are, with all that they had, and their managers have forgotten the ports."""
        promise(not alive(self._daemon), "her daemon runs")
        promise(not alive(self._backend), "her backend runs")
        promise(os.path.exists(self._stopped), "her STOP_CMD did not run")
        os.unlink(self._stopped)
        for whose, at in (("her", self._hers), ("his", self._his)):
            promise(listener(at) == [], f"{whose} port is open")
        until("no generated socket is left", lambda: self.generated() == [])
        # One that was open when its unit went would be one still, without a port.
        for person in (self.alice, self.bob):
            said = person.systemctl("list-units", "--plain", "--no-legend", "sleepingd-*").stdout
            promise(said == "", f"{person.name} has units left: {said}")

    def generated(self):
        """What the generator has made for them."""
        made = []
        for person in (self.alice, self.bob):
            directory = f"{person.runtime}/systemd/generator"
            names = os.listdir(directory) if os.path.isdir(directory) else []
            made += [f"{person.name} {name}" for name in names if name.endswith(".socket")]
        return made

    def have_it_enabled(self):
        """Whose service is enabled, by a link in their home."""
        links = {
            person.name: f"{person.entry.pw_dir}/.config/systemd/user/default.target.wants/{SERVICE}"
            for person in (self.alice, self.bob)
        }
        return [name for name, link in links.items() if os.path.lexists(link)]

    def find_it_again(self):
        """Nobody has started anything; what they have enabled starts with their managers."""
        until("their sockets are made", lambda: len(self.generated()) == 2)
        promise(self.alice.main_pid() == 0, "somebody has started her daemon")
        promise(listener(self._hers) == [], "somebody has opened her port")
        for person in (self.alice, self.bob):
            systemctl("restart", person.manager)
        self._look()

    def go(self):
        """With all that is theirs."""
        for person in (self.alice, self.bob, self.carol):
            run("loginctl", "disable-linger", person.name)
            # Debian 13 would leave the runtime directory for some seconds.
            systemctl("stop", person.manager, f"user-runtime-dir@{person.entry.pw_uid}.service")
            run("userdel", "--remove", person.name)


def program(pid):
    """What a process runs. That of a file which is there no more has another name."""
    return os.readlink(f"/proc/{pid}/exe")


def enabled_for_all(unit):
    """Whether a unit is enabled for all users: what systemd calls it."""
    return systemctl("--global", "is-enabled", unit, ok=None).stdout.strip()
