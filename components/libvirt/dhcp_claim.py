"""Addresses that the network's DHCP server does not hand out while the stack exists."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, ReadResult, Resource, UpdateResult

from components.config.addresses import AddressRange, intersect, parse_all, subtract
from components.custom.provider import LibvirtProvider, Props, old_first, unreadable
from components.custom.reporting import say
from components.libvirt import dhcp_range, network_xml, volume_store
from components.libvirt.claim_record import Record, read_record, slots, write_record
from components.libvirt.connection import HypervisorError, connect, find
from components.libvirt.dhcp_range import DhcpRange
from components.libvirt.leases import end, leases, standings
from components.libvirt.network import Layer, drop_host, end_leases, layers, network_named, project_of, set_ranges


@dataclass(frozen=True, kw_only=True)
class DhcpClaimArgs:
    """Inputs of `DhcpClaim`.

    uri, network: the libvirt network, by name.
    ranges: addresses to take, each "first-last" or a single address.
    macs: MACs of the stack's own machines; their leases and reservations do not stand in the way.
    owner: "project/stack".
    pool, record: where the change is written down before it is made (a volume's name in the stack's pool).
    """

    uri: Input[str]
    network: Input[str]
    ranges: Input[Sequence[Input[str]]]
    macs: Input[Sequence[Input[str]]]
    owner: Input[str]
    pool: Input[str]
    record: Input[str]


class DhcpClaimProvider(LibvirtProvider):
    replaces = ("uri", "network", "pool", "record")
    updates = ("ranges", "macs")
    keeps = ("owner",)

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
            handed_out = [each for layer in layers(network) for each in layer.facts.ranges]
        state["ranges"] = [text for text in state["ranges"] if not intersect(handed_out, [AddressRange.parse(text)])]
        return ReadResult(id_, state, {name: value for name, value in state.items() if name != "taken"})

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
    killed anywhere can be repeated or taken back. `known`: what the state says, should the record be lost. A machine that has
    gone leaves its lease behind until it ends, so the record also keeps the MACs of former machines.
    """
    network = network_named(connection, inputs["network"])
    claims = parse_all(inputs["ranges"])
    pool = volume_store.pool_named(connection, inputs["pool"], fresh=True)
    before = read_record(connection, pool, inputs["record"]) or known
    macs = {str(mac).lower() for mac in (*inputs["macs"], *(before.get("macs") or ()))}
    found = layers(network)
    _clear(connection, network, found, macs, inputs)

    during, after = RecordBuilder(inputs["network"], macs), RecordBuilder(inputs["network"], macs)
    wanted: dict[str, list[DhcpRange]] = {}
    for layer in found:
        whole = _whole(before, layer)
        wanted[layer.name] = subtract(whole, claims)
        during.note(layer, whole, removed=whole)
        after.note(layer, whole, removed=intersect(whole, claims))
    if any(list(layer.facts.ranges) != wanted[layer.name] for layer in found):
        write_record(connection, pool, inputs["record"], during.record)
        for layer in found:
            set_ranges(network, layer, wanted[layer.name])
    write_record(connection, pool, inputs["record"], after.record)
    return after.record


class RecordBuilder:
    """A record in the making.

    A range is changed by taking it out and putting its pieces in, so while that goes on every address may be missing, and the
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
    """Put back what the record says, or the state if the record is lost. That the network or the pool is gone is
    success.

    `reservations`: also those of our MACs. One whose creation was cut off is in no state, but its MAC is ours all the
    same.
    """
    pool = find(connection.storagePoolLookupByName, state["pool"])
    if pool is not None:
        if not pool.isActive():
            pool.create(0)
        volume_store.refresh(pool)
    macs = state["macs"] if reservations else ()
    restore(connection, pool, state["record"], known=state.get("taken") or {}, network=state["network"], macs=macs)
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
    macs: Sequence[str] | None = None,
) -> None:
    """Give the network back what the record `name` says was taken, remove the reservations of `macs`, drop the record.

    `known` stands in for a lost record; `network` and `macs` are taken from the record unless given.
    """
    record = (None if pool is None else read_record(connection, pool, name)) or known
    found = find(connection.networkLookupByName, network or record.get("network") or "")
    if found is not None:
        for mac in record.get("macs") or () if macs is None else macs:
            drop_host(found, mac)
        during = RecordBuilder(found.name(), record.get("macs") or ())
        wanted = {}
        for layer in layers(found):
            whole = _whole(record, layer)
            if whole != list(layer.facts.ranges):
                wanted[layer] = whole
            during.note(layer, whole, removed=whole)
        if wanted and pool is not None:
            write_record(connection, pool, name, during.record)
        for layer, whole in wanted.items():
            set_ranges(found, layer, whole)
    if pool is not None:
        for slot in slots(name):
            volume_store.remove(pool, slot)


def _clear(connection: Any, network: Any, found: Sequence[Layer], macs: set[str], inputs: Props) -> None:
    """End the leases in the claims whose machines are gone. Raises HypervisorError with all leases and reservations in them of
    others, before anything is changed.
    """
    claims = parse_all(inputs["ranges"])
    # A node that was taken away, or a stack that was larger, leaves leases: each node has its own address, nobody is hurt.
    own = inputs["owner"].replace("/", "-") + "-"
    facts = found[-1].facts
    theirs = [
        lease
        for lease in leases(network)
        if lease.mac not in macs and not lease.name.startswith(own) and any(IPv4Address(lease.address) in claim for claim in claims)
    ]
    seen = standings(connection, facts, theirs, project=project_of(inputs))
    taken = [f"{each.lease}, leased until {each.lease.end} ({each.seen})" for each in seen if each.alive]
    taken += dict.fromkeys(
        f"{host.ip} of {host.name or 'a machine'} ({host.mac or 'no MAC'}), reserved (virsh net-update {inputs['network']} delete "
        f'ip-dhcp-host "{network_xml.dhcp_host(host)}" --live --config)'
        for layer in found
        for host in layer.facts.hosts
        if host.ip and host.mac not in macs and any(IPv4Address(host.ip) in claim for claim in claims)
    )
    if taken:
        raise HypervisorError(
            f"libvirt network {inputs['network']!r} has given others addresses in the ranges {', '.join(map(str, claims))} "
            f"that this stack wants for itself: {'; '.join(taken)}. Set other ranges (network.nodes, macvlan.range), give "
            "those machines other addresses, or shut them down and wait for the leases to end. A lease of a machine that is "
            f"gone for good is ended on the hypervisor by: dhcp_release {facts.bridge} ADDRESS MAC (Debian: dnsmasq-utils)"
        )
    gone = [each for each in seen if not each.alive]
    for each in gone:
        say(f"network {inputs['network']}: the machine with the lease of {each.lease} is taken for gone: {each.seen}")
    for lease in end(network, facts, [each.lease for each in gone]):
        say(f"network {inputs['network']}: the lease of {lease} stands until {lease.end}, since it cannot be ended from here")


class DhcpClaim(Resource, module="libvirt", name="DhcpClaim"):
    """Addresses that the network's DHCP server does not hand out while the stack exists.

    The network's ranges without the claims, live and stored; on delete they get them back, exactly as they were if nobody
    else changed them meanwhile. Raises HypervisorError if the network is missing or stopped, or if a stranger's live lease
    or reservation lies in a claim: with its name, MAC and address. Measured: measured.md 14.
    """

    uri: Output[str]
    network: Output[str]
    ranges: Output[list[str]]
    macs: Output[list[str]]
    owner: Output[str]
    pool: Output[str]
    record: Output[str]
    taken: Output[dict[str, Any]]
    """What was taken out of which definition of the network."""

    def __init__(self, resource_name: str, args: DhcpClaimArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(
            DhcpClaimProvider(),
            resource_name,
            {
                "uri": args.uri,
                "network": args.network,
                "ranges": args.ranges,
                "macs": args.macs,
                "owner": args.owner,
                "pool": args.pool,
                "record": args.record,
                "taken": None,
            },
            old_first(opts),
        )
