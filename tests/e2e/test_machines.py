"""Machines with more than one NIC and one disk: added to a node that runs, kept through a rebuild, and the cluster through destroy.

Only in the closed test network, because the second network is a bridge that the story makes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builds import Build
from conftest import Checkout
from host import host_state, virsh
from kubectl import kubectl
from test_networks import networks
from vlan_segment import Segment, segment

pytestmark = [pytest.mark.e2e, pytest.mark.nodes, pytest.mark.chapters, pytest.mark.once]

BRIDGE, VLAN = "labsecond0", 50
RANCHER = {"size": 8, "keep": True}
UNTAGGED = {"range": "192.168.122.200-192.168.122.210"}
TAGGED = {
    "parent": "enp2s0",
    "vlan": VLAN,
    "cidr": "192.168.50.0/24",
    "gateway": "192.168.50.1",
    "range": "192.168.50.100-192.168.50.109",
}


@pytest.fixture(scope="module")
def before(build: Build, checkout: Checkout) -> dict[str, Any]:
    """The host before the story, without disks that a killed run of it has kept. build: skips where there is nothing to tell it
    on."""
    if os.environ.get("LAB_E2E_STACK") == "testnet" and not os.environ.get("LAB_E2E_CHECKOUT"):
        shutil.rmtree(directory(checkout), ignore_errors=True)
    return host_state()


@pytest.fixture(scope="module")
def neighbour(before: dict[str, Any]) -> Iterator[Segment]:
    """The router of the VLAN on a bridge that is no libvirt network's."""
    if os.environ.get("LAB_E2E_STACK") != "testnet":
        pytest.skip("SKIPPED: makes a bridge, so only in the closed test network (LAB_E2E_STACK=testnet)")
    subprocess.run(["ip", "link", "delete", BRIDGE], check=False, capture_output=True)
    subprocess.run(["ip", "link", "add", "name", BRIDGE, "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "link", "set", BRIDGE, "up"], check=True)
        with segment(BRIDGE, VLAN) as found:
            yield found
    finally:
        subprocess.run(["ip", "link", "delete", BRIDGE], check=True)


def boot(checkout: Checkout) -> str:
    return checkout.node("cat /proc/sys/kernel/random/boot_id").strip()


def page(checkout: Checkout, network: str) -> str:
    """Address of the pod's page on a network."""
    return str(next(each["address"] for each in checkout.outputs()["pages"] if each["network"] == network))


def served(neighbour: Segment, address: str) -> None:
    deadline = time.monotonic() + 60
    while "Welcome to nginx!" not in (text := neighbour.page(address)):
        assert time.monotonic() < deadline, text
        time.sleep(2)


def directory(checkout: Checkout) -> Path:
    """Of the stack's pool."""
    return Path("/var/lib/libvirt/images", f"k3s-macvlan-{checkout.stack}")


def volumes(checkout: Checkout) -> set[str]:
    """Names of the volumes in the directory of the stack's pool, also when the pool is deleted."""
    return {path.name for path in directory(checkout).glob("*")}


def test_k3s_has_its_data_on_a_disk_of_their_own(checkout: Checkout, neighbour: Segment) -> None:
    checkout.set("servers", disks={"rancher": RANCHER})
    checkout.set("k3s", dataDisk="rancher")
    checkout.lab("-y", "up")
    assert "/var/lib/rancher" in checkout.node("findmnt --noheadings --output TARGET,SOURCE /var/lib/rancher")
    assert checkout.preview() == ({}, [])
    kubectl(checkout, "create configmap kept --from-literal=since=before")


def test_a_nic_with_a_network_and_a_disk_are_added_while_the_node_runs(checkout: Checkout, neighbour: Segment) -> None:
    was = boot(checkout)
    checkout.set("servers", nics=[{"bridge": BRIDGE}], disks={"rancher": RANCHER, "data": {"size": 1, "mount": "/srv/data"}})
    networks(checkout, macvlan_conf=UNTAGGED, second=TAGGED)
    planned, _ = checkout.preview()
    assert not {"server-1-disk", "server-1-seed", "server-1-k3s-install"} & planned.keys(), planned
    checkout.lab("-y", "up")
    assert boot(checkout) == was
    served(neighbour, page(checkout, "second"))
    assert "inet " not in checkout.node("ip -4 -oneline address show dev enp2s0")
    checkout.node("echo written > /srv/data/file && sync /srv/data/file")
    assert checkout.preview() == ({}, [])


@pytest.mark.observes
def test_refresh_finds_no_drift(checkout: Checkout, neighbour: Segment) -> None:
    checkout.lab("-y", "refresh")
    assert checkout.preview() == ({}, [])


@pytest.mark.observes
def test_status_shows_what_the_machine_has(checkout: Checkout, neighbour: Segment) -> None:
    text = checkout.lab("status")
    for word in ("enp2s0", BRIDGE, "/srv/data", "/var/lib/rancher"):
        assert word in text, word


def test_a_disk_grows_while_the_node_runs(checkout: Checkout, neighbour: Segment) -> None:
    was = boot(checkout)
    checkout.set("servers", disks={"rancher": RANCHER, "data": {"size": 2, "mount": "/srv/data"}})
    checkout.lab("-y", "up")
    assert boot(checkout) == was
    assert int(checkout.node("df --output=size --block-size=M /srv/data | tail -n 1").strip().rstrip("M")) > 1800
    assert checkout.node("cat /srv/data/file").strip() == "written"
    checkout.set("servers", disks={"rancher": RANCHER, "data": {"size": 1, "mount": "/srv/data"}})
    assert "cannot shrink" in " ".join(checkout.lab("-y", "up", ok=False).split())
    checkout.set("servers", disks={"rancher": RANCHER, "data": {"size": 2, "mount": "/srv/data"}})


def test_a_rebuilt_node_finds_its_disks_and_its_cluster(checkout: Checkout, neighbour: Segment) -> None:
    was, uid = boot(checkout), kubectl(checkout, "get node server-1 -o jsonpath='{.metadata.uid}'")
    checkout.node("touch /etc/of-the-former-machine")
    checkout.lab("-y", "up", "--replace", "**::server-1-disk", limit=2400)
    assert boot(checkout) != was and checkout.node("ls /etc/of-the-former-machine 2>&1 || echo none").endswith("none\n")
    assert checkout.node("cat /srv/data/file").strip() == "written"
    assert kubectl(checkout, "get configmap kept -o jsonpath='{.data.since}'") == "before"
    assert kubectl(checkout, "get node server-1 -o jsonpath='{.metadata.uid}'") == uid
    served(neighbour, page(checkout, "second"))
    assert checkout.preview() == ({}, [])


def test_a_nic_and_a_disk_are_taken_away_while_the_node_runs(checkout: Checkout, neighbour: Segment) -> None:
    was, domain = boot(checkout), checkout.outputs()["nodes"][0]["domain"]
    assert any("data" in name for name in volumes(checkout))
    checkout.set("servers", nics=[], disks={"rancher": RANCHER})
    networks(checkout, macvlan_conf=UNTAGGED)
    checkout.lab("-y", "up")
    assert boot(checkout) == was
    assert BRIDGE not in virsh("dumpxml", domain)
    assert not any("-data" in name for name in volumes(checkout)), volumes(checkout)
    assert checkout.node("ip -brief link show; findmnt --list").count("/srv/data") == 0
    assert checkout.preview() == ({}, [])


def test_destroy_keeps_the_disk_and_the_next_up_finds_the_cluster(checkout: Checkout, before: dict[str, Any]) -> None:
    said = " ".join(checkout.lab("-y", "destroy").split())
    assert "stays with its data" in said
    assert any("rancher" in name for name in volumes(checkout))
    assert host_state() == before
    again = " ".join(checkout.lab("-y", "up", limit=2400).split())
    assert "is used again" in again
    # With another agents' token than its data have K3s starts once, and never again.
    checkout.node("timeout 100 systemctl restart k3s || true")
    deadline = time.monotonic() + 600
    while (state := checkout.node("systemctl is-active k3s || true").strip()) != "active":
        assert time.monotonic() < deadline, state
        time.sleep(5)
    assert kubectl(checkout, "get configmap kept -o jsonpath='{.data.since}'") == "before"
    assert checkout.preview() == ({}, [])


def test_destroy_leaves_nothing(checkout: Checkout, before: dict[str, Any]) -> None:
    checkout.set("servers", disks={"rancher": {**RANCHER, "keep": False}})
    checkout.lab("-y", "up")
    checkout.lab("-y", "destroy")
    assert host_state() == before
    assert volumes(checkout) == set()
