"""Addresses that the network's DHCP server does not hand out while the stack exists."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from pulumi import Input, ResourceOptions
from pulumi.dynamic import CreateResult, ReadResult, Resource, UpdateResult

from components.config.addresses import AddressRange, intersect, parse_all, subtract
from components.custom.provider import DeclarativeProvider, Props, old_first, properties, unreadable
from components.custom.reporting import say
from components.libvirt import dhcp_range, network_xml, volume_store
from components.libvirt.claim_record import Record, read_record, slots, write_record
from components.libvirt.connection import HypervisorError, connect, find
from components.libvirt.dhcp_range import DhcpRange
from components.libvirt.lease_release import end
from components.libvirt.leases import leases, standings
from components.libvirt.network import Layer, drop_hosts, end_leases, layers, network_named, project_of, set_ranges


@dataclass(frozen=True, kw_only=True)
class DhcpClaimArgs:
    """Inputs of `DhcpClaim`."""

    uri: Input[str]
    """libvirt's connection URI of the hypervisor, as qemu:///system."""
    network: Input[str]
    """Name of the libvirt network."""
    ranges: Input[Sequence[Input[str]]]
    """Addresses to take out of its DHCP ranges, each "first-last" or a single address."""
    macs: Input[Sequence[Input[str]]]
    """MAC addresses of the stack's own machines, whose leases and reservations are no obstacle."""
    owner: Input[str]
    """"project/stack"."""
    pool: Input[str]
    """Name of the stack's storage pool, which keeps the record."""
    record: Input[str]
    """Name of the volume in which a change is written down before it is made."""


class DhcpClaimProvider(DeclarativeProvider):
    replaces = ("uri", "network", "pool", "record")
    updates = ("ranges", "macs")
    keeps = ("owner",)
    outputs = ("taken",)

    def validate(self, olds: Props, news: Props) -> list[tuple[str, str]]:
        return unreadable(news)

    def create(self, props: Props) -> CreateResult:
        inputs = self.known(props)
        with connect(inputs["uri"]) as connection:
            pool = volume_store.pool_named(connection, inputs["pool"], fresh=True)
            fresh = read_record(connection, pool, inputs["record"]) is None
            try:
                record = _take(connection, inputs, {})
            except BaseException:
                if fresh:
                    with contextlib.suppress(Exception):
                        _give_back(connection, inputs)
                raise
        return CreateResult(f"{inputs['uri']}#{inputs['network']}/dhcp/{inputs['record']}", {**inputs, "taken": record})

    def read(self, id_: str, props: Props) -> ReadResult:
        state = self.known(props)
        with connect(state["uri"]) as connection:
            network = find(connection.networkLookupByName, state["network"])
            if network is None:
                return ReadResult("", {})
            handed_out = [dhcp_range for layer in layers(network) for dhcp_range in layer.facts.ranges]
        state["ranges"] = [text for text in state["ranges"] if not intersect(handed_out, [AddressRange.parse(text)])]
        return self.read_result(id_, state)

    def update(self, _id: str, _olds: Props, _news: Props) -> UpdateResult:
        inputs = self.known(_news)
        with connect(inputs["uri"]) as connection:
            record = _take(connection, inputs, _olds.get("taken") or {})
        return UpdateResult({**inputs, "taken": record})

    def delete(self, _id: str, _props: Props) -> None:
        state = self.known(_props)
        with connect(state["uri"]) as connection:
            _give_back(connection, state, reservations=True)


def _entry(record: Record, layer: str) -> tuple[list[DhcpRange], list[DhcpRange]]:
    """(original, removed) that a record holds for a layer; a layer it does not know was never changed."""
    entry = (record.get("layers") or {}).get(layer) or {}
    return dhcp_range.parse_all(entry.get("original") or []), dhcp_range.parse_all(entry.get("removed") or [])


def _take(connection: Any, inputs: Props, known: Record) -> Record:
    """Make the network's ranges lack the claims, whatever an earlier run has done or left half done.

    Order: the record says what *may* be missing from the network, before it is; after the change, what is. So a run that is
    killed anywhere can be repeated or taken back. `known`: what the state says, should the record be lost. A machine that was
    deleted leaves its lease behind until it ends, so the record also keeps the MACs of former machines.
    """
    network = network_named(connection, inputs["network"])
    claims = parse_all(inputs["ranges"])
    pool = volume_store.pool_named(connection, inputs["pool"], fresh=True)
    before = read_record(connection, pool, inputs["record"]) or known
    macs = {str(mac).lower() for mac in (*inputs["macs"], *(before.get("macs") or ()))}
    definitions = layers(network)
    _clear(connection, network, definitions, macs, inputs)

    during, after = RecordBuilder(inputs["network"], macs), RecordBuilder(inputs["network"], macs)
    wanted: dict[str, list[DhcpRange]] = {}
    for layer in definitions:
        whole = _whole(before, layer)
        wanted[layer.name] = subtract(whole, claims)
        during.note(layer, whole, removed=whole)
        after.note(layer, whole, removed=intersect(whole, claims))
    if any(list(layer.facts.ranges) != wanted[layer.name] for layer in definitions):
        write_record(connection, pool, inputs["record"], during.record)
        for layer in definitions:
            set_ranges(network, layer, wanted[layer.name])
    write_record(connection, pool, inputs["record"], after.record)
    return after.record


class RecordBuilder:
    """A record in the making.

    A range is changed by taking it out and putting its pieces in, so during that every address may be missing, and the
    record must say so; only afterwards it says which ones are.
    """

    def __init__(self, network: str, macs: Iterable[str]) -> None:
        self.record: Record = {"network": network, "macs": sorted(macs), "layers": {}}

    def note(self, layer: Layer, original: Sequence[DhcpRange], *, removed: Sequence[DhcpRange]) -> None:
        self.record["layers"][layer.name] = {"original": [*map(str, original)], "removed": [*map(str, removed)]}


def _whole(record: Record, layer: Layer) -> list[DhcpRange]:
    """The layer's ranges as they would be without us."""
    original, removed = _entry(record, layer.name)
    return dhcp_range.give_back(layer.facts.ranges, removed, original)


def _give_back(connection: Any, state: Props, *, reservations: bool = False) -> None:
    """Put back what the record says, or the state if the record is lost. That the network or the pool is deleted already
    is success.

    `reservations`: also those of our MACs, of former machines too. One whose creation was cut off is in no state, but its MAC is
    ours all the same; and a run that was to remove machines may have ended when the claim had no MAC of theirs any more.
    """
    pool = find(connection.storagePoolLookupByName, state["pool"])
    if pool is not None:
        if not pool.isActive():
            pool.create(0)
        volume_store.refresh(pool)
    macs = restore(
        connection,
        pool,
        state["record"],
        known=state.get("taken") or {},
        network=state["network"],
        macs=state["macs"],
        reservations=reservations,
    )
    network = find(connection.networkLookupByName, state["network"])
    if network is not None:
        end_leases(connection, network, macs)


def restore(
    connection: Any,
    pool: Any | None,
    name: str,
    *,
    known: Record,
    network: str | None = None,
    macs: Sequence[str] = (),
    reservations: bool = True,
) -> list[str]:
    """Give the network back what the record `name` says was taken, and drop the record; with `reservations` remove those of the
    MACs in it and of `macs`. Returns these MACs.

    `known` replaces a lost record; `network` is taken from the record unless given.
    """
    record = (None if pool is None else read_record(connection, pool, name)) or known
    reserved = sorted({*macs, *(record.get("macs") or ())}) if reservations else []
    live_network = find(connection.networkLookupByName, network or record.get("network") or "")
    if live_network is not None:
        drop_hosts(live_network, reserved)
        during = RecordBuilder(live_network.name(), record.get("macs") or ())
        wanted = {}
        for layer in layers(live_network):
            whole = _whole(record, layer)
            if whole != list(layer.facts.ranges):
                wanted[layer] = whole
            during.note(layer, whole, removed=whole)
        if wanted and pool is not None:
            write_record(connection, pool, name, during.record)
        for layer, whole in wanted.items():
            set_ranges(live_network, layer, whole)
    if pool is not None:
        for slot in slots(name):
            volume_store.remove(pool, slot)
    return reserved


def _clear(connection: Any, network: Any, definitions: Sequence[Layer], macs: set[str], inputs: Props) -> None:
    """End the leases in the claims whose machines are not there any more. Raises HypervisorError with all leases and reservations
    of others in them, before anything is changed.
    """
    claims = parse_all(inputs["ranges"])
    # A node that was removed leaves a lease. It is no obstacle, because each node has an address of its own.
    own = inputs["owner"].replace("/", "-") + "-"
    facts = definitions[-1].facts
    theirs = [
        lease
        for lease in leases(network)
        if lease.mac not in macs and not lease.name.startswith(own) and any(IPv4Address(lease.address) in claim for claim in claims)
    ]
    machines = standings(connection, facts, theirs, project=project_of(inputs))
    taken = [f"{machine.lease}, leased until {machine.lease.end} ({machine.evidence})" for machine in machines if machine.alive]
    taken += dict.fromkeys(
        f"{host.ip} of {host.name or 'a machine'} ({host.mac or 'no MAC'}), reserved (virsh net-update {inputs['network']} delete "
        f'ip-dhcp-host "{network_xml.dhcp_host(host)}" --live --config)'
        for layer in definitions
        for host in layer.facts.hosts
        if host.ip and host.mac not in macs and any(IPv4Address(host.ip) in claim for claim in claims)
    )
    if taken:
        raise HypervisorError(
            f"libvirt network {inputs['network']!r} has given others addresses in the ranges {', '.join(map(str, claims))} "
            f"that this stack wants for itself: {'; '.join(taken)}. Set other ranges (network.nodes, podNetworks), give "
            "those machines other addresses, or shut them down and wait for the leases to end. A lease of a machine that is "
            f"deleted for good is ended on the hypervisor by: dhcp_release {facts.bridge} ADDRESS MAC (Debian: dnsmasq-utils)"
        )
    dead = [machine for machine in machines if not machine.alive]
    for machine in dead:
        say(f"network {inputs['network']}: the machine with the lease of {machine.lease} is taken for gone: {machine.evidence}")
    for lease in end(network, facts, [machine.lease for machine in dead]):
        say(f"network {inputs['network']}: the lease of {lease} stands until {lease.end}, since it cannot be ended from here")


class DhcpClaim(Resource, module="libvirt", name="DhcpClaim"):
    """Addresses that the network's DHCP server does not hand out while the stack exists.

    The network's ranges without the claims, live and stored; on delete they get them back, exactly as they were if nobody
    else changed them meanwhile. Raises HypervisorError if the network is missing or stopped, or if a live lease or
    reservation of an unmanaged machine lies in a claim: with its name, MAC and address. Measured: measured.md 14.
    """

    def __init__(self, resource_name: str, args: DhcpClaimArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(DhcpClaimProvider(), resource_name, properties(args, DhcpClaimProvider.outputs), old_first(opts))
