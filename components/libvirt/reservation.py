"""A DHCP reservation: this MAC always gets this address."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from pulumi import Input, ResourceOptions
from pulumi.dynamic import CreateResult, ReadResult, Resource

from components.custom.provider import DeclarativeProvider, Props, old_first, properties
from components.libvirt import network_xml
from components.libvirt.connection import HypervisorError, connect, find
from components.libvirt.lease_release import command, end
from components.libvirt.leases import leases, standings
from components.libvirt.network import drop_hosts, end_leases, layers, network_named, project_of
from components.libvirt.network_xml import Host


@dataclass(frozen=True, kw_only=True)
class ReservationArgs:
    """Inputs of `Reservation`."""

    uri: Input[str]
    """libvirt's connection URI of the hypervisor, as qemu:///system."""
    network: Input[str]
    """Name of the libvirt network."""
    mac: Input[str]
    """MAC address of the machine. It is the mark, because it is computed from the stack."""
    ip: Input[str]
    """IPv4 address that the machine gets."""
    name: Input[str]
    """Host name that the machine gets."""
    owner: Input[str]
    """"project/stack"."""


class ReservationProvider(DeclarativeProvider):
    replaces = ("uri", "network", "mac")
    updates = ("ip", "name")
    keeps = ("owner",)

    def create(self, props: Props) -> CreateResult:
        inputs = self.known(props)
        host = Host(inputs["mac"].lower(), inputs["ip"], inputs["name"])
        with connect(inputs["uri"]) as connection:
            network = network_named(connection, inputs["network"])
            _clear_address(connection, network, host, project_of(inputs))
            reserve(network, host)
        return CreateResult(f"{inputs['uri']}#{inputs['network']}/host/{inputs['mac']}", inputs)

    def read(self, id_: str, props: Props) -> ReadResult:
        state = self.known(props)
        wanted = Host(state["mac"].lower(), state["ip"], state["name"])
        with connect(state["uri"]) as connection:
            network = find(connection.networkLookupByName, state["network"])
            if network is None:
                return ReadResult("", {})
            reserved = [next((host for host in layer.facts.hosts if host.mac == wanted.mac), None) for layer in layers(network)]
        if not any(reserved):
            return ReadResult("", {})
        for host in reserved:
            if host != wanted:  # in one definition only, or changed by hand
                state |= {"ip": host.ip if host else "", "name": host.name if host else ""}
        return self.read_result(id_, state)

    def delete(self, _id: str, _props: Props) -> None:
        state = self.known(_props)
        with connect(state["uri"]) as connection:
            network = find(connection.networkLookupByName, state["network"])
            if network is not None:
                drop_hosts(network, [state["mac"]])
                end_leases(connection, network, [state["mac"]])


def _clear_address(connection: Any, network: Any, host: Host, project: str) -> None:
    """End the lease at this address of a machine that is not there any more: until it ends, the DHCP server gives the address to
    nobody else.

    The lease of a machine that is there is left: the claim has refused one of others, and one of the stack's own ends later in
    the run.
    """
    facts = layers(network)[-1].facts
    held = [lease for lease in leases(network) if lease.address == host.ip and lease.mac != host.mac]
    abandoned = [machine.lease for machine in standings(connection, facts, held, project=project) if not machine.alive]
    for lease in end(network, facts, abandoned):
        raise HypervisorError(
            f"address {host.ip} on libvirt network {network.name()!r} is to be {host.name}'s and is leased to a machine that "
            f"is gone: {lease.name or 'no name'} ({lease.mac}) until {lease.end}. Until then the DHCP server gives it to "
            f"nobody else, and from here the lease cannot be ended. End it on the hypervisor: {command(facts, lease)} (Debian: "
            "dnsmasq-utils), wait, or set other addresses (network.nodes)"
        )


def reserve(network: Any, host: Host) -> None:
    """Make both definitions of the network hold exactly this reservation for this MAC."""
    import libvirt  # noqa: PLC0415

    definitions = layers(network)
    for layer in definitions:
        for other in layer.facts.hosts:
            if other.mac == host.mac:
                continue
            clash = "address" if other.ip == host.ip else "name" if other.name.lower() == host.name.lower() != "" else ""
            if clash:
                raise HypervisorError(
                    f"libvirt network {network.name()!r} already reserves {other.ip} for {other.name or 'a machine'} "
                    f"({other.mac or 'no MAC'}): the same {clash} as {host.name} ({host.mac}, {host.ip}). Set "
                    f"another {clash}, or "
                    f'remove it: virsh net-update {network.name()} delete ip-dhcp-host "{network_xml.dhcp_host(other)}" '
                    "--live --config"
                )
    section = libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST
    fresh = not any(other.mac == host.mac for layer in definitions for other in layer.facts.hosts)
    try:
        for layer in definitions:
            ours = [other for other in layer.facts.hosts if other.mac == host.mac]
            if ours == [host]:
                continue
            for other in ours:
                network.update(libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE, section, -1, network_xml.dhcp_host(other), layer.flag)
            network.update(libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, section, -1, network_xml.dhcp_host(host), layer.flag)
    except BaseException:
        if fresh:
            with contextlib.suppress(Exception):
                drop_hosts(network, [host.mac])
        raise


class Reservation(Resource, module="libvirt", name="Reservation"):
    """A DHCP reservation: this MAC always gets this address.

    Live and stored. Made, or put right if the MAC has one already. Raises HypervisorError if another MAC has the address or
    the name.
    """

    def __init__(self, resource_name: str, args: ReservationArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(ReservationProvider(), resource_name, properties(args), old_first(opts))
