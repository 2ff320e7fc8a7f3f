"""Containers of a real engine, for the checks of this directory."""

import contextlib
import json
import os

from harness import BACKEND, SCRATCH, port, promise, run

ENGINES = ("docker", "podman")
IMAGE = "sleepingd-test"


class Engine:
    """docker or podman, as root has it."""

    def __init__(self, name):
        self.name = name

    def __call__(self, *words, ok=(0,)):
        return run(self.name, *words, ok=ok).stdout.strip()


class Container:
    """A container that exists and does not run: `backend`, with a published port."""

    def __init__(self, engine, *options):
        self.engine = engine
        self.name = f"test-{engine.name}"
        self.back = port()
        self.ref = f"{engine.name}:{self.name}"
        self.proof = f"{SCRATCH}/{self.name}"
        os.makedirs(self.proof, exist_ok=True)
        engine(
            "create", "--name", self.name, "--publish", f"127.0.0.1:{self.back}:80",
            "--volume", "/usr:/usr:ro", "--volume", "/opt:/opt:ro", "--volume", f"{self.proof}:/proof",
            *options, IMAGE, BACKEND, "80", self.name, "--host", "0.0.0.0",
            # It removes this when it is asked to end, and only then.
            "--pidfile", "/proof/pid",
        )

    def section(self, name, listen, **keys):
        said = {"PORT": listen, "CONTAINER": self.ref, "TARGET": f"127.0.0.1:{self.back}", **keys}
        return f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in said.items())

    def _state(self):
        return json.loads(self.engine("container", "inspect", self.name))[0]["State"]

    def runs(self):
        return self._state()["Running"]

    def born(self):
        """Which life this is."""
        return self._state()["StartedAt"]

    def is_asleep(self):
        """It was stopped, and had the time to end by itself."""
        promise(not self.runs(), f"{self.ref} still runs")
        promise(not os.path.exists(f"{self.proof}/pid"), f"{self.ref} was killed, not stopped")


def prepare(engine):
    """The image, which has the places for what is mounted and nothing else."""
    if IMAGE in engine("images"):
        return
    tree = f"{SCRATCH}/image"
    for directory in ("usr", "opt", "proof", "tmp"):
        os.makedirs(f"{tree}/{directory}", exist_ok=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        with contextlib.suppress(FileExistsError):
            os.symlink(f"usr/{name}", f"{tree}/{name}")
    run("tar", "-C", tree, "-cf", f"{tree}.tar", ".")
    engine("import", f"{tree}.tar", IMAGE)


@contextlib.contextmanager
def containers(*names):
    """A container of each engine, for as long as the check runs."""
    made = []
    try:
        for name in names or ENGINES:
            engine = Engine(name)
            prepare(engine)
            made.append(Container(engine))
        yield made
    finally:
        for name in names or ENGINES:
            Engine(name)("rm", "--force", f"test-{name}", ok=None)
