"""The last row of the README's table: the shutdown of the machine, which is this machine's own."""

from checks import at_the_end
from checks.ready_made import UNIT
from harness import BACKEND, DAEMON, SCRATCH, UNITS, ask, port, systemctl, witness


@at_the_end(
    "at_power_off_stop_cmd_finds_its_backend_alive",
    "at_power_off_a_unit_that_systemd_would_leave_is_stopped",
    "at_power_off_a_connection_to_that_unit_finishes",
    "at_power_off_an_open_connection_finishes_before_stop_cmd_runs",
    "at_power_off_a_command_is_told_to_end",
    "at_power_off_a_connection_to_a_command_finishes",
    "at_power_off_the_ports_are_closed",
)
def leave_awake(machine, directory):
    """What has been woken in each way, and a client that the shutdown does not end."""
    listen, other, own, backs = port(), port(), port(), (port(), port(), port())
    web = machine.section("web", mode="target", at=backs[0], PORT=listen)
    proof = f"{directory}/at_power_off_stop_cmd_finds_its_backend_alive"
    web = web.replace('STOP_CMD="', f'STOP_CMD="kill -0 $(cat {SCRATCH}/web.pid) && touch {proof}; ')
    # By then nobody reads the reports, and writing one would wait for ever.
    web = web.replace(f"> {machine.reports.path}", "> /dev/null")
    with open(f"{UNITS}/{UNIT}", "w") as file:
        file.write(
            # Most units systemd stops by itself, which would show nothing of the daemon.
            f"[Unit]\nDefaultDependencies=no\n"
            f"[Service]\nType=exec\nExecStart={BACKEND} {backs[1]} unit\n"
            f"ExecStop=/bin/touch {directory}/at_power_off_a_unit_that_systemd_would_leave_is_stopped\n"
        )
    told = f"touch {directory}/at_power_off_a_command_is_told_to_end"
    machine.write(
        web + f"[unit]\nPORT={other}\nUNIT={UNIT}\nTARGET=127.0.0.1:{backs[1]}\n"
        f"[own]\nPORT={own}\nTARGET=127.0.0.1:{backs[2]}\n"
        f"COMMAND=\"trap '{told}; exit' TERM; {BACKEND} {backs[2]} own & wait\"\n"
    )
    systemctl("daemon-reload")
    systemctl("enable", "--now", DAEMON)
    ask(other)
    witness(
        directory, f"{listen}=at_power_off_an_open_connection_finishes_before_stop_cmd_runs",
        f"{other}=at_power_off_a_connection_to_that_unit_finishes",
        f"{own}=at_power_off_a_connection_to_a_command_finishes",
        f"--while={SCRATCH}/web.pid", "--closed=at_power_off_the_ports_are_closed",
    )
