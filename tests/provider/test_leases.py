"""Leases of a real network: ended with the machine, taken over from one that was deleted, respected while one is there."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.checks import hypervisor
from components.custom import free_addresses
from components.libvirt import dhcp_claim, lease_release, leases, network
from components.libvirt.connection import HypervisorError
from components.libvirt.dhcp_claim import DhcpClaimProvider
from components.libvirt.reservation import ReservationProvider

from .faults import MODES, attempt
from .resource_inputs import claim_inputs, reservation_inputs
from .sandbox import BYSTANDER_XML, NETWORK, Sandbox

pytestmark = [pytest.mark.provider, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
BRIDGE = "virbr-labtest"
OURS = "52:54:00:ab:00:01"
BYSTANDER = "52:54:00:99:99:99"
DELETED = "52:54:00:77:77:01"


class Machine:
    """A NIC of the network's bridge in a network namespace, which is no domain and requests addresses."""

    def __init__(self, pid: int, sandbox: Sandbox) -> None:
        self.pid, self.sandbox = pid, sandbox

    def run(self, *words: str) -> str:
        done = subprocess.run(
            ["nsenter", "--target", str(self.pid), "--net", *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout.strip()

    def lease(self, mac: str, name: str, wanted: str = "", client: str = "") -> str:
        """The address, once libvirt knows of it: a helper reports it, a moment later."""
        address = self.run(sys.executable, "tests/dhcp.py", "nic0", mac, name, client, wanted)
        end = time.monotonic() + 10
        while address and held(self.sandbox).get(mac) != address:
            assert time.monotonic() < end
            time.sleep(0.05)
        return address

    def answers_at(self, address: str) -> None:
        self.run("ip", "address", "add", f"{address}/24", "dev", "nic0")


@pytest.fixture
def machine(sandbox: Sandbox) -> Iterator[Machine]:
    """On a network whose leases of earlier tests are ended."""
    sleeper = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 3600"], stdout=subprocess.PIPE)
    assert sleeper.stdout is not None
    sleeper.stdout.readline()
    try:
        for words in (
            f"link add lab-port type veth peer name nic0 netns {sleeper.pid}",
            f"link set lab-port master {BRIDGE} up",
        ):
            subprocess.run(["ip", *words.split()], check=True)
        here = Machine(sleeper.pid, sandbox)
        here.run("ip", "link", "set", "nic0", "up")
        until_it_forwards()
        with sandbox.libvirt() as conn:
            live = conn.networkLookupByName(NETWORK)
            assert not lease_release.end(live, facts(live), leases.leases(live))
        yield here
        with sandbox.libvirt() as conn:
            live = conn.networkLookupByName(NETWORK)
            lease_release.end(live, facts(live), leases.leases(live))
    finally:
        subprocess.run(["ip", "link", "delete", "lab-port"], check=False)
        sleeper.kill()
        sleeper.wait()


def until_it_forwards() -> None:
    """A NIC that has just come up is not seen by the bridge at once."""
    end = time.monotonic() + 40
    while "state forwarding" not in (
        state := subprocess.run(["ip", "-details", "link", "show", "lab-port"], capture_output=True, text=True, check=True).stdout
    ):
        assert time.monotonic() < end, state
        time.sleep(0.1)


def facts(live: Any) -> Any:
    return next(layer.facts for layer in network.layers(live) if layer.name == "live")


def held(sandbox: Sandbox) -> dict[str, str]:
    """Address by MAC address of the network's leases."""
    with sandbox.libvirt() as conn:
        return {lease.mac: lease.address for lease in leases.leases(conn.networkLookupByName(NETWORK))}


def test_the_bridge_is_here_and_another_one_s_is_not(sandbox: Sandbox) -> None:
    with sandbox.libvirt() as conn:
        live = facts(conn.networkLookupByName(NETWORK))
    assert re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", live.mac) and live.bridge == BRIDGE
    assert leases.on_bridge(live)


@pytest.mark.parametrize("client", ["", "ff:00:00:00:01"])
def test_a_machine_s_lease_ends_with_its_reservation(
    sandbox: Sandbox, machine: Machine, client: str, capfd: pytest.CaptureFixture[str]
) -> None:
    outs = dict(ReservationProvider().create(reservation_inputs(sandbox)).outs or {})
    assert machine.lease(OURS, "node-a", client=client) == outs["ip"]
    other = machine.lease(DELETED, "phone")
    assert held(sandbox) == {OURS: outs["ip"], DELETED: other}
    ReservationProvider().delete("id", outs)
    assert held(sandbox) == {DELETED: other}
    assert f"the lease of {outs['ip']} of node-a ({OURS}) is ended" in capfd.readouterr().out


def test_the_lease_of_a_machine_that_runs_stays(sandbox: Sandbox, machine: Machine) -> None:
    outs = dict(ReservationProvider().create(reservation_inputs(sandbox)).outs or {})
    machine.lease(OURS, "node-a")
    with sandbox.libvirt() as conn:
        domain = conn.createXML(BYSTANDER_XML.replace("bystander", "runs").replace(BYSTANDER, OURS))
    try:
        ReservationProvider().delete("id", outs)
        assert OURS in held(sandbox)
    finally:
        domain.destroy()


def test_the_claim_s_end_ends_what_a_cut_off_run_left(sandbox: Sandbox, pool: dict[str, Any], machine: Machine) -> None:
    state = DhcpClaimProvider().create(claim_inputs(sandbox))
    ReservationProvider().create(reservation_inputs(sandbox))  # in no state
    machine.lease(OURS, "node-a")
    DhcpClaimProvider().delete(state.id, dict(state.outs or {}))
    assert held(sandbox) == {}


def test_the_lease_of_a_deleted_machine_is_taken_over_and_reported(
    sandbox: Sandbox, pool: dict[str, Any], machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    """As after `destroy` of another stack that was killed, in the same ranges (measured.md 39)."""
    assert machine.lease(DELETED, "other-dev-server-1", "192.168.150.21") == "192.168.150.21"
    DhcpClaimProvider().create(claim_inputs(sandbox))
    output = capfd.readouterr().out
    assert "192.168.150.21 of other-dev-server-1" in output and "nobody answers at it" in output and "is ended" in output
    assert held(sandbox) == {}
    ReservationProvider().create(reservation_inputs(sandbox))
    assert machine.lease(OURS, "node-a") == "192.168.150.21", "and the node gets its address"


def test_all_that_are_there_are_named_and_nothing_is_changed(sandbox: Sandbox, pool: dict[str, Any], machine: Machine) -> None:
    """A phone, a machine of somebody else that is switched off, one that was deleted, and a reservation."""
    assert machine.lease("52:54:00:77:77:02", "phone", "192.168.150.200")
    machine.answers_at("192.168.150.200")
    assert machine.lease("52:54:00:77:77:03", "off", "192.168.150.22")
    assert machine.lease(DELETED, "gone", "192.168.150.23")
    with sandbox.libvirt() as conn:
        conn.defineXML(BYSTANDER_XML.replace("bystander", "off").replace(BYSTANDER, "52:54:00:77:77:03"))
    before, leased = sandbox.snapshot(), held(sandbox)
    with pytest.raises(HypervisorError) as error:
        DhcpClaimProvider().create(claim_inputs(sandbox, ranges=["192.168.150.20-192.168.150.250"]))
    message = str(error.value)
    assert "192.168.150.200 of phone (52:54:00:77:77:02)" in message and "answers at this address" in message
    assert "192.168.150.22 of off" in message and "domain 'lab-test-off' has its MAC address" in message
    assert "192.168.150.240 of bystander" in message and "virsh net-update lab-test delete ip-dhcp-host" in message
    assert "192.168.150.23" not in message
    assert sandbox.snapshot() == before and held(sandbox) == leased


def test_elsewhere_a_lease_of_a_deleted_machine_stops_the_node_that_needs_its_address_and_no_other(
    sandbox: Sandbox, pool: dict[str, Any], machine: Machine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As on a host behind SSH, where the bridge is not on this machine."""
    assert machine.lease(DELETED, "lab-test-other-server-1", "192.168.150.21")
    assert machine.lease("52:54:00:77:77:02", "phone", "192.168.150.60")
    monkeypatch.setattr(free_addresses, "has", lambda *_: False)
    with pytest.raises(HypervisorError, match="cannot be asked from here"):
        DhcpClaimProvider().create(claim_inputs(sandbox, ranges=["192.168.150.60"]))
    DhcpClaimProvider().create(claim_inputs(sandbox))
    output = capfd.readouterr().out
    assert "192.168.150.21 of lab-test-other-server-1" in output and "cannot be ended from here" in output
    before = sandbox.snapshot()
    with pytest.raises(HypervisorError, match=rf"dhcp_release {BRIDGE} 192\.168\.150\.21 {DELETED}"):
        ReservationProvider().create(reservation_inputs(sandbox))
    assert sandbox.snapshot() == before
    outs = ReservationProvider().create(reservation_inputs(sandbox, ip="192.168.150.22")).outs or {}
    machine.lease(OURS, "node-a")
    capfd.readouterr()
    ReservationProvider().delete("id", dict(outs))
    assert "stands until" in (output := capfd.readouterr().out) and f"dhcp_release {BRIDGE} 192.168.150.22 {OURS}" in output


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "lost"])
def test_a_fault_at_any_call_of_a_removal_is_put_right_by_the_next(
    sandbox: Sandbox, machine: Machine, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_release, "END_SECONDS", 1.0)
    before, at, hit = sandbox.snapshot(), 0, True
    while hit:
        at += 1
        outs = dict(ReservationProvider().create(reservation_inputs(sandbox)).outs or {})
        assert machine.lease(OURS, "node-a")
        hit = attempt(lambda outs=outs: ReservationProvider().delete("id", outs), at, mode)  # type: ignore[misc]
        with contextlib.suppress(HypervisorError):
            ReservationProvider().delete("id", outs)
        assert sandbox.snapshot() == before and held(sandbox) == {}, f"after a fault at call {at}"
    assert at > 4


@pytest.mark.parametrize("mode", ["error", "killed"])
def test_a_fault_at_any_call_of_a_claim_is_put_right_by_the_next(
    sandbox: Sandbox, pool: dict[str, Any], machine: Machine, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a machine that was deleted in its ranges: its lease ends, or stands as it did."""
    claim = claim_inputs(sandbox, ranges=["192.168.150.21"])
    at, hit = 0, True
    while hit:
        at += 1
        assert machine.lease(DELETED, "gone", "192.168.150.21")
        with monkeypatch.context() as patch:
            # Each live change of a range restarts dnsmasq, 2 s here, and to probe takes 4 s.
            patch.setattr(dhcp_claim, "set_ranges", lambda *_: None)
            patch.setattr(free_addresses, "neighbours", lambda _addresses: {})
            hit = attempt(lambda: DhcpClaimProvider().create(dict(claim)), at, mode)
            assert held(sandbox).get(DELETED) in {None, "192.168.150.21"}
            state = DhcpClaimProvider().create(dict(claim))
            assert held(sandbox) == {}, f"after a fault at call {at}"
            DhcpClaimProvider().delete(state.id, dict(state.outs or {}))
    assert at > 8


def test_doctor_and_up_agree(sandbox: Sandbox, machine: Machine) -> None:
    """What `up` takes over is no error of doctor's."""
    from components.config import plan as plans  # noqa: PLC0415
    from components.config import reading  # noqa: PLC0415

    config = reading.parse(
        "dev",
        {
            "network": {
                "name": NETWORK,
                "cidr": "192.168.150.0/24",
                "gateway": "192.168.150.1",
                "nodes": "192.168.150.20-192.168.150.29",
            },
            "podNetworks": {"macvlan-conf": {"range": "192.168.150.40-192.168.150.49"}},
        },
    )
    layout = plans.make("k3s-macvlan", "dev", config)
    machine.lease(DELETED, "gone", str(layout.nodes[0].address))
    with sandbox.libvirt() as conn:
        observed = hypervisor.observe(conn, layout.pools[0], layout, config)
    assert [lease.mac for lease in observed.stale_leases] == [DELETED]
    assert hypervisor.assess_addresses(observed, layout, config).level == "ok"
    machine.answers_at(observed.stale_leases[0].address)
    with sandbox.libvirt() as conn:
        observed = hypervisor.observe(conn, layout.pools[0], layout, config)
    assert observed.stale_leases == [] and hypervisor.assess_addresses(observed, layout, config).level == "error"
