"""CONTAINER in the last row of the README's table: the shutdown of the machine."""

import os

from checks import at_the_end
from checks.engine import Container, ENGINES, Engine, prepare
from harness import DAEMON, UNITS, ask, port, systemctl, witness


@at_the_end(
    *(f"at_power_off_a_{name}_container_is_stopped_before_its_engine" for name in ENGINES),
    *(f"at_power_off_a_connection_to_a_{name}_container_finishes" for name in ENGINES),
    "at_power_off_the_ports_of_containers_are_closed",
)
def leave_awake(machine, directory):
    text, ends, words = "", [], []
    for name in ENGINES:
        engine, listen = Engine(name), port()
        prepare(engine)
        container = Container(engine)
        text += container.section(name, listen)
        words.append(f"{listen}=at_power_off_a_connection_to_a_{name}_container_finishes")
        # Run when the daemon has ended and whatever comes after it has not: an engine that answers
        # then was there for STOP, and a container that had been killed would have left its file.
        ends.append(
            f"ExecStopPost=/bin/sh -c '[ \"$({name} container inspect --format "
            f"{{{{.State.Running}}}} {container.name})\" = false ] && ! [ -e {container.proof}/pid ]"
            f" && touch {directory}/at_power_off_a_{name}_container_is_stopped_before_its_engine'\n"
        )
    os.makedirs(f"{UNITS}/{DAEMON}.d", exist_ok=True)
    with open(f"{UNITS}/{DAEMON}.d/end.conf", "w") as file:
        file.write("[Service]\n" + "".join(ends))
    machine.write(text)
    systemctl("daemon-reload")
    systemctl("enable", "--now", DAEMON)
    for word in words:
        ask(int(word.partition("=")[0]))
    witness(directory, *words, "--closed=at_power_off_the_ports_of_containers_are_closed")
