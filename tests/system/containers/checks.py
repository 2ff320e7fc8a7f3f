"""Runs sleepingd in the foreground before containers of a real engine.

usage: checks.py docker|podman WORK CGROUP BIN PATTERN

Prints a line for each check whose name has PATTERN in it; exits with 1 if one failed. A check is a
function that bears the @check mark; its name is its promise. What nobody announces is looked for
again and again by `until`; everything else is waited for as it happens.
"""

import contextlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback

ENGINE, WORK, CGROUP, BIN, PATTERN = sys.argv[1:]

# How long a promised event may take on a slow and busy machine. Only a failure takes this long.
PATIENCE = 40.0

PAGE = "hello from a container\n"
SERVE = "exec busybox httpd -f -p 80 -h /www"
# Listens a while after it has been started, when the engine has long said that it runs.
SERVE_LATE = f"busybox sleep 1; {SERVE}"

# Where the engine has been told to have its things; commands have it of the file alone.
ENVIRONMENT = " ".join(
    f"{name}={os.environ[name]}"
    for name in ("DOCKER_HOST", "CONTAINERS_STORAGE_CONF", "CONTAINERS_CONF")
    if name in os.environ
)

# Ends at SIGTERM, which process 1 of a container ignores unless it has a handler for it.
SERVE_UNTIL_TERM = "trap exit TERM; busybox httpd -f -p 80 -h /www & wait"

CHECKS = {}
# The network is our own, so these are free; none is given twice.
_ports = itertools.count(21000)


class Broken(AssertionError):
    """A promise that was not kept."""


def check(body):
    CHECKS[body.__name__] = body
    return body


def promise(kept, otherwise):
    if not kept:
        raise Broken(otherwise)


def until(what, look):
    end = time.monotonic() + PATIENCE
    while not (seen := look()):
        if time.monotonic() > end:
            raise Broken(f"not in time: {what}")
        time.sleep(0.02)
    return seen


# === the engine ===


def engine(*words, ok=True):
    done = subprocess.run(
        [ENGINE, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    if ok and done.returncode != 0:
        raise Broken(f"{ENGINE} {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


class Container:
    """A container that exists and does not run."""

    def __init__(self, *options, serve=SERVE):
        # Not SIGTERM, which would be ignored: see SERVE_UNTIL_TERM.
        self.name = engine(
            "create", "--stop-signal", "KILL", *group(), *options, "sleepingd-test",
            "/bin/busybox", "sh", "-c", serve,
        ).strip()[:12]
        # Without a word before it, it is docker's where both are installed.
        self.ref = self.name if ENGINE == "docker" else f"{ENGINE}:{self.name}"

    def inspect(self):
        return json.loads(engine("container", "inspect", self.name))[0]["State"]

    def runs(self):
        return self.inspect()["Running"]

    def born(self):
        return self.inspect()["StartedAt"]


def group():
    # dockerd has been told.
    return ["--cgroup-parent", CGROUP] if ENGINE == "podman" else []


# === the daemon ===


class Daemon:
    """sleepingd with a file, in the foreground."""

    def __init__(self, directory, text):
        self.directory = directory
        self.file = f"{directory}/sleepingd.conf"
        with open(self.file, "w") as file:
            file.write(f"ENVIRONMENT={ENVIRONMENT}\n{text}")
        self.start()

    def start(self):
        self.lines = []
        self.news = threading.Condition()
        self.process = subprocess.Popen(
            [f"{BIN}/sleepingd", "--debug", "-f", self.file, "--runtime-directory",
             f"{self.directory}/run"],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()
        self.says("ready: ")

    def _listen(self, process):
        for line in process.stderr:
            with self.news:
                self.lines.append(line.rstrip("\n"))
                self.news.notify_all()

    def says(self, text, times=1):
        """Waits until so many lines have this text."""
        def seen():
            return [line for line in self.lines if text in line][times - 1:]
        with self.news:
            promise(self.news.wait_for(seen, PATIENCE), f"the daemon does not say {text!r}, but: {self.lines}")
            return seen()[0]

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.terminate()
        code = self.process.wait(PATIENCE)
        promise(code == 0, f"sleepingd ended with {code}")


def get(port):
    """The page, as a client of HTTP gets it."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        parts = []
        while part := client.recv(65536):
            parts.append(part)
    head, _, body = b"".join(parts).decode().partition("\r\n\r\n")
    promise(" 200 " in head, f"the answer is {head!r}")
    return body


def served(port):
    body = get(port)
    promise(body == PAGE, f"the page is {body!r}")


def section(port, container, **keys):
    lines = [f"[web]\nPORT=127.0.0.1:{port}\nCONTAINER={container}"]
    return "\n".join(lines + [f"{key}={value}" for key, value in keys.items()]) + "\n"


# === the promises ===


@check
def a_published_port_is_served_though_its_proxy_accepts_before_the_container(stage):
    front, back = next(_ports), next(_ports)
    container = Container("-p", f"127.0.0.1:{back}:80", serve=SERVE_LATE)
    daemon = stage(section(front, f"{ENGINE}:{container.name}", TARGET=f"127.0.0.1:{back}"))
    promise(not container.runs(), "it runs before there was a client")
    served(front)
    served(front)
    promise("woken by" in daemon.says("web: woken by"), "nobody woke it")


@check
def a_container_of_its_own_address_is_found_and_sleeps_when_idle(stage):
    front = next(_ports)
    container = Container("--expose", "80")
    daemon = stage(section(front, f"{container.ref}:80", IDLE_TIME="200ms"))
    for times in (1, 2):
        served(front)
        daemon.says("web: asleep", times)
        promise(not container.runs(), "it is said to be asleep, and runs")


@check
def a_container_that_runs_already_is_adopted_and_put_to_sleep(stage):
    front = next(_ports)
    container = Container()
    engine("start", container.name)
    daemon = stage(section(front, f"{container.ref}:80", IDLE_TIME="300ms"))
    born = container.born()
    daemon.says("web: asleep")
    promise(container.born() == born, "it was started again")
    promise(not container.runs(), "it still runs")


@check
def a_container_outlives_a_crash_of_the_daemon_and_is_found_again(stage):
    front = next(_ports)
    container = Container()
    daemon = stage(section(front, f"{container.ref}:80"))
    served(front)
    born = container.born()
    daemon.kill()
    promise(container.runs(), "it died with the daemon")
    daemon.start()
    served(front)
    promise(container.born() == born, "it was started again")


@check
def a_container_that_was_killed_behind_our_back_is_woken_by_the_next_client(stage):
    front = next(_ports)
    container = Container()
    stage(section(front, f"{container.ref}:80"))
    for way in ("kill", "stop", "restart"):
        served(front)
        engine(way, container.name)
        served(front)
        promise(container.runs(), f"it does not run after {way}")


@check
def a_paused_container_is_resumed(stage):
    if ENGINE == "podman" and not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        print("    left out: podman cannot pause here")
        return
    front = next(_ports)
    container = Container()
    engine("start", container.name)
    born = container.born()
    engine("pause", container.name)
    stage(section(front, f"{container.ref}:80"))
    served(front)
    promise(container.born() == born, "it was started again")
    promise(not container.inspect()["Paused"], "it is still paused")


@check
def no_client_is_lost_however_often_it_sleeps_and_wakes(stage):
    front, back = next(_ports), next(_ports)
    container = Container("-p", f"127.0.0.1:{back}:80")
    keys = {"TARGET": f"127.0.0.1:{back}", "IDLE_TIME": "50ms"}
    daemon = stage(section(front, container.ref, **keys))
    seed = random.randrange(1 << 32)
    choices, lost = random.Random(seed), []

    def clients(moments):
        for moment in moments:
            # The pace of these clients is what is tried here: some come while it is being stopped.
            time.sleep(moment)
            try:
                served(front)
            except (OSError, Broken) as error:
                lost.append(repr(error))

    threads = [
        threading.Thread(target=clients, args=([choices.random() * 1.5 for _ in range(10)],))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    promise(not lost, f"lost with seed {seed}: {lost}")
    # It did sleep in between, or nothing was tried.
    daemon.says("web: asleep", 3)


@check
def a_container_that_is_not_there_is_named_in_the_log_and_its_client_reset(stage):
    front = next(_ports)
    daemon = stage(section(front, f"{ENGINE}:nobody:80"))
    with socket.create_connection(("127.0.0.1", front), timeout=PATIENCE) as client:
        try:
            promise(False, f"it got {client.recv(1)!r}")
        except ConnectionResetError:
            pass
    said = daemon.says("START_CMD exited with status 1")
    promise("nobody" in said, said)


@check
def the_example_startserver_spreads_clients_over_containers(stage):
    front = next(_ports)
    script = os.path.join(os.path.dirname(__file__), "../../../examples/startserver")
    copy = f"{WORK}/startserver"
    shutil.copy(script, copy)
    names = [f"pool{front}a", f"pool{front}b"]
    made = engine("create", "sleepingd-test", "/bin/busybox", "true").strip()
    command = json.dumps(["/bin/busybox", "sh", "-c", SERVE_UNTIL_TERM])
    engine("commit", "--change", f"CMD {command}", made, "pool")
    engine("rm", made)
    text = (
        f"[pool]\nPORT=127.0.0.1:{front}\nSTART_CMD={copy} start\nSTOP_CMD={copy} stop\n"
        f"IDLE_CMD={copy} status\nIDLE_CHECK_INTERVAL=1\nIDLE_TIME=1\n"
    )
    daemon = stage(
        text.replace(
            "START_CMD",
            f"ENVIRONMENT={ENVIRONMENT} IMAGE=pool PORT=80 ENGINE={ENGINE} "
            f"'CONTAINERS={' '.join(names)}'\nSTART_CMD", 1,
        )
    )

    def running():
        return [name for name in names if name in engine("ps", "--format", "{{.Names}}")]

    until("both have been chosen", lambda: served(front) or len(running()) == 2)
    daemon.says("pool: asleep")
    promise(running() == [], f"these still run: {running()}")


# === running them ===


class Stage:
    """Where a check has its daemon; afterwards neither it nor a container is left."""

    def __init__(self):
        # Short: the path of a socket may have 107 bytes.
        self.directory = f"{WORK}/{next(_ports)}"
        os.mkdir(self.directory)
        self.daemon = None

    def __call__(self, text):
        self.daemon = Daemon(self.directory, text)
        return self.daemon

    def close(self):
        if self.daemon and self.daemon.process.poll() is None:
            self.daemon.stop()
        there = engine("ps", "-aq").split()
        if there:
            engine("rm", "-f", *there)
        shutil.rmtree(self.directory)


def main():
    failed, ran = 0, 0
    for name, body in CHECKS.items():
        if not re.search(PATTERN, name):
            continue
        ran += 1
        stage, why, started = Stage(), None, time.monotonic()
        try:
            body(stage)
        except Exception as error:  # whatever it is, it is this check's failure, not the run's
            why = repr(error)
            traceback.print_exc()
            for line in (stage.daemon.lines if stage.daemon else [])[-30:]:
                print(f"    {line}")
        try:
            stage.close()
        except Exception as error:
            with contextlib.suppress(Exception):
                stage.daemon.kill()
            why = why or f"it could not be cleaned up: {error!r}"
        failed += why is not None
        verdict = f"not ok {name}: {why}" if why else f"ok {name}"
        print(f"{verdict} ({time.monotonic() - started:.1f} s)", flush=True)
    print(f"{ran - failed} passed, {failed} failed")
    sys.exit(1 if failed or not ran else 0)


main()
