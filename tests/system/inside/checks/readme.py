"""What the README tells an administrator to type, as it stands there."""

import os
import re

from checks import check
from harness import DAEMON, UNITS, promise, run, show, systemctl

PROJECT = "/opt/sleepingd-tests/project"
SOCKET = "sleepingd-quick-start.socket"
# The machine has the programs already, and no compiler.
LEFT_OUT = ("cargo ", "install -m 755 ", "install -D -m 755 ")


def typed():
    """The lines of the section's console blocks that root types."""
    with open(f"{PROJECT}/README.md") as file:
        text = file.read()
    section = text[text.index("## Set it up with systemd"):]
    section = section[:section.index("\n## ", 3)]
    blocks = re.findall(r"```console\n(.*?)```", section, re.S)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("# ")]
    return [line for line in lines if not line.startswith(LEFT_OUT)]


def page():
    return run("curl", "-sS", "--max-time", "20", "http://127.0.0.1:10080/").stdout


@check
def the_lines_of_the_readme_work_as_they_stand(machine):
    try:
        for line in typed():
            run("bash", "-c", f"cd {PROJECT} && {line}")
        promise(show(SOCKET, "ActiveState") == "active", "the socket is not open")
        promise("Directory listing" in page(), "no page through the socket of systemd")
        promise("quick-start" in run("systemctl", "list-sockets").stdout, "not systemd's socket")
        systemctl("stop", DAEMON)
        promise(show(SOCKET, "ActiveState") != "active", "a stop leaves the port open")
        systemctl("start", DAEMON)
        promise(show(SOCKET, "ActiveState") == "active", "a start does not open the port again")
        promise("Directory listing" in page(), "no page after a stop and a start")
        systemctl("stop", DAEMON)
    finally:
        systemctl("disable", SOCKET, DAEMON, ok=None)
        for unit in (SOCKET, DAEMON, "sleepingd-sockets.target"):
            if os.path.exists(f"{UNITS}/{unit}"):
                os.unlink(f"{UNITS}/{unit}")
        systemctl("daemon-reload")
