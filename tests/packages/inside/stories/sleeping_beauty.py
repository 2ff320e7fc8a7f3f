"""sleeping-beauty's package, and ours after it."""

import os

from harness import DAEMON, connect, promise, read_all, show
from stories.shared import (
    CONFIG, PACKAGES, apt, installed_version, no_unit_has_failed, package, read, write,
)


def from_sleeping_beauty(run):
    """Its package gives way to ours, and its configuration stays in force."""
    seen = {}

    def upgraded(old, edit="", remove=False):
        apt("install", package(old))
        promise(installed_version() == "1.0-beta0", installed_version())
        if edit:
            write(CONFIG, read(CONFIG) + edit)
        before = read(CONFIG)
        if remove:
            apt("remove", "sleepingd")
        apt("install", package("new"))
        promise(installed_version().startswith("2.0.0"), installed_version())
        promise(read(CONFIG) == before, "its configuration was changed")
        beside = sorted(os.listdir("/etc/sleepingd"))
        promise(beside == ["sleepingd.conf"], f"there are {beside}")
        promise(show(DAEMON, "ActiveState") == "active", "the daemon does not run")
        no_unit_has_failed()
        # No FIN before the answer, as a browser: its nc may end at one with nothing said.
        with connect(10080) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = read_all(client)
        promise(answer.startswith("Response from 8080: "), f"the client got {answer!r}")

    def removed():
        apt("purge", "sleepingd")
        promise(not os.path.exists("/etc/sleepingd"), "there is a directory left")

    def its_configuration_is_kept_where_nobody_has_edited_it():
        upgraded("old")
        seen["example"] = os.access("/usr/share/sleepingd/example/startserver", os.X_OK)
        removed()

    def its_configuration_is_kept_where_somebody_has_edited_it():
        upgraded("old", "# mine\n")
        promise(read(CONFIG).endswith("# mine\n"), "the edit is gone")

    def a_later_upgrade_keeps_it_too():
        before = read(CONFIG)
        apt("install", package("newer"))
        promise(read(CONFIG) == before, "its configuration was changed")
        removed()

    def its_configuration_is_kept_where_dpkg_did_not_know_it_for_one():
        upgraded("old-without-conffiles")
        removed()

    def its_configuration_is_kept_where_it_alone_was_left():
        upgraded("old", remove=True)
        removed()

    def the_script_that_it_calls_is_there_if_the_project_has_it():
        promise(
            seen["example"] or not os.path.exists(f"{PACKAGES}/with-startserver"),
            "/usr/share/sleepingd/example/startserver cannot be run",
        )

    return [
        its_configuration_is_kept_where_nobody_has_edited_it,
        its_configuration_is_kept_where_somebody_has_edited_it,
        a_later_upgrade_keeps_it_too,
        its_configuration_is_kept_where_dpkg_did_not_know_it_for_one,
        its_configuration_is_kept_where_it_alone_was_left,
        the_script_that_it_calls_is_there_if_the_project_has_it,
    ]
