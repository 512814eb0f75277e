"""What the stack borrows from a libvirt network: addresses taken out of its DHCP ranges, and reservations.

The network itself belongs to the host. It is changed by net-update alone, live and in its stored definition, so guests of
others keep their connection; dnsmasq is restarted by libvirt in a blink and keeps its leases.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, ReadResult, Resource, UpdateResult

from . import documents, ranges, storage
from .connection import HypervisorError, connect, find, say
from .documents import Host, NetworkFacts
from .leases import command, end, give_back, leases, standings
from .provider import LibvirtProvider, Props, old_first, unreadable
from .ranges import Range

RECORD_SIZE = 4096
"""Bytes a record is padded to a multiple of."""


@dataclass(frozen=True)
class Layer:
    """One of a network's two definitions: `live` (what dnsmasq runs with) or `config` (what survives a restart)."""

    name: str
    flag: int
    facts: NetworkFacts


def layers(network: Any) -> list[Layer]:
    """The definitions that the network has, each with the flag that changes it alone; the live one, if it runs, is the last."""
    import libvirt  # noqa: PLC0415

    found = []
    if network.isPersistent():
        facts = documents.read_network(network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE))
        found.append(Layer("config", libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG, facts))
    if network.isActive():
        found.append(Layer("live", libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE, documents.read_network(network.XMLDesc(0))))
    return found


def network_named(connection: Any, name: str) -> Any:
    """The network, which must be active: only then does a change reach the guests."""
    network = find(connection.networkLookupByName, name)
    if network is None:
        raise HypervisorError(f"libvirt network {name!r} is not there. `virsh net-list --all` shows what is; set another network")
    if not network.isActive():
        raise HypervisorError(
            f"libvirt network {name!r} is not active. Start it: virsh net-start {name} && virsh net-autostart {name}"
        )
    return network


# --- taking addresses out of DHCP


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
            pool = storage.pool_named(connection, inputs["pool"], fresh=True)
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
        state["ranges"] = [text for text in state["ranges"] if not ranges.intersect(handed_out, [Range.parse(text)])]
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


Record = dict[str, Any]
"""What was done: `{"network": name, "macs": [...], "layers": {"live": {"original": [...], "removed": [...]}, "config":
…}}`.
"""


def _entry(record: Record, layer: str) -> tuple[list[Range], list[Range]]:
    """(original, removed) that a record holds for a layer; a layer it does not know was never changed."""
    entry = (record.get("layers") or {}).get(layer) or {}
    return ranges.parse_all(entry.get("original") or []), ranges.parse_all(entry.get("removed") or [])


def _take(connection: Any, inputs: Props, known: Record) -> Record:
    """Make the network's ranges lack the claims, whatever an earlier run has done or left half done.

    Order: the record says what *may* be missing from the network, before it is; after the change, what is. So a run that is
    killed anywhere can be repeated or taken back. `known`: what the state says, should the record be lost. A machine that has
    gone leaves its lease behind until it ends, so the record also keeps the MACs of former machines.
    """
    network = network_named(connection, inputs["network"])
    claims = ranges.parse_all(inputs["ranges"])
    pool = storage.pool_named(connection, inputs["pool"], fresh=True)
    before = read_record(connection, pool, inputs["record"]) or known
    macs = {str(mac).lower() for mac in (*inputs["macs"], *(before.get("macs") or ()))}
    found = layers(network)
    _clear(connection, network, found, macs, inputs)

    during, after = Plan(inputs["network"], macs), Plan(inputs["network"], macs)
    wanted: dict[str, list[Range]] = {}
    for layer in found:
        whole = _whole(before, layer)
        wanted[layer.name] = ranges.subtract(whole, claims)
        during.note(layer, whole, removed=whole)
        after.note(layer, whole, removed=ranges.intersect(whole, claims))
    if any(list(layer.facts.ranges) != wanted[layer.name] for layer in found):
        write_record(connection, pool, inputs["record"], during.record)
        for layer in found:
            set_ranges(network, layer, wanted[layer.name])
    write_record(connection, pool, inputs["record"], after.record)
    return after.record


class Plan:
    """A record in the making.

    A range is changed by taking it out and putting its pieces in, so while that goes on every address may be missing, and the
    record must say so; only afterwards it says which ones are.
    """

    def __init__(self, network: str, macs: Iterable[str]) -> None:
        self.record: Record = {"network": network, "macs": sorted(macs), "layers": {}}

    def note(self, layer: Layer, original: Sequence[Range], *, removed: Sequence[Range]) -> None:
        self.record["layers"][layer.name] = {"original": ranges.texts(original), "removed": ranges.texts(removed)}


def _whole(record: Record, layer: Layer) -> list[Range]:
    """The layer's ranges as they would be without us."""
    original, removed = _entry(record, layer.name)
    return ranges.give_back(layer.facts.ranges, removed, original)


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
        storage.refresh(pool)
    macs = state["macs"] if reservations else ()
    restore(connection, pool, state["record"], known=state.get("taken") or {}, network=state["network"], macs=macs)
    network = find(connection.networkLookupByName, state["network"])
    if network is not None:
        _end_leases(connection, network, macs)


def _end_leases(connection: Any, network: Any, macs: Sequence[str]) -> None:
    found = layers(network)
    if found:
        give_back(connection, network, found[-1].facts, macs)


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
        during = Plan(found.name(), record.get("macs") or ())
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
        for slot in _slots(name):
            storage.remove(pool, slot)


def _clear(connection: Any, network: Any, found: Sequence[Layer], macs: set[str], inputs: Props) -> None:
    """End the leases in the claims whose machines are gone. Raises HypervisorError with all leases and reservations in them of
    others, before anything is changed.
    """
    claims = ranges.parse_all(inputs["ranges"])
    # A node that was taken away, or a stack that was larger, leaves leases: each node has its own address, nobody is hurt.
    own = inputs["owner"].replace("/", "-") + "-"
    facts = found[-1].facts
    theirs = [
        lease
        for lease in leases(network)
        if lease.mac not in macs and not lease.name.startswith(own) and any(lease.address in claim for claim in claims)
    ]
    seen = standings(connection, facts, theirs, project=_project(inputs))
    taken = [f"{each.lease}, leased until {each.lease.end} ({each.seen})" for each in seen if each.alive]
    taken += dict.fromkeys(
        f"{host.ip} of {host.name or 'a machine'} ({host.mac or 'no MAC'}), reserved (virsh net-update {inputs['network']} delete "
        f'ip-dhcp-host "{documents.dhcp_host(host)}" --live --config)'
        for layer in found
        for host in layer.facts.hosts
        if host.ip and host.mac not in macs and any(host.ip in claim for claim in claims)
    )
    if taken:
        raise HypervisorError(
            f"libvirt network {inputs['network']!r} has given others addresses in the ranges {', '.join(ranges.texts(claims))} "
            f"that this stack wants for itself: {'; '.join(taken)}. Set other ranges (network.nodes, macvlan.range), give "
            "those machines other addresses, or shut them down and wait for the leases to end. A lease of a machine that is "
            f"gone for good is ended on the hypervisor by: dhcp_release {facts.bridge} ADDRESS MAC (Debian: dnsmasq-utils)"
        )
    gone = [each for each in seen if not each.alive]
    for each in gone:
        say(f"network {inputs['network']}: the machine with the lease of {each.lease} is taken for gone: {each.seen}")
    for lease in end(network, facts, [each.lease for each in gone]):
        say(f"network {inputs['network']}: the lease of {lease} stands until {lease.end}, since it cannot be ended from here")


def _project(inputs: Props) -> str:
    return str(inputs["owner"]).partition("/")[0]


def set_ranges(network: Any, layer: Layer, wanted: Sequence[Range]) -> None:
    """Make one definition's ranges exactly `wanted`, in order: what differs from the first difference on is
    replaced.
    """
    import libvirt  # noqa: PLC0415

    current = list(layer.facts.ranges)
    same = 0
    while same < min(len(current), len(wanted)) and current[same] == wanted[same]:
        same += 1
    section = libvirt.VIR_NETWORK_SECTION_IP_DHCP_RANGE
    for each in current[same:]:
        network.update(libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE, section, -1, documents.dhcp_range(each), layer.flag)
    for each in wanted[same:]:
        network.update(libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, section, -1, documents.dhcp_range(each), layer.flag)


def _slots(name: str) -> tuple[str, str]:
    return f"{name}.0", f"{name}.1"


def _records(connection: Any, pool: Any, name: str) -> Iterator[tuple[int, str, Record]]:
    for slot in _slots(name):
        volume = storage.volume_named(pool, slot)
        if volume is None or not storage.is_ours(pool, slot):
            continue
        with contextlib.suppress(ValueError):  # cut off while it was written, so before it mattered
            record = json.loads(storage.fetch(connection, volume).rstrip(b" \0"))
            if isinstance(record, dict) and isinstance(record.get("number"), int):
                yield record.pop("number"), slot, record


def read_record(connection: Any, pool: Any, name: str) -> Record | None:
    """The newest whole record, None if there is none."""
    return max(_records(connection, pool, name), default=(0, "", None), key=lambda item: item[0])[2]


def write_record(connection: Any, pool: Any, name: str, record: Record) -> None:
    """Write to the other of two slots, then drop the old one: at every moment one of them is whole."""
    newest = max(_records(connection, pool, name), default=None, key=lambda item: item[0])
    if newest is not None and newest[2] == record:
        return
    number = 1 if newest is None else newest[0] + 1
    first, second = _slots(name)
    slot, other = (second, first) if newest is not None and newest[1] == first else (first, second)
    storage.claim(pool, slot)
    text = json.dumps({"number": number, **record}, sort_keys=True).encode()
    storage.write(connection, pool, slot, text.ljust(-(-len(text) // RECORD_SIZE) * RECORD_SIZE))
    storage.remove(pool, other)


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


# --- reservations


@dataclass(frozen=True, kw_only=True)
class ReservationArgs:
    """Inputs of `Reservation`.

    uri, network: the libvirt network, by name.
    mac: the machine's MAC; it is our mark, being computed from the stack.
    ip: its IPv4 address. name: its host name.
    owner: "project/stack".
    """

    uri: Input[str]
    network: Input[str]
    mac: Input[str]
    ip: Input[str]
    name: Input[str]
    owner: Input[str]


class ReservationProvider(LibvirtProvider):
    replaces = ("uri", "network", "mac")
    updates = ("ip", "name")
    keeps = ("owner",)

    def create(self, props: Props) -> CreateResult:
        inputs = self.known(props)
        host = Host(inputs["mac"].lower(), inputs["ip"], inputs["name"])
        with connect(inputs["uri"]) as connection:
            network = network_named(connection, inputs["network"])
            _clear_address(connection, network, host, _project(inputs))
            reserve(network, host)
        return CreateResult(f"{inputs['uri']}#{inputs['network']}/host/{inputs['mac']}", inputs)

    def read(self, id_: str, props: Props) -> ReadResult:
        state = self.known(props)
        wanted = Host(state["mac"].lower(), state["ip"], state["name"])
        with connect(state["uri"]) as connection:
            network = find(connection.networkLookupByName, state["network"])
            if network is None:
                return ReadResult("", {})
            seen = [next((host for host in layer.facts.hosts if host.mac == wanted.mac), None) for layer in layers(network)]
        if not any(seen):
            return ReadResult("", {})
        for host in seen:
            if host != wanted:  # in one definition only, or changed by hand
                state |= {"ip": host.ip if host else "", "name": host.name if host else ""}
        return ReadResult(id_, state, dict(state))

    def delete(self, _id: str, _props: Props) -> None:
        state = self.known(_props)
        with connect(state["uri"]) as connection:
            network = find(connection.networkLookupByName, state["network"])
            if network is not None:
                drop_host(network, state["mac"])
                _end_leases(connection, network, [state["mac"]])


def _clear_address(connection: Any, network: Any, host: Host, project: str) -> None:
    """End the lease of a machine that is gone at this address, which the DHCP server would not give away while it stands.

    One of a machine that is there is left: of another stack's the claim has told, and the stack's own goes later in the run.
    """
    facts = layers(network)[-1].facts
    held = [lease for lease in leases(network) if lease.address == host.ip and lease.mac != host.mac]
    gone = [each.lease for each in standings(connection, facts, held, project=project) if not each.alive]
    for lease in end(network, facts, gone):
        raise HypervisorError(
            f"address {host.ip} on libvirt network {network.name()!r} is to be {host.name}'s and is leased to a machine that "
            f"is gone: {lease.name or 'no name'} ({lease.mac}) until {lease.end}. Until then the DHCP server gives it to "
            f"nobody else, and from here the lease cannot be ended. End it on the hypervisor: {command(facts, lease)} (Debian: "
            "dnsmasq-utils), wait, or set other addresses (network.nodes)"
        )


def reserve(network: Any, host: Host) -> None:
    """Make both definitions of the network hold exactly this reservation for this MAC."""
    import libvirt  # noqa: PLC0415

    found = layers(network)
    for layer in found:
        for other in layer.facts.hosts:
            if other.mac == host.mac:
                continue
            clash = "address" if other.ip == host.ip else "name" if other.name.lower() == host.name.lower() != "" else ""
            if clash:
                raise HypervisorError(
                    f"libvirt network {network.name()!r} already reserves {other.ip} for {other.name or 'a machine'} "
                    f"({other.mac or 'no MAC'}): the same {clash} as {host.name} ({host.mac}, {host.ip}). Set "
                    f"another {clash}, or "
                    f'remove it: virsh net-update {network.name()} delete ip-dhcp-host "{documents.dhcp_host(other)}" '
                    "--live --config"
                )
    section = libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST
    fresh = not any(other.mac == host.mac for layer in found for other in layer.facts.hosts)
    try:
        for layer in found:
            ours = [other for other in layer.facts.hosts if other.mac == host.mac]
            if ours == [host]:
                continue
            for other in ours:
                network.update(libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE, section, -1, documents.dhcp_host(other), layer.flag)
            network.update(libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, section, -1, documents.dhcp_host(host), layer.flag)
    except BaseException:
        if fresh:
            with contextlib.suppress(Exception):
                drop_host(network, host.mac)
        raise


def drop_host(network: Any, mac: str) -> None:
    """Remove the reservation of this MAC from both definitions, if it is there."""
    import libvirt  # noqa: PLC0415

    section = libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST
    for layer in layers(network):
        for host in layer.facts.hosts:
            if host.mac == mac.lower():
                network.update(libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE, section, -1, documents.dhcp_host(host), layer.flag)


class Reservation(Resource, module="libvirt", name="Reservation"):
    """A DHCP reservation: this MAC always gets this address.

    Live and stored. Made, or put right if the MAC has one already. Raises HypervisorError if another MAC has the address or
    the name.
    """

    uri: Output[str]
    network: Output[str]
    mac: Output[str]
    ip: Output[str]
    name: Output[str]
    owner: Output[str]

    def __init__(self, resource_name: str, args: ReservationArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(
            ReservationProvider(),
            resource_name,
            {
                "uri": args.uri,
                "network": args.network,
                "mac": args.mac,
                "ip": args.ip,
                "name": args.name,
                "owner": args.owner,
            },
            old_first(opts),
        )
