"""`sleepingd forward` in the place of systemd-socket-proxyd: its two units, with another ExecStart=."""

import contextlib
import os

from checks import check
from harness import (
    BACKEND, UNITS, ask, connect, port, promise, say, show, systemctl, until,
)

PROXY = "proxy-to-web.service"
SOCKET = "proxy-to-web.socket"
WEB = "web-behind.service"


@contextlib.contextmanager
def pair(machine, options, user=""):
    """As in the example of systemd-socket-proxyd(8)."""
    listen, back = port(), port()
    texts = {
        SOCKET: f"[Socket]\nListenStream={listen}\n",
        PROXY: (
            f"[Unit]\nRequires={WEB} {SOCKET}\nAfter={WEB} {SOCKET}\n"
            f"[Service]\nType=notify\n{user}PrivateTmp=yes\n"
            f"ExecStart=/usr/bin/sleepingd forward --target 127.0.0.1:{back} {options}\n"
        ),
        WEB: f"[Service]\nType=exec\nExecStart={BACKEND} {back} web --reports {machine.reports.path}\n",
    }
    for name, text in texts.items():
        with open(f"{UNITS}/{name}", "w") as file:
            file.write(text)
    systemctl("daemon-reload")
    systemctl("start", WEB)
    machine.reports.wait("^listening web")
    systemctl("start", SOCKET)
    try:
        yield listen
    finally:
        systemctl("stop", SOCKET, PROXY, WEB)
        for name in texts:
            os.unlink(f"{UNITS}/{name}")
        systemctl("daemon-reload")


def state(unit):
    return show(unit, "ActiveState")


@check
def forward_takes_the_place_of_systemd_socket_proxyd(machine):
    with pair(machine, "--exit-idle-time 100ms --connections-max 1") as listen:
        for _ in range(2):
            with connect(listen) as client:
                promise(say(client, "hello").startswith("web "), "it is not forwarded")
                promise(state(PROXY) == "active", "it was not ready")
                # One more waits for its turn.
                second = connect(listen)
            promise(say(second, "hello").startswith("web "), "who waited is not served")
            second.close()
            until("it has exited", lambda: state(PROXY) == "inactive")
            promise(show(PROXY, "Result") == "success", "it has failed")
            promise(state(SOCKET) == "active", "its socket is closed")


@check
def forward_exits_when_idle_as_a_user_who_may_look_at_nothing(machine):
    with pair(machine, "--exit-idle-time 100ms", "DynamicUser=yes\n") as listen:
        promise(ask(listen).startswith("web "), "it is not forwarded")
        until("it has exited", lambda: state(PROXY) == "inactive")


@check
def a_stop_of_forward_leaves_its_socket_open(machine):
    with pair(machine, "") as listen:
        ask(listen)
        systemctl("stop", PROXY)
        promise(state(SOCKET) == "active", "its socket is closed")
        promise(ask(listen).startswith("web "), "the next client is not served")
