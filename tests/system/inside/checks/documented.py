"""The files of sleeping-beauty's documentation, unchanged, and the lines of our own examples."""

import os
import re
import shlex

from checks import check
from harness import (
    PROJECT, SCRATCH, ask, connect, port, promise, read_all, run, systemctl,
)

# Two instances, as the documentation's startserver script makes them with `docker run -d`: the
# server belongs to another manager (there dockerd, here systemd), START only asks for it.
STARTSERVER = """#!/bin/bash
case "$1" in
start)
    last=$(cat {scratch}/last 2> /dev/null)
    number=$(( ${{last:-0}} % 2 + 1 ))
    echo $number > {scratch}/last
    echo "start $number" > {fifo}
    systemctl is-active --quiet sleepingnode$number ||
        systemd-run --quiet --collect --unit=sleepingnode$number \\
            /opt/sleepingd-tests/backend 3000 node$number --host 127.0.0.1$number
    echo "127.0.0.1$number 3000" ;;
status)
    echo status > {fifo}
    systemctl is-active --quiet sleepingnode1 || systemctl is-active --quiet sleepingnode2 ;;
stop)
    echo stop > {fifo}
    systemctl stop sleepingnode1 sleepingnode2 2> /dev/null
    true ;;
esac
"""

WEB = r"""
[Simple web server for testing purposes]
# - The service is not active
ACTIVE=yes
# - The port in which the sleeping beauty will listen is 10080
PORT=10080
# - The command that spawns the server is a dumb web server
START_CMD="( echo -e 'Response from 8080: $(date)' | nc -l -p 8080 -w 1 > /dev/null 2> /dev/null & ) ; echo '127.0.0.1 8080'"
"""

DOCKER = """
[Nodeapp in docker containers]
# Now the service is active
ACTIVE=yes
# The port in which we want the service to listen
PORT=20080
# The command to start the effective servers
START_CMD="/usr/share/sleepingd/example/startserver start"
# The command to stop the effective servers
STOP_CMD="/usr/share/sleepingd/example/startserver stop"
# The command that checks wether the servers are idle or not
IDLE_CMD="/usr/share/sleepingd/example/startserver status"
# Tell the sleeping beauty to stop the servers after 20 seconds of being idle
IDLE_TIME=3
# Check for idleness each 5 seconds
IDLE_CHECK_INTERVAL=1
"""

# The head of the documented file: defaults for the sections, and not itself a service.
HEAD = """
ACTIVE=no
PORT=
CHECK_CMD=
START_CMD=
STOP_CMD=
EXEC_CMD_TIMEOUT=
START_CMD_TIMEOUT=
USER=
IDLE_CHECK_INTERVAL=0
IDLE_TIME=0
IDLE_CMD=true
"""


def one_shot_answers(machine):
    for _ in range(3):
        # As wget does: no FIN before the answer. It ends when nc has seen a second of silence.
        with connect(10080) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = read_all(client)
        promise(answer.startswith("Response from 8080: "), f"the client got {answer!r}")


@check
def the_documented_one_shot_server_answers_every_client_over_inherited_sockets(machine):
    machine.serve(WEB, {"simple-web-server-for-testing-purposes": 10080})
    one_shot_answers(machine)


@check
def the_documented_one_shot_server_answers_every_client_without_a_socket_unit(machine):
    machine.serve(HEAD + WEB, {})
    one_shot_answers(machine)


@check
def the_documented_pool_of_two_serves_from_both_and_stops_both(machine):
    home = "/usr/share/sleepingd/example"
    os.makedirs(home, exist_ok=True)
    with open(f"{home}/startserver", "w") as file:
        file.write(STARTSERVER.format(scratch=SCRATCH, fifo=machine.reports.path))
    os.chmod(f"{home}/startserver", 0o755)
    try:
        machine.serve(HEAD + DOCKER, {"nodeapp-in-docker-containers": 20080})
        answers = [ask(20080) for _ in range(4)]
        names = [re.match(r"\w+", answer).group() for answer in answers]
        promise(names == ["node1", "node2"] * 2, f"the clients were served by {names}")
        machine.reports.wait("^status$")
        machine.reports.wait("^stop$")
        machine.journal.wait("asleep", SLEEPINGD_SERVICE="Nodeapp in docker containers")
        for number in (1, 2):
            run("systemctl", "is-active", "--quiet", f"sleepingnode{number}", ok=(3, 4))
        promise(ask(20080).startswith("node1 "), "it does not wake again")
    finally:
        systemctl("stop", "sleepingnode1", "sleepingnode2", ok=None)


# Stands for ssh: says who is logged in, if it is asked for that, and ends with the status it is told.
SSH = """#!/bin/sh
for last; do :; done
[ "$last" = who ] || exit 9
printf '%s' "$LOGGED_IN"
exit "$SSH_STATUS"
"""


def idle_command(file):
    """The IDLE_CMD of an example, without its quotes."""
    with open(file) as text:
        line = next(line for line in text if line.startswith("IDLE_CMD="))
    return shlex.split(line)[0].partition("=")[2]


@check
def the_virtual_machine_of_the_examples_is_idle_only_if_ssh_says_that_nobody_is_there(machine):
    directory = f"{SCRATCH}/ssh"
    os.makedirs(directory, exist_ok=True)
    with open(f"{directory}/ssh", "w") as file:
        file.write(SSH)
    os.chmod(f"{directory}/ssh", 0o755)
    for file in ("examples/virtual-machine.conf", "examples/machine.conf", "README.md"):
        command = idle_command(f"{PROJECT}/{file}")
        for logged_in, status, idle in (
            ("", 0, True),
            ("alice pts/0\n", 0, False),
            ("", 255, False),
            ("alice pts/0\n", 255, False),
        ):
            done = run(
                "env", f"PATH={directory}:{os.environ['PATH']}", f"LOGGED_IN={logged_in}",
                f"SSH_STATUS={status}", "bash", "-c", command, ok=None,
            )
            promise(
                (done.returncode == 0) == idle,
                f"{file}: with {logged_in!r} and ssh's status {status} it exits with "
                f"{done.returncode}: {done.stderr}",
            )
