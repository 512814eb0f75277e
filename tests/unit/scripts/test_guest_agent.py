"""guest-agent.sh."""

import subprocess

import pytest

from .fake_node import Node
from .test_packages import FAMILIES, INSTALLS, of

pytestmark = pytest.mark.unit

CHANNEL = "dev/virtio-ports/org.qemu.guest_agent.0"
# What is installed: a program in the directory of the stand-ins.
MANAGER = r"""#!/bin/bash
echo "${0##*/} $*" >> "$STUB/installed"
[[ ! -e $STUB/busy ]] || { rm "$STUB/busy"; echo "Could not get lock /var/lib/dpkg/lock"; exit 100; }
[[ ! -e $STUB/unreachable ]] || { echo "Could not resolve mirror"; exit 100; }
[[ $* == *update ]] || { printf '#!/bin/sh\n' > "${0%/*}/qemu-ga"; chmod 755 "${0%/*}/qemu-ga"; }
"""


@pytest.fixture
def agent(node: Node) -> Node:
    of(node, "debian-12")
    node.file(CHANNEL, "")
    for name in ("apt-get", "dnf", "zypper", "pacman"):
        node.command(name, MANAGER)
    return node


def install(node: Node, **env: str) -> subprocess.CompletedProcess[str]:
    # A program of this machine's must not be found.
    path = node.bin / "only"
    path.mkdir(exist_ok=True)
    for name in ("bash", "env", "timeout", "tail", "sleep", "cat", "date", "uname", "grep", "chmod", "rm"):
        link = path / name
        if not link.exists():
            link.symlink_to(f"/usr/bin/{name}")
    script = {"OFFLINE": "false", "LIMIT_SECONDS": "30", "PATH": f"{node.bin}:{path}"} | env
    return node.run("guest-agent", **script)


def calls(node: Node) -> list[str]:
    return (node.stub / "systemctl.log").read_text().splitlines()


@pytest.mark.parametrize("release", FAMILIES)
def test_it_is_installed_once_and_started(agent: Node, release: str) -> None:
    of(agent, release)
    done = install(agent)
    assert (done.returncode, done.stdout) == (0, "agent=running\n"), done.stderr
    wanted = [line.replace(" p", " qemu-guest-agent") for line in INSTALLS[FAMILIES[release]]]
    assert (agent.stub / "installed").read_text().splitlines() == wanted
    assert calls(agent) == ["enable --quiet qemu-guest-agent.service", "start qemu-guest-agent.service"]
    assert install(agent).stdout == "agent=running\n"
    assert (agent.stub / "installed").read_text().splitlines() == wanted, "what is there is not installed again"


def test_a_machine_without_the_channel_waits_for_its_next_start(agent: Node) -> None:
    (agent.root / CHANNEL).unlink()
    done = install(agent)
    assert (done.returncode, done.stdout) == (0, "agent=waiting\n") and "when it is started next" in done.stderr
    assert calls(agent) == ["enable --quiet qemu-guest-agent.service"]


def test_without_access_to_a_repository(agent: Node) -> None:
    done = install(agent, OFFLINE="true")
    assert done.returncode == 1 and "this image has no qemu-guest-agent, and with artifacts" in done.stderr
    assert not (agent.stub / "installed").exists()
    agent.command("qemu-ga", "#!/bin/sh\n")
    assert install(agent, OFFLINE="true").stdout == "agent=running\n"


def test_a_package_manager_that_is_busy_is_tried_again(agent: Node) -> None:
    (agent.stub / "busy").touch()
    assert install(agent).stdout == "agent=running\n"


def test_a_repository_that_is_not_reached(agent: Node) -> None:
    (agent.stub / "unreachable").touch()
    done = install(agent, LIMIT_SECONDS="1")
    assert done.returncode == 1 and "Could not resolve mirror" in done.stderr
    assert "cannot install qemu-guest-agent within 1 s: give the node a mirror" in done.stderr


def test_a_unit_that_does_not_start(agent: Node) -> None:
    agent.command("qemu-ga", "#!/bin/sh\n")
    agent.command("systemctl", '#!/bin/sh\n[ "$1" != start ]\n')
    (agent.stub / "journal").write_text("qemu-ga: permission denied\n")
    done = install(agent)
    assert done.returncode == 1 and "permission denied" in done.stderr and "systemd would not start" in done.stderr
