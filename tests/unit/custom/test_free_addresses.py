"""Whether addresses of a LAN are free: what the kernel's table of neighbours says, and a real segment in namespaces of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from namespaces import namespaces
from pulumi.output import UNKNOWN

from components.custom import free_addresses
from components.custom.free_addresses import AddressInUseError, FreeAddressesProvider, assess

pytestmark = pytest.mark.unit

ONE, TWO = IPv4Address("10.9.0.7"), IPv4Address("10.9.0.8")
MAC = "02:00:00:00:00:07"
INPUTS: dict[str, Any] = {"cidr": "10.9.0.0/24", "ranges": ["10.9.0.5-10.9.0.9", "10.9.0.20"], "macs": ["52:54:00:00:00:01"]}


def entry(state: str, mac: str = MAC, confirmed: int = 0, address: IPv4Address = ONE) -> dict[str, Any]:
    return {"dst": str(address), "state": [state], "confirmed": confirmed, **({"lladdr": mac} if mac else {})}


@pytest.mark.parametrize(
    ("entries", "before", "elapsed", "heard", "silent"),
    [
        ([entry("REACHABLE")], False, 0.5, True, False),
        ([entry("INCOMPLETE", "")], False, 0.5, False, False),
        ([entry("FAILED", "")], False, 3.5, False, True),
        # Known of old: it may have left, until it is confirmed again.
        ([entry("REACHABLE", confirmed=3)], True, 0.5, False, False),
        ([entry("STALE", confirmed=90)], True, 1.0, False, False),
        ([entry("PROBE", confirmed=95)], True, 6.0, False, False),
        ([entry("REACHABLE", confirmed=0)], True, 6.0, True, False),
        ([entry("FAILED", confirmed=99)], True, 9.0, False, True),
        # Written by hand, answered by nobody.
        ([entry("PERMANENT")], True, 0.5, False, True),
        ([], False, 0.5, False, False),
        ([], False, 6.0, False, True),
        ([entry("REACHABLE", address=TWO)], False, 0.5, False, False),
    ],
)
def test_an_entry_counts_once_it_is_confirmed(
    entries: list[dict[str, Any]], before: bool, elapsed: float, heard: bool, silent: bool
) -> None:
    result = assess(entries, {ONE}, {ONE} if before else set(), elapsed)
    assert result == ({ONE: MAC} if heard else {}, {ONE} if silent else set())


@pytest.fixture
def segment(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is on the LAN: own addresses, and who answers; and what was probed."""
    segment: dict[str, Any] = {"own": [IPv4Address("10.9.0.1")], "there": {}, "probed": []}

    def answer(addresses: list[IPv4Address]) -> dict[IPv4Address, str]:
        segment["probed"] += addresses
        return {address: mac for address, mac in segment["there"].items() if address in addresses}

    monkeypatch.setattr(free_addresses, "interfaces", lambda: segment["own"])
    monkeypatch.setattr(free_addresses, "neighbours", answer)
    return segment


def test_all_unmanaged_machines_are_named_at_once(segment: dict[str, Any]) -> None:
    segment["there"] = {TWO: MAC, IPv4Address("10.9.0.20"): "02:00:00:00:00:14", IPv4Address("10.9.0.30"): MAC}
    with pytest.raises(
        AddressInUseError, match=r"10\.9\.0\.8 \(02:00:00:00:00:07\), 10\.9\.0\.20 \(02:00:00:00:00:14\)\. Find them"
    ):
        FreeAddressesProvider().create(dict(INPUTS))


def test_own_machines_may_answer_and_this_one_may_not(segment: dict[str, Any]) -> None:
    segment["there"] = {ONE: "52:54:00:00:00:01"}
    result = FreeAddressesProvider().create(dict(INPUTS))
    assert (result.outs or {})["seen"] == "nobody answered at 6 of 6 addresses, asked from this machine"
    segment["own"].append(TWO)
    with pytest.raises(AddressInUseError, match=r"10\.9\.0\.8 \(this machine itself\)"):
        FreeAddressesProvider().create(dict(INPUTS))


def test_a_machine_that_is_no_neighbour_says_so_and_probes_nobody(segment: dict[str, Any]) -> None:
    segment["own"] = [IPv4Address("192.168.1.5")]
    segment["there"] = {ONE: MAC}
    result = FreeAddressesProvider().create(dict(INPUTS))
    assert "this machine has no address in 10.9.0.0/24" in (result.outs or {})["seen"]
    assert segment["probed"] == []


def test_an_update_probes_what_is_new_alone(segment: dict[str, Any]) -> None:
    """The stack's own pods are at the others by now."""
    provider = FreeAddressesProvider()
    old = dict(provider.create(dict(INPUTS)).outs or {})
    segment["there"], segment["probed"] = {ONE: MAC}, []
    provider.update("id", old, {**INPUTS, "macs": ["52:54:00:00:00:02"]})
    assert segment["probed"] == []
    provider.update("id", old, {**INPUTS, "ranges": ["10.9.0.5-10.9.0.11"]})
    assert segment["probed"] == [IPv4Address("10.9.0.10"), IPv4Address("10.9.0.11")]
    with pytest.raises(AddressInUseError):
        provider.update("id", {**old, "cidr": "10.9.0.0/16"}, dict(INPUTS))


def test_no_more_is_probed_than_the_kernel_can_keep(segment: dict[str, Any]) -> None:
    inputs = {"cidr": "10.9.0.0/16", "ranges": ["10.9.16.0-10.9.31.255"], "macs": []}
    result = FreeAddressesProvider().create(inputs)
    assert (result.outs or {})["seen"] == "nobody answered at 1024 of 4096 addresses, asked from this machine"
    assert len(set(segment["probed"])) == 1024


def test_check_diff_and_read_are_pure() -> None:
    provider = FreeAddressesProvider()
    assert [failure.property for failure in provider.check({}, {**INPUTS, "ranges": ["10.9.0.9-10.9.0.5"]}).failures] == ["ranges"]
    assert not provider.check({}, {**INPUTS, "ranges": UNKNOWN}).failures
    change = provider.diff("id", dict(INPUTS), {**INPUTS, "cidr": "10.9.0.0/16"})
    assert (change.changes, change.replaces) == (True, [])
    state = {**INPUTS, "seen": "x"}
    result = provider.read("id", dict(state))
    assert (result.id, result.outs, result.inputs) == ("id", state, INPUTS)


# --- a real segment

NAMES = tuple(f"lantest-{os.getpid()}-{name}" for name in ("here", "there"))
SCRIPT = """
import json, sys
from ipaddress import IPv4Address
from components.custom import free_addresses as lan
lan.LIMIT = 20.0
found = lan.neighbours([IPv4Address(each) for each in sys.argv[1:]])
print(json.dumps([[str(each) for each in lan.interfaces()], {str(address): mac for address, mac in found.items()}]))
"""


@pytest.fixture
def wire(own_namespaces: None) -> Iterator[None]:
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("SKIPPED: needs root and iproute2 for network namespaces")

    here, there = NAMES
    commands = (
        f"-n {here} link add name nic0 type veth peer name port0 address {MAC} netns {there}",
        f"-n {here} address add 10.9.0.1/24 dev nic0",
        f"-n {here} link set nic0 up",
        f"-n {there} address add {ONE}/24 dev port0",
        f"-n {there} link set port0 up",
    )
    with namespaces(NAMES, commands):
        yield


def queried(*addresses: IPv4Address) -> tuple[list[str], dict[str, str]]:
    done = subprocess.run(
        ["ip", "netns", "exec", NAMES[0], sys.executable, "-c", SCRIPT, *map(str, addresses)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    own, heard = json.loads(done.stdout.splitlines()[-1])
    return own, heard


def test_the_one_that_is_there_is_heard_and_nobody_else(wire: None) -> None:
    assert queried(IPv4Address("10.9.0.6"), ONE, TWO) == (["10.9.0.1"], {str(ONE): MAC})


def test_one_that_has_left_does_not_count(wire: None) -> None:
    """The kernel still knows it; it is probed again."""
    ip = ["ip", "-n", NAMES[0], "neighbour", "replace", str(TWO), "lladdr", MAC, "dev", "nic0", "nud", "stale"]
    subprocess.run(ip, check=True)
    assert queried(TWO)[1] == {}
