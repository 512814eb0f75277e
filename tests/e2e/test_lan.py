"""A real LAN: a node on a bridge that libvirt did not make, on a hypervisor behind SSH, and then a second on another hypervisor,
from empty hosts to empty hosts.

Only in the closed test network, because they make a bridge there.
"""

from __future__ import annotations

import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import bridge_lan
import pytest
import ssh_hypervisor
from conftest import BUILDS, ROOT, Checkout, copy_of_the_checkout, use_the_registry_s_multus
from host import virsh
from kubectl import kubectl
from ssh_hypervisor import SecondHost

pytestmark = [pytest.mark.e2e, pytest.mark.nodes, pytest.mark.chapters]

STACK = "lan"
UNMANAGED, UNMANAGED_MAC = "10.77.0.203", "02:00:00:77:00:03"


def host(lan: bridge_lan.Lan) -> dict[str, Any]:
    """What could be ours, and what must not be touched."""
    return {
        "domains": [name for name in virsh("list", "--all", "--name").split() if name.startswith(f"k3s-macvlan-{STACK}-")],
        "pools": [name for name in virsh("pool-list", "--all", "--name").split() if name == f"k3s-macvlan-{STACK}"],
        "network": virsh("net-dumpxml", "--inactive", "default"),
        "live": virsh("net-dumpxml", "default"),
        "ports": [name for name in lan.ports() if name != lan.port],
        "files": [name for name in os.listdir("/var/lib/libvirt/images") if name == f"k3s-macvlan-{STACK}"],  # noqa: PTH208
    }


@pytest.fixture(scope="module")
def lan() -> Iterator[bridge_lan.Lan]:
    if os.environ.get("LAB_E2E_STACK") != "testnet":
        pytest.skip("SKIPPED: makes a bridge and runs an sshd, so only in the closed test network (LAB_E2E_STACK=testnet)")
    if ssh_hypervisor.SSHD is None:
        pytest.skip(f"SKIPPED: {ssh_hypervisor.NO_SSHD}")
    with bridge_lan.lan() as made:
        yield made


@pytest.fixture(scope="module")
def before(lan: bridge_lan.Lan) -> dict[str, Any]:
    return host(lan)


@pytest.fixture(scope="module")
def second(lan: bridge_lan.Lan) -> Iterator[SecondHost]:
    with ssh_hypervisor.second_host(ROOT / ".lab" / "e2e-lan-second", lan) as made:
        yield made


@pytest.fixture(scope="module")
def checkout(lan: bridge_lan.Lan, before: dict[str, Any], second: SecondHost) -> Iterator[Checkout]:
    """A copy of what git tracks, with a stack on the LAN."""
    path = ROOT / ".lab" / "e2e-lan"
    with ssh_hypervisor.this_host(ROOT / ".lab" / "e2e-lan-ssh") as hypervisor:
        if path.exists():  # a run that was killed; its sshd had another port
            old = Checkout(path, STACK)
            old.set("hypervisors", local={"uri": hypervisor.uri}, second={"uri": second.uri})
            old.lab("-y", "destroy")
            shutil.rmtree(path)
        copy_of_the_checkout(path)
        build = next(candidate for candidate in BUILDS if not candidate.missing)
        use_the_registry_s_multus(path, build.stack)
        (path / f"Pulumi.{build.stack}.yaml").rename(path / f"Pulumi.{STACK}.yaml")
        made = Checkout(path, STACK)
        made.set("hypervisors", local={"uri": hypervisor.uri})
        made.set(
            "network",
            kind="bridge",
            name=lan.name,
            cidr=lan.cidr,
            gateway=lan.gateway,
            dns=[lan.gateway],
            nodes="10.77.0.20-10.77.0.29",
        )
        made.network(range="10.77.0.200-10.77.0.210")
        yield made
        made.lab("-y", "destroy")
        shutil.rmtree(path)


def page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def test_up_stops_at_an_unmanaged_machine_before_anything_is_made(
    checkout: Checkout, lan: bridge_lan.Lan, before: dict[str, Any]
) -> None:
    with lan.unmanaged_machine(UNMANAGED, UNMANAGED_MAC):
        said = checkout.lab("-y", "up", ok=False)
        assert f"{UNMANAGED} ({UNMANAGED_MAC})" in said
        assert "other machines of 10.77.0.0/24 answer at addresses that this stack wants for itself" in said
        # The unmanaged machine's port is the one thing that is new.
        assert host(lan) == {**before, "ports": ["unmanaged0"]}


def test_up_serves_the_page_on_the_lan(checkout: Checkout, lan: bridge_lan.Lan, before: dict[str, Any]) -> None:
    said = checkout.lab("-y", "up")
    # libvirt's own fork in the process of a dynamic provider broke connections, and each wrote a line.
    assert "fork_posix" not in said, said
    outputs = checkout.outputs()
    assert IPv4Address("10.77.0.200") <= IPv4Address(outputs["address"]) <= IPv4Address("10.77.0.210")
    assert outputs["proof"]["title"] == "Welcome to nginx!"
    assert "Welcome to nginx!" in page(outputs["url"])
    now = host(lan)
    assert {key: now[key] for key in ("network", "live")} == {key: before[key] for key in ("network", "live")}
    assert len(now["ports"]) == 1


def test_the_node_has_its_address_by_cloud_init_alone(checkout: Checkout, lan: bridge_lan.Lan) -> None:
    assert checkout.outputs()["nodes"][0]["address"] == "10.77.0.20"
    addresses = json.loads(checkout.node("ip -json -4 address show enp1s0"))[0]["addr_info"]
    assert [(entry["local"], entry["prefixlen"], entry.get("dynamic", False)) for entry in addresses] == [("10.77.0.20", 24, False)]
    assert f"via {lan.gateway} dev enp1s0" in checkout.node("ip route show default")
    assert lan.gateway in checkout.node("cat /etc/resolv.conf; resolvectl dns 2> /dev/null || true")
    # The probe of the first boot: nobody has this address.
    assert "lan=free" in checkout.node("cat /var/log/cloud-init-output.log")


def test_second_run_changes_nothing(checkout: Checkout) -> None:
    assert checkout.preview() == ({}, [])
    checkout.lab("-y", "up", "--expect-no-changes")


def test_refresh_finds_no_drift(checkout: Checkout) -> None:
    checkout.lab("-y", "refresh", "--expect-no-changes")


def test_another_way_to_the_same_host_rebuilds_nothing(checkout: Checkout) -> None:
    """The user's own parameters of the connection are in the URI, and that is in everything libvirt has."""
    file = checkout.path / f"Pulumi.{checkout.stack}.yaml"
    old = file.read_text()
    file.write_text(old.replace("/system?", "/system?no_tty=1&"))
    steps, unknowns = checkout.preview()
    assert steps == dict.fromkeys(["local-pool", "local-image", "server-1-disk", "server-1-seed", "server-1-domain"], "update"), (
        steps
    )
    assert unknowns == []
    checkout.lab("-y", "up")
    assert checkout.preview() == ({}, [])
    assert "Welcome to nginx!" in page(checkout.outputs()["url"])


def test_an_agent_on_another_hypervisor_joins_by_the_lan(checkout: Checkout, lan: bridge_lan.Lan, second: SecondHost) -> None:
    first = checkout.outputs()["nodes"][0]
    machine = checkout.node("cat /var/lib/cloud/data/instance-id")
    checkout.set("hypervisors", second={"uri": second.uri})
    checkout.set("agents", count=1, memory=2048, hypervisor="second")
    checkout.network(addressesPerNode=5)
    checkout.set("workload", perNode=True)
    checkout.lab("-y", "up", limit=2400)
    outputs = checkout.outputs()
    assert outputs["nodes"][0] == first
    assert checkout.node("cat /var/lib/cloud/data/instance-id") == machine
    ready = kubectl(checkout, "get nodes --no-headers")
    assert len(ready.splitlines()) == 2 and " NotReady" not in ready, ready
    assert second.virsh("list", "--name").split() == [outputs["nodes"][1]["domain"]]
    assert second.virsh("net-list", "--all", "--name").split() == []
    pages = {entry["node"]: entry for entry in outputs["pages"]}
    assert set(pages) == {"server-1", "agent-1"}
    for entry in pages.values():
        assert "Welcome to nginx!" in page(entry["url"])
    assert len({entry["address"] for entry in pages.values()}) == len({entry["mac"] for entry in pages.values()}) == 2
    # From one host's node to the other host's pod, over the LAN.
    assert "Welcome to nginx!" in checkout.node(f"curl --silent --max-time 20 {pages['agent-1']['url']}")
    assert checkout.preview() == ({}, [])


def test_destroy_leaves_nothing_on_either_host(
    checkout: Checkout, lan: bridge_lan.Lan, before: dict[str, Any], second: SecondHost
) -> None:
    checkout.lab("-y", "destroy")
    assert host(lan) == before
    for words in (("list", "--all", "--name"), ("pool-list", "--all", "--name")):
        assert second.virsh(*words).split() == []
    assert second.files() == []
