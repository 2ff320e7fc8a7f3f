"""The files of sleeping-beauty's documentation, unchanged."""

import os
import re

from checks import check
from harness import (
    SCRATCH, ask, connect, port, promise, read_all, run, systemctl,
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
