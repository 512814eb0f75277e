"""Leases: whose machine is there, and the release, as a real dnsmasq takes it in namespaces of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from namespaces import namespaces

from components.custom import free_addresses
from components.libvirt import lease_release, leases, network_xml
from components.libvirt.leases import Lease

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
NETWORK = network_xml.read_network(
    "<network><name>lab</name><bridge name='virbr7'/><mac address='52:54:00:07:07:07'/><ip address='10.9.1.1' prefix='24'><dhcp>"
    "<range start='10.9.1.2' end='10.9.1.99'/></dhcp></ip></network>"
)
DOMAIN = (
    "<domain type='kvm'><name>theirs</name><devices><interface type='network'><mac address='{}'/></interface></devices></domain>"
)
RUNS = "52:54:00:00:00:01"
STORED = "52:54:00:00:00:02"
NOBODYS = "52:54:00:00:00:03"


class Domain:
    """A domain whose running and stored definitions have different NICs, as after a change by hand."""

    def name(self) -> str:
        return "theirs"

    def XMLDesc(self, flags: int) -> str:  # noqa: N802 - libvirt's own name
        return DOMAIN.format((STORED if flags else RUNS).upper())


HOST = SimpleNamespace(listAllDomains=lambda _flags: [Domain()])


@pytest.fixture
def segment(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """here: whether the network's bridge is on this machine; there: who answers; probed: for whom."""
    segment: dict[str, Any] = {"here": True, "there": {}, "probed": []}

    def neighbours(addresses: list[IPv4Address]) -> dict[IPv4Address, str]:
        segment["probed"] += addresses
        return {address: mac for address, mac in segment["there"].items() if address in addresses}

    pytest.importorskip("libvirt")
    monkeypatch.setattr(free_addresses, "neighbours", neighbours)
    monkeypatch.setattr(
        free_addresses, "has", lambda bridge, mac, ip: segment["here"] and (bridge, mac) == (NETWORK.bridge, NETWORK.mac)
    )
    return segment


def lease(mac: str, number: int, name: str = "") -> Lease:
    return Lease(mac=mac, address=f"10.9.1.{number}", name=name)


def test_a_machine_that_a_domain_is_or_that_answers_is_there(segment: dict[str, Any]) -> None:
    held = [lease(RUNS, 5), lease(STORED, 6), lease(NOBODYS, 7), lease("52:54:00:00:00:04", 8)]
    segment["there"] = {IPv4Address("10.9.1.7"): "02:00:00:00:00:77"}
    standings = leases.standings(HOST, NETWORK, held, project="p")
    assert [standing.alive for standing in standings] == [True, True, True, False]
    assert (
        "'theirs'" in standings[0].evidence
        and "'theirs'" in standings[1].evidence
        and "02:00:00:00:00:77 answers" in standings[2].evidence
    )
    assert segment["probed"] == [IPv4Address("10.9.1.7"), IPv4Address("10.9.1.8")], "who has a domain is not probed"


def test_where_nobody_can_be_probed_only_machines_of_the_project_count_as_deleted(segment: dict[str, Any]) -> None:
    segment["here"] = False
    held = [lease(NOBODYS, 7, "p-dev-server-1"), lease(NOBODYS, 8, "phone"), lease(NOBODYS, 9), lease(RUNS, 5, "p-dev-server-2")]
    held.append(lease(NOBODYS, 10, "k3s-macvlan-image"))
    standings = leases.standings(HOST, NETWORK, held, project="p")
    assert [standing.alive for standing in standings] == [False, True, True, True, False]
    assert "cannot be asked from here" in standings[1].evidence and segment["probed"] == []


def test_without_a_lease_nothing_is_probed(segment: dict[str, Any]) -> None:
    assert leases.standings(None, NETWORK, [], project="p") == []


@pytest.mark.parametrize(
    ("bridge", "mac", "address", "here"),
    [
        ("virbr7", "52:54:00:07:07:07", "10.9.1.1", True),
        ("virbr7", "52:54:00:07:07:08", "10.9.1.1", False),  # another host's network of the same name
        ("virbr7", "52:54:00:07:07:07", "10.9.2.1", False),
        ("virbr8", "52:54:00:07:07:07", "10.9.1.1", False),
    ],
)
def test_the_bridge_is_known_by_its_mac_address(
    monkeypatch: pytest.MonkeyPatch, bridge: str, mac: str, address: str, here: bool
) -> None:
    link = {
        "ifname": bridge,
        "address": mac,
        "addr_info": [{"family": "inet6", "local": "::1"}, {"family": "inet", "local": address}],
    }
    monkeypatch.setattr(free_addresses, "_ip", lambda *words: [link] if words[-1] == bridge else [])
    assert leases.on_bridge(NETWORK) == here


def test_a_network_without_bridge_is_on_no_machine() -> None:
    assert not leases.on_bridge(network_xml.read_network("<network><name>x</name></network>"))


def test_a_release_is_a_dhcp_message_with_address_mac_and_client() -> None:
    message = lease_release.message(
        Lease(mac="52:54:00:c4:27:51", address="192.168.122.180", client="ff:56:50:4d"), "192.168.122.1"
    )
    assert message[:3] == bytes([1, 1, 6])
    assert socket.inet_ntoa(message[12:16]) == "192.168.122.180"
    assert message[28:34].hex(":") == "52:54:00:c4:27:51"
    assert message[236:240].hex() == "63825363"
    assert message[240:] == bytes([53, 1, 7, 54, 4, 192, 168, 122, 1, 61, 4, 0xFF, 0x56, 0x50, 0x4D, 255])


class Server:
    """A network whose server takes a release at the `deaf`-th time, as one that is just being restarted."""

    def __init__(self, *held: Lease, deaf: int = 0) -> None:
        self.held, self.deaf, self.heard = list(held), deaf, 0

    def DHCPLeases(self) -> list[dict[str, Any]]:  # noqa: N802 - libvirt's own name
        return [
            {"mac": lease_held.mac, "ipaddr": lease_held.address, "hostname": lease_held.name, "expirytime": 9}
            for lease_held in self.held
        ]

    def release(self, lease: Lease, **_where: str) -> None:
        self.heard += 1
        if self.heard > self.deaf:
            self.held = [lease_held for lease_held in self.held if lease_held.mac != lease.mac]


def test_a_release_that_was_lost_is_sent_again(
    segment: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    one = lease(NOBODYS, 7, "gone")
    server = Server(one, lease(RUNS, 5), deaf=2)
    monkeypatch.setattr(lease_release, "release", server.release)
    assert lease_release.end(server, NETWORK, [one]) == []
    assert [lease_held.mac for lease_held in server.held] == [RUNS]
    assert "the lease of 10.9.1.7 of gone (52:54:00:00:00:03) is ended" in capfd.readouterr().out


def test_what_cannot_be_ended_is_returned(segment: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    one = lease(NOBODYS, 7)
    server = Server(one, deaf=1000)
    monkeypatch.setattr(lease_release, "release", server.release)
    monkeypatch.setattr(lease_release, "END_SECONDS", 0.2)
    assert lease_release.end(server, NETWORK, [one]) == [one] and server.heard > 0
    segment["here"], server.heard = False, 0
    assert lease_release.end(server, NETWORK, [one]) == [one] and server.heard == 0, "nothing is sent from another machine"


def test_ours_are_given_back_unless_they_run(
    segment: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    server = Server(lease(NOBODYS, 7, "ours"), lease(RUNS, 5, "runs"), lease("52:54:00:00:00:09", 9, "phone"))
    monkeypatch.setattr(lease_release, "release", server.release)
    lease_release.give_back(HOST, server, NETWORK, [NOBODYS.upper(), RUNS])
    assert [lease_held.name for lease_held in server.held] == ["runs", "phone"]
    segment["here"] = False
    server = Server(lease(NOBODYS, 7, "ours"))
    lease_release.give_back(HOST, server, NETWORK, [NOBODYS])
    output = capfd.readouterr().out
    assert "stands until" in output and f"dhcp_release virbr7 10.9.1.7 {NOBODYS}" in output


# --- a real server

HERE, THERE = (f"dhcptest-{os.getpid()}-{name}" for name in ("here", "there"))
"""Names of network namespaces. They belong to this process, because other runs of the tests on the machine make theirs."""
RELEASE = """
import sys
from components.libvirt.lease_release import release
from components.libvirt.leases import Lease
release(Lease(mac=sys.argv[1], address=sys.argv[2], client=sys.argv[3]), server="10.9.1.1", bridge="virbr7")
"""


@pytest.fixture
def served(tmp_path: Path, own_namespaces: None) -> Iterator[Path]:
    """dnsmasq as libvirt starts it, on a bridge in one namespace, a NIC of that bridge in another. Its lease file."""
    program = shutil.which("dnsmasq", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if os.geteuid() != 0 or not shutil.which("ip") or program is None:
        pytest.skip("SKIPPED: needs root, iproute2 for network namespaces, and dnsmasq")

    commands = (
        f"-n {HERE} link set lo up",
        f"-n {HERE} link add virbr7 address 52:54:00:07:07:07 type bridge",
        f"-n {HERE} address add 10.9.1.1/24 dev virbr7",
        f"-n {HERE} link add port0 type veth peer name nic0 netns {THERE}",
        f"-n {HERE} link set port0 master virbr7 up",
        f"-n {HERE} link set virbr7 up",
        f"-n {THERE} link set nic0 up",
    )
    leased = tmp_path / "leases"
    hosts = tmp_path / "hosts"
    hosts.write_text("52:54:00:00:00:0a,10.9.1.180,node\n")
    (tmp_path / "conf").write_text(
        "strict-order\nexcept-interface=lo\nbind-dynamic\ninterface=virbr7\ndhcp-no-override\ndhcp-authoritative\nport=0\n"
        f"dhcp-range=10.9.1.2,10.9.1.99,255.255.255.0\ndhcp-hostsfile={hosts}\ndhcp-leasefile={leased}\nno-ping\n"
        f"log-facility={tmp_path / 'log'}\n"
    )
    command = ["ip", "netns", "exec", HERE, program]
    command += ["--keep-in-foreground", f"--conf-file={tmp_path / 'conf'}", "--pid-file", "--user=root"]
    with namespaces((HERE, THERE), commands):
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            until(leased.exists)
            yield leased
        finally:
            server.terminate()
            server.wait()


def until(true: Any) -> None:
    end = time.monotonic() + 10
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    assert true()


def inside(name: str, *words: str) -> str:
    done = subprocess.run(
        ["ip", "netns", "exec", name, sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def machine(mac: str, name: str, client: str = "") -> str:
    return inside(THERE, "tests/dhcp.py", "nic0", mac, name, client)


@pytest.mark.parametrize("client", ["", "ff:00:11:22:33"])
def test_dnsmasq_ends_the_lease_that_is_released_and_no_other(served: Path, client: str) -> None:
    released, stays = "52:54:00:00:00:0b", "52:54:00:00:00:0c"
    address, other = machine(released, "gone", client), machine(stays, "stays")
    assert address and other and address in served.read_text() and other in served.read_text()
    inside(HERE, "-c", RELEASE, stays, address, "")  # by a MAC address that has not got it
    time.sleep(0.3)
    assert address in served.read_text()
    inside(HERE, "-c", RELEASE, released, address, client)
    until(lambda: address not in served.read_text())
    assert other in served.read_text()


def test_dnsmasq_gives_a_reserved_address_only_when_its_lease_is_ended(served: Path) -> None:
    """Why a lease of a deleted machine blocks a node, and an address outside of the ranges can be released all the same."""
    reserved, released = "52:54:00:00:00:0a", "52:54:00:00:00:0d"
    hosts, log = served.parent / "hosts", served.parent / "log"
    server = subprocess.run(
        ["pgrep", "-f", f"conf-file={served.parent / 'conf'}"], capture_output=True, text=True, check=True
    ).stdout.split()

    def is_reserved_for(mac: str) -> None:
        hosts.write_text(f"{mac},10.9.1.180,node\n")
        already = log.read_text().count(f"read {hosts}")
        subprocess.run(["kill", "-HUP", *server], check=True)
        until(lambda: log.read_text().count(f"read {hosts}") > already)

    is_reserved_for(released)
    assert machine(released, "gone") == "10.9.1.180"
    is_reserved_for(reserved)
    assert machine(reserved, "node") != "10.9.1.180"
    inside(HERE, "-c", RELEASE, released, "10.9.1.180", "")
    until(lambda: released not in served.read_text())
    assert machine(reserved, "node") == "10.9.1.180"
