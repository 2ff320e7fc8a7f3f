"""What the checks share: the machine, the journal, reports of backends, clients.

Everything here waits for events: a line of the journal, a report written to a FIFO, the end of a
command, a byte on a socket. `until` alone looks again and again, for what nobody announces.
"""

import contextlib
import glob
import itertools
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import time

# How long a promised event may take on a slow and busy machine. Only a failure takes this long.
PATIENCE = 20.0

BACKEND = "/opt/sleepingd-tests/backend"
WITNESS = "/opt/sleepingd-tests/witness"
PROJECT = "/opt/sleepingd-tests/project"
CONFIG = "/etc/sleepingd/sleepingd.conf"
UNITS = "/etc/systemd/system"
SCRATCH = "/run/sleepingd-tests"
DAEMON = "sleepingd.service"
SOCKETS = "sleepingd-sockets.target"

# What PID 1 says of a unit (systemd's catalog).
UNIT_STARTING = "7d4958e842da4a758f6c1cdc7b36dcc5"
UNIT_STARTED = "39f53479d3a045ac8e11786248231fbf"
UNIT_STOPPED = "9d1aaa27d60140bd96365438aad20286"
# The same, of a service that ended by itself and well.
UNIT_SUCCESS = "7ad2d189f7e94e70a38c781354912448"

# The container's network is its own, so these are free. Below the ephemeral range, and never
# given twice, so that no check meets the connections of another.
_ports = itertools.count(21000)


class Broken(AssertionError):
    """A promise that was not kept."""


def promise(kept, otherwise):
    """Fails the check, with the words of `otherwise`, unless `kept`."""
    if not kept:
        raise Broken(otherwise)


def port():
    """A port nobody has used yet."""
    return next(_ports)


def run(*words, ok=(0,), timeout=60):
    """Runs a command to its end. Its exit status must be one of `ok`; None lets any pass."""
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
    )
    if ok is not None and done.returncode not in ok:
        raise Broken(
            f"`{' '.join(words)}` exited with {done.returncode}: "
            f"{done.stdout.strip()} {done.stderr.strip()}"
        )
    return done


def systemctl(*words, ok=(0,)):
    """`systemctl`, which returns when the jobs it asked for have ended."""
    return run("systemctl", *words, ok=ok)


def show(unit, prop):
    """One property of a unit."""
    return systemctl("show", "--property", prop, "--value", unit).stdout.strip()


def main_pid():
    """The daemon's process; 0 if it does not run."""
    return int(show(DAEMON, "MainPID"))


def draining():
    """The daemon has been told to end, knows whether to stop or to restart, and waits for clients."""
    shown = systemctl("show", "--property=SubState,StatusText", DAEMON).stdout
    return "SubState=stop-sigterm" in shown and "StatusText=ending: " in shown


def until(what, look, timeout=PATIENCE):
    """Looks until `look()` is true and returns what it said. Only for what no event announces."""
    end = time.monotonic() + timeout
    while True:
        seen = look()
        if seen:
            return seen
        promise(time.monotonic() < end, f"after {timeout:.0f} s still not: {what}")
        time.sleep(0.02)


# === clients ===


def connect(to, host="127.0.0.1"):
    """A connection, open until the caller closes it."""
    return socket.create_connection((host, to), timeout=PATIENCE)


def read_all(client):
    """Everything until the other side's FIN. A reset is a ConnectionResetError."""
    parts = []
    while part := client.recv(65536):
        parts.append(part)
    return b"".join(parts).decode()


def ask(to, text="hello", host="127.0.0.1"):
    """One request, ended by our FIN, and the whole answer."""
    with connect(to, host) as client:
        client.sendall(text.encode() + b"\n")
        client.shutdown(socket.SHUT_WR)
        return read_all(client)


def say(client, text):
    """One line on an open connection to a backend, and the line it answers."""
    client.sendall(text.encode() + b"\n")
    line = b""
    while not line.endswith(b"\n"):
        part = client.recv(1)
        promise(part, f"the connection ended after {line!r}, before the answer to {text!r}")
        line += part
    return line.decode().rstrip("\n")


def pid_of(answer):
    """Which process gave this answer; see `backend`."""
    found = re.match(r"\S+ (\d+) ", answer)
    promise(found, f"this is not a backend's answer: {answer!r}")
    return int(found.group(1))


def fate(client):
    """How a connection on which nothing should come ends: 'reset', 'closed', or the bytes."""
    try:
        return client.recv(65536) or "closed"
    except ConnectionResetError:
        return "reset"


def fate_of_a_client(to):
    """The fate of a new connection to which nothing is sent. One that is reset at once may hear of
    it before it hears that it was connected."""
    try:
        client = connect(to)
    except ConnectionResetError:
        return "reset"
    with client:
        return fate(client)


def witness(*words):
    """A client that the end of the machine does not end; see `witness`. Returns when it is ready."""
    # Without the usual dependencies it is in no job of the shutdown, and lives until all is killed.
    run(
        "systemd-run", "--unit=sleepingd-tests-witness", "--service-type=notify",
        "--property=DefaultDependencies=no", WITNESS, *words,
    )


# === the journal ===


def _text(value):
    """A field as text: journalctl shows one that is not printable as a list of numbers."""
    if isinstance(value, list) and all(isinstance(byte, int) for byte in value):
        return bytes(value).decode(errors="replace")
    return value if isinstance(value, str) else json.dumps(value)


class Entry(dict):
    """One entry of the journal. A field that is not there reads as the empty text."""

    def __missing__(self, field):
        return ""

    @property
    def at(self):
        """When it was received, in seconds of the monotonic clock."""
        return int(self["__MONOTONIC_TIMESTAMP"]) / 1e6

    def matches(self, message, fields):
        """Whether MESSAGE has this pattern in it, and each field this value."""
        return (message is None or re.search(message, self["MESSAGE"]) is not None) and all(
            self[field] == value for field, value in fields.items()
        )


class Journal:
    """The journal from the start of a check on."""

    def __init__(self):
        newest = run("journalctl", "--sync") and run("journalctl", "-n1", "-o", "json").stdout
        self.cursor = json.loads(newest)["__CURSOR"]
        self._follow = subprocess.Popen(
            ["journalctl", "--follow", "--no-tail", "--all", "-o", "json",
             f"--after-cursor={self.cursor}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        )
        os.set_blocking(self._follow.stdout.fileno(), False)
        self._rest = b""
        self._entries = []

    def close(self):
        self._follow.kill()
        self._follow.wait()
        self._follow.stdout.close()

    def mark(self):
        """A place to look `since`: what comes after everything that is in the journal now."""
        self.all()
        return time.monotonic()

    def wait(self, message=None, since=0.0, timeout=PATIENCE, **fields):
        """The first entry like this, now or as soon as it comes."""
        end = time.monotonic() + timeout
        looked_at = 0
        while True:
            for entry in self._entries[looked_at:]:
                if entry.at >= since and entry.matches(message, fields):
                    return entry
            looked_at = len(self._entries)
            left = end - time.monotonic()
            if left <= 0 or not self._more(left):
                wanted = " ".join(f"{field}={value}" for field, value in fields.items())
                raise Broken(
                    f"nothing in the journal within {timeout:.0f} s like /{message or ''}/ {wanted}"
                )

    def all(self, message=None, since=0.0, **fields):
        """Every entry like this, up to now. The journal is asked to have written all it has."""
        run("journalctl", "--sync")
        out = run("journalctl", "--all", "-o", "json", f"--after-cursor={self.cursor}").stdout
        found = [_entry(line) for line in out.splitlines()]
        return [e for e in found if e.at >= since and e.matches(message, fields)]

    def _more(self, timeout):
        """Takes in what comes within the time. False if nothing did."""
        stream = self._follow.stdout
        if not select.select([stream], [], [], timeout)[0]:
            return False
        *lines, self._rest = (self._rest + (stream.read() or b"")).split(b"\n")
        self._entries += [_entry(line) for line in lines]
        promise(self._follow.poll() is None, "journalctl --follow ended")
        return True


def _entry(line):
    return Entry({field: _text(value) for field, value in json.loads(line).items()})


# === reports ===


class Reports:
    """A FIFO to which commands and backends write a line for each thing that they do."""

    def __init__(self, path):
        self.path = path
        os.mkfifo(path)
        os.chmod(path, 0o666)
        # For reading and writing, so that there is always a reader and never an end.
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._rest = ""
        self._lines = []
        self._next = 0

    def close(self):
        os.close(self._fd)

    def wait(self, pattern, timeout=PATIENCE):
        """The next line with this pattern in it, after those that were waited for before."""
        end = time.monotonic() + timeout
        while True:
            while self._next < len(self._lines):
                line = self._lines[self._next]
                self._next += 1
                if re.search(pattern, line):
                    return line
            left = end - time.monotonic()
            if left <= 0 or not self._more(left):
                raise Broken(
                    f"nobody reported /{pattern}/ within {timeout:.0f} s; reported so far: "
                    f"{self._lines[-12:]}"
                )

    def all(self, pattern=""):
        """Every line with this pattern in it, up to now."""
        while self._more(0):
            pass
        return [line for line in self._lines if re.search(pattern, line)]

    def skip(self):
        """Waits from here on: what was reported up to now is not waited for."""
        self.all()
        self._next = len(self._lines)

    def _more(self, timeout):
        if not select.select([self._fd], [], [], timeout)[0]:
            return False
        *lines, self._rest = (self._rest + os.read(self._fd, 65536).decode()).split("\n")
        self._lines += lines
        return True


# === control groups ===


def processes(unit):
    """Every process in the control group of a unit, and in the groups below it."""
    group = show(unit, "ControlGroup")
    if not group:
        return []
    found = set()
    # Pure v2 has one tree; a hybrid machine has systemd's own, and v2 beside it.
    for tree in ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"):
        for path in glob.glob(f"{tree}{group}/**/cgroup.procs", recursive=True):
            with contextlib.suppress(OSError), open(path) as procs:
                found |= {int(pid) for pid in procs.read().split()}
    return sorted(found)


def command_line(pid):
    """What a process was started with; empty if it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def alive(pid):
    """Whether this process exists and is not a zombie."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] != "Z"
    return False


# === the machine ===


class Machine:
    """One installation of sleepingd for one check: its file, its sockets, its journal."""

    def __init__(self, name):
        clean()
        os.makedirs(SCRATCH, exist_ok=True)
        self.journal = Journal()
        self.reports = Reports(f"{SCRATCH}/{name}.reports")
        self._sockets = []

    def close(self):
        clean()
        self.journal.close()
        self.reports.close()

    @property
    def sockets(self):
        """The names of the socket units."""
        return list(self._sockets)

    def write(self, text, mode=0o644):
        """The configuration file, replaced at once."""
        os.makedirs(os.path.dirname(CONFIG), exist_ok=True)
        with open(CONFIG + ".new", "w") as file:
            file.write(text)
        os.chmod(CONFIG + ".new", mode)
        os.rename(CONFIG + ".new", CONFIG)

    def listen(self, listeners):
        """Writes a socket unit for each `{name of the descriptor: port}`, as an administrator
        does after the example: its own unit, and Wants= and After= in the service."""
        for name, stream in listeners.items():
            unit = f"sleepingd-{name}.socket"
            self._sockets.append(unit)
            with open(f"{UNITS}/{unit}", "w") as file:
                file.write(
                    f"[Unit]\nDescription=sleepingd listener for {name}\n"
                    f"[Socket]\nListenStream={stream}\nFileDescriptorName={name}\n"
                    "Service=sleepingd.service\nTriggerLimitIntervalSec=0\nBacklog=4096\n"
                    "[Install]\nWantedBy=sockets.target\n"
                )
        units = " ".join(self._sockets)
        os.makedirs(f"{UNITS}/{DAEMON}.d", exist_ok=True)
        with open(f"{UNITS}/{DAEMON}.d/sockets.conf", "w") as file:
            file.write(f"[Unit]\nWants={units}\nAfter={units}\n")
        systemctl("daemon-reload")

    def enable_now(self):
        """What the README tells an administrator to type."""
        systemctl("enable", "--now", *self._sockets, DAEMON)

    def verbose(self):
        """Has the daemon log every client, from its next start on."""
        os.makedirs(f"{UNITS}/{DAEMON}.d", exist_ok=True)
        with open(f"{UNITS}/{DAEMON}.d/debug.conf", "w") as file:
            file.write("[Service]\nExecStart=\nExecStart=/usr/bin/sleepingd run --debug\n")

    def serve(self, text, listeners):
        """The file, the sockets, and the daemon running."""
        self.write(text)
        self.listen(listeners)
        self.enable_now()

    def section(self, name, *, mode, at, **keys):
        """A section whose backend is `backend`, and that reports `start NAME` and `stop NAME`.

        `mode` says who knows where the backend is: "target" (TARGET does), "check" (START does,
        and CHECK says whether it is up) or "start" (START does, for every connection). Keys are
        written as they are; `options` go to the backend.
        """
        options = keys.pop("options", "")
        fifo = self.reports.path
        pidfile = f"{SCRATCH}/{name}.pid"
        start = (
            f"echo 'start {name}' > {fifo}; kill -0 $(cat {pidfile}) 2> /dev/null || "
            f"{BACKEND} {at} {name} --reports {fifo} --pidfile {pidfile} {options} & "
            f"echo '127.0.0.1 {at}'"
        )
        stop = (
            f"echo 'stop {name}' > {fifo}; pid=$(cat {pidfile}); kill $pid && "
            f"{BACKEND} --wait-gone $pid"
        )
        lines = [f"[{name}]", f'START_CMD="{start}"', f'STOP_CMD="{stop}"']
        if mode == "target":
            lines.append(f"TARGET=127.0.0.1:{at}")
        elif mode == "check":
            lines.append(f'CHECK_CMD="kill -0 $(cat {pidfile}) 2> /dev/null"')
        lines += [f"{key}={value}" for key, value in keys.items()]
        return "\n".join(lines) + "\n"

    def starts(self, name):
        """How often START ran for this section."""
        return len(self.reports.all(f"^start {re.escape(name)}$"))


def clean():
    """No daemon, no sockets, no files, no process of the check before."""
    # Killed, not stopped: whatever is wrong with it must not reach the next check.
    systemctl("kill", "--signal=KILL", DAEMON, ok=None)
    systemctl("stop", "sleepingd-*.socket", SOCKETS, DAEMON, ok=None)
    for pid in processes(DAEMON):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    units = [os.path.basename(path) for path in glob.glob(f"{UNITS}/sleepingd-*.socket")]
    systemctl("disable", *units, SOCKETS, DAEMON, ok=None)
    for unit in units:
        os.unlink(f"{UNITS}/{unit}")
    for path in (f"{UNITS}/{DAEMON}.d", SCRATCH, "/etc/sleepingd", "/run/sleepingd"):
        shutil.rmtree(path, ignore_errors=True)
    systemctl("daemon-reload")
    systemctl("reset-failed", ok=None)
