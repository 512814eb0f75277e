"""No script is silent while it waits."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from .fake_node import ALL, BIN_DIR, CONF_DIR, CURL, INSTALLER, SCRIPTS, VERSION, Node, archive, stripped

pytestmark = pytest.mark.unit


NETWORK = {"SETTING": "podNetworks.iot", "MAC": "52:54:00:00:00:01", "TYPE": "ipvlan", "MODE": "l2"}

# Each script that waits, with a stand-in that blocks it, and its limit so that it says something at least once before.
BLOCKED = {
    "node-ready": ({}, {"cloud-init": '[ "$2" != --wait ] || exec sleep 60'}),
    "k3s-install": ({"INSTALL_URL": "http://x/"}, {"curl": "exec sleep 14"}),
    "k3s-install, no API": ({"INSTALL_URL": "file://INSTALLER"}, {}),
    "k3s-install, another runs": ({}, {"flock": "exec sleep 12"}),
    "k3s-node-ready": ({"NODE_NAME": "n"}, {}),
    "k3s-kubeconfig": ({}, {}),
    "plugins-install": ({"ARCHIVE_URL": "http://x/a", "ARCHIVE_SHA256": "0" * 64, "PLUGINS": "macvlan"}, {"curl": "exec sleep 14"}),
    "plugins-install, no directory": ({"ARCHIVE_URL": "file://ARCHIVE", "ARCHIVE_SHA256": "SUM", "PLUGINS": "macvlan"}, {}),
    "multus-gate": ({}, {}),
    "image-pull": ({"IMAGES": "a/b:1", "PULL_SECONDS": "5"}, {}),
    "node-leave": ({"NODE_NAME": "agent-1", "DRAIN_SECONDS": "1"}, {"k3s": "exec sleep 12"}),
    "node-sync": ({}, {"sync": "exec sleep 12"}),
    "disk-grow": ({}, {"findmnt": "echo /dev/vda1 ext4", "resize2fs": "exec sleep 12"}),
    "artifacts, another runs": ({"DIGEST": "0123456789"}, {"flock": "sleep 10; exit 1"}),
    "network-check, another runs": (
        NETWORK,
        # Without `ip`: the real one would remove a namespace that other tests have made.
        {"flock": "[ -e $STUB/waited ] && exit 0; touch $STUB/waited; sleep 10; exit 1", "ip": "exit 1", "modprobe": "exit 0"},
    ),
    "network-check, silent gateway": (
        {**NETWORK, "GATEWAY": "10.0.0.1"},
        # nic.py is given the MAC address, address_probe.py the interface.
        {"python3": "[ $3 != nic0 ] || exec sleep 1; echo nic0 $3 1500", "ip": "[ $1 = netns ] || echo nic0", "modprobe": "exit 0"},
    ),
    "vlan-link, pods": ({"ACTION": "off", "PARENT": "enp1s0", "VLAN": "50"}, {"python3": "echo home/printer"}),
    "dhcp-daemon, pods": ({"ACTION": "off"}, {"python3": "echo home/printer"}),
    "dhcp-daemon": ({"ACTION": "on", "BIN_DIR": "/opt/cni/bin"}, {"systemctl": "[ $1 != restart ] || exec sleep 12"}),
}  # fmt: skip


def blocked(path: Path, name: str) -> subprocess.Popen[str]:
    """The script begun, with what blocks it."""
    path.mkdir()
    node = Node(path)
    env, stand_ins = BLOCKED[name]
    node.command("curl", CURL)
    for program, body in stand_ins.items():
        node.command(program, f"#!/bin/bash\n{body}\n")
    url, digest = archive(path / "a.tgz")
    node.file("sys/class/block/vda1/size", "1")
    for unit in ("vlan-enp1s0.50", "dhcp"):
        node.file(f"etc/systemd/system/k3s-macvlan-{unit}.service", "")
    node.file("opt/cni/bin/dhcp", "", 0o755)
    (node.root / "var/lib/rancher/k3s/server/db/etcd").mkdir(parents=True)
    (path / "installer").write_text(INSTALLER)
    places = {"file://ARCHIVE": url, "SUM": digest, "INSTALLER": str(path / "installer")}
    env = {key: places.get(value, value.replace("INSTALLER", places["INSTALLER"])) for key, value in env.items()}
    (path / "stdin").write_text("{}")
    env["INSTALL_ENV"] = json.dumps({"FAKE_ROOT": str(node.root)})
    limits = {"LIMIT_SECONDS": "12", "SERVICE_LIMIT": "12", "ROLE": "server", "K3S_VERSION": VERSION, "INSTALL_URL": "file:///"}
    directories = {"BIN_DIR": BIN_DIR, "CONF_DIR": CONF_DIR}
    return subprocess.Popen(
        ["bash", "-c", stripped(SCRIPTS / f"{name.partition(',')[0]}.sh")],
        env=node.environment(limits | directories | env),
        stdin=(path / "stdin").open(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def waited(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each said; all of them wait at the same time."""
    base = tmp_path_factory.mktemp("blocked")
    running = {name: blocked(base / str(number), name) for number, name in enumerate(BLOCKED)}
    return {name: process.communicate(timeout=80)[1] for name, process in running.items()}


@pytest.mark.parametrize("name", BLOCKED)
def test_a_script_that_waits_says_so(waited: dict[str, str], name: str) -> None:
    """A run of twelve seconds has said once at least how long it has been waiting, and for what."""
    assert re.search(r"(?m)^[a-z0-9-]+( [a-z0-9-]+)?: .+, \d+ s$", waited[name]), waited[name]


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
def test_nothing_blocks_for_long_in_silence(path: Path) -> None:
    """In a script whose stages do not speak by themselves, each command that may block has a limit of 15 s, or runs in parallel."""
    text = stripped(path)
    if "stage() {" in text:
        assert "trap stage EXIT" in text
        return
    for line in text.splitlines():
        for limit in re.findall(r"\btimeout (?:--\S+ )*(\S+)|flock --wait (\S+)|--max-time[\", ]+(\d+)", line):
            seconds = "".join(limit).strip('"')
            assert line.endswith("&") or (seconds.isdigit() and int(seconds) <= 15), line
