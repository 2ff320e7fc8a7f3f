"""Sockets: who owns them, what they start, and those that nobody claims."""

import os
import re
import struct
import socket

from checks import check
from harness import (
    DAEMON, UNIT_STARTED, UNIT_SUCCESS, ask, connect, fate_of_a_client, main_pid, port, promise, read_all, run,
    show, systemctl,
)


def socket_inodes(pid):
    """The inodes of all sockets that a process has open."""
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            link = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            continue
        if inode := re.fullmatch(r"socket:\[(\d+)\]", link):
            found.add(inode.group(1))
    return found


def listener_inode(number):
    """The inode of the socket that listens on this port."""
    for line in run("ss", "-ltneH", f"sport = :{number}").stdout.splitlines():
        return re.search(r"\bino:(\d+)", line).group(1)
    return None


@check
def systemd_is_process_1(machine):
    with open("/proc/1/comm") as comm:
        name = comm.read().strip()
    promise(name == "systemd", f"process 1 is {name}")


@check
def enable_now_starts_the_daemon_on_sockets_that_systemd_owns(machine):
    listen, back = port(), port()
    machine.serve(machine.section("web", mode="target", at=back), {"web": listen})
    for unit in (*machine.sockets, DAEMON):
        promise(show(unit, "ActiveState") == "active", f"{unit} is {show(unit, 'ActiveState')}")
        promise(systemctl("is-enabled", unit).stdout.strip() == "enabled", f"{unit} is not enabled")
    inode = listener_inode(listen)
    promise(inode in socket_inodes(1), f"process 1 does not hold the socket of port {listen}")
    promise(inode in socket_inodes(main_pid()), "the daemon did not get the socket")
    promise(machine.starts("web") == 0, "the backend was woken with no client")


@check
def a_client_starts_the_daemon_through_the_socket_alone(machine):
    listen, back = port(), port()
    machine.write(machine.section("web", mode="target", at=back))
    machine.listen({"web": listen})
    systemctl("start", *machine.sockets)
    promise(main_pid() == 0, "the daemon runs before anybody came")
    promise(ask(listen).startswith("web "), "the client was not served by the backend")


@check
def a_socket_is_matched_by_its_name_whatever_the_order(machine):
    ports = {name: port() for name in ("zebra", "ape", "my-web-server")}
    text = machine.section("ape", mode="target", at=port())
    text += machine.section("zebra", mode="target", at=port())
    # The third is found by the slug of its section's name.
    text += machine.section("third", mode="target", at=port()).replace("[third]", "[My Web Server!]")
    machine.serve(text, ports)
    for name, answer in (("zebra", "zebra"), ("ape", "ape"), ("my-web-server", "third")):
        got = ask(ports[name])
        promise(got.startswith(f"{answer} "), f"the socket {name} answered {got!r}")


@check
def a_socket_that_no_section_claims_is_named_and_resets_whoever_connects(machine):
    listen, stray, back = port(), port(), port()
    machine.serve(machine.section("web", mode="target", at=back), {"web": listen, "stray": stray})
    machine.journal.wait(r"\bstray\b", _SYSTEMD_UNIT=DAEMON)
    end = fate_of_a_client(stray)
    promise(end == "reset", f"the client of the stray socket saw {end!r}, not a reset")
    promise(ask(listen).startswith("web "), "the claimed socket is not served")


@check
def a_reset_of_the_client_reaches_the_backend_side_and_harms_nobody_else(machine):
    listen, back = port(), port()
    machine.serve(machine.section("web", mode="target", at=back), {"web": listen})
    with connect(listen) as steady:
        steady.sendall(b"one\n")
        promise(steady.recv(100).startswith(b"web "), "the first client is not served")
        with connect(listen) as rude:
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            rude.sendall(b"x\n")
        steady.sendall(b"two\n")
        steady.shutdown(socket.SHUT_WR)
        promise(read_all(steady).endswith(" two\n"), "another client's reset broke this one")
