"""A user's podman, and the user's own daemon."""

import os
import pwd

from checks import check
from harness import BACKEND, ask, connect, port, promise, run, say, show, systemctl, until

USER = "alice"
IMAGE = "sleepingd-test"


class Alice:
    """A user with a manager of her own, who may make networks for her containers."""

    def __init__(self):
        # A machine within a machine gets the device for root alone.
        os.chmod("/dev/net/tun", 0o666)
        run("useradd", "--create-home", USER)
        self.entry = pwd.getpwnam(USER)
        self.manager = f"user@{self.entry.pw_uid}.service"
        systemctl("start", self.manager)

    def __call__(self, *words, ok=(0,)):
        runtime = f"/run/user/{self.entry.pw_uid}"
        return run(
            "runuser", "-u", USER, "--", "env", "-C", self.entry.pw_dir,
            f"XDG_RUNTIME_DIR={runtime}", f"DBUS_SESSION_BUS_ADDRESS=unix:path={runtime}/bus",
            *words, ok=ok,
        ).stdout.strip()

    def drains(self):
        """Her daemon has been told to end, and waits for its clients."""
        shown = self(
            "systemctl", "--user", "show", "--property=SubState,StatusText", "sleepingd.service",
            ok=None,
        )
        return "SubState=stop-sigterm" in shown and "StatusText=ending: " in shown

    def end(self):
        self("systemctl", "--user", "disable", "--now", "sleepingd.service", ok=None)
        self("podman", "rm", "--all", "--force", ok=None)
        systemctl("stop", self.manager, ok=None)


@check
def a_rootless_container_is_woken_by_the_users_own_daemon_and_lives_as_long_as_it(machine):
    listen, back = port(), port()
    alice = Alice()

    def state(of):
        return alice("podman", "container", "inspect", "--format", "{{.State.%s}}" % of, "hers")

    try:
        home = alice.entry.pw_dir
        tree = f"{home}/image"
        alice("sh", "-c", f"mkdir -p {home}/proof {tree}/usr {tree}/opt {tree}/tmp {tree}/proof && cd {tree} && "
              f"for name in bin lib lib64 sbin; do ln -s usr/$name $name; done && "
              f"tar -cf {home}/image.tar . && podman import {home}/image.tar {IMAGE}")
        alice(
            "podman", "create", "--name", "hers", "--publish", f"127.0.0.1:{back}:80",
            "--volume", "/usr:/usr:ro", "--volume", "/opt:/opt:ro", "--volume", f"{home}/proof:/proof",
            IMAGE, BACKEND, "80", "hers", "--host", "0.0.0.0",
            # It removes this when it is asked to end, and only then.
            "--pidfile", "/proof/pid",
        )
        alice("sh", "-c", f"mkdir -p {home}/.config/sleepingd && printf "
              f"'[web]\\nPORT={listen}\\nCONTAINER=podman:hers\\nTARGET=127.0.0.1:{back}\\n' "
              f"> {home}/.config/sleepingd/sleepingd.conf")
        alice("systemctl", "--user", "daemon-reload")
        alice("systemctl", "--user", "enable", "--now", "sleepingd.service")
        promise(state("Running") == "false", "it runs before there was a client")
        promise(ask(listen).startswith("hers "), "it is not served")
        born = state("StartedAt")
        alice("systemctl", "--user", "restart", "sleepingd.service")
        promise(ask(listen).startswith("hers "), "it is not served after a restart")
        promise(state("StartedAt") == born, "a restart of the daemon started it again")
        alice("systemctl", "--user", "stop", "sleepingd.service")
        promise(state("Running") == "false", "it outlived the daemon")

        # Her manager ends, as with her last session: what is hers waits for her daemon.
        alice("systemctl", "--user", "start", "sleepingd.service")
        with connect(listen) as client:
            say(client, "hello")
            systemctl("stop", "--no-block", alice.manager)
            until("her daemon waits for its clients", alice.drains)
            for number in range(20):
                promise(say(client, f"{number}").endswith(f" {number}"), "the connection was cut")
            promise(alice.drains(), "her daemon did not wait for its client")
        until("her manager has ended", lambda: show(alice.manager, "ActiveState") == "inactive")
        promise(not os.path.exists(f"{home}/proof/pid"), "her container was killed, not stopped")
    finally:
        alice.end()
