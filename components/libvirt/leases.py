"""Leases of a libvirt network's DHCP server: who holds an address, whether that machine is still there, and the end of a lease.

libvirt shows leases and cannot end one. Its server (dnsmasq) gives an address to nobody else until the lease ends, an hour by
default, not even to a machine for which the address is reserved. What ends it sooner is a DHCPRELEASE (RFC 2131, 4.4.6), which
dnsmasq takes from any sender on its bridge, the host itself among them, if it names the server, the address and the machine. A
host behind SSH cannot be made to send one by libvirt, so there a lease stays.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from components.custom import free_addresses
from components.custom.reporting import say
from components.libvirt import domain_spec
from components.libvirt.connection import code, find
from components.libvirt.network_xml import NetworkFacts

END_SECONDS = 3.0
"""Until a released lease is seen to have ended; libvirt is told by a helper that dnsmasq starts."""

_COOKIE = b"\x63\x82\x53\x63"  # RFC 2131
_TYPE, _SERVER, _CLIENT, _END = 53, 54, 61, 255
_RELEASE = 7


@dataclass(frozen=True, kw_only=True)
class Lease:
    """An IPv4 lease.

    mac: in lower case. name: the host name. client: the client identifier, hexadecimal with colons. Either is empty where none was
    sent. until: when it ends, in seconds since 1970.
    """

    mac: str
    address: str
    name: str = ""
    client: str = ""
    until: int = 0

    def __str__(self) -> str:
        return f"{self.address} of {self.name or 'a machine'} ({self.mac})"

    @property
    def end(self) -> str:
        """The end in local time."""
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.until))


def leases(network: Any) -> list[Lease]:
    """The IPv4 leases that the network's DHCP server holds now; none of a network that has no such server or does not run."""
    import libvirt  # noqa: PLC0415

    try:
        found: list[dict[str, Any]] = network.DHCPLeases()
    except libvirt.libvirtError as error:
        if code(error) in {libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_OPERATION_INVALID}:
            return []
        raise
    return [
        Lease(
            mac=str(each.get("mac") or "").lower(),
            address=str(each["ipaddr"]),
            name=str(each.get("hostname") or ""),
            client=str(each.get("clientid") or ""),
            until=int(each.get("expirytime") or 0),
        )
        for each in found
        if each.get("ipaddr") and ":" not in str(each["ipaddr"])
    ]


# --- whether the machine is there


@dataclass(frozen=True)
class Standing:
    """Whether a lease's machine is there, as far as can be seen, and by what that was seen."""

    lease: Lease
    alive: bool
    seen: str


def standings(connection: Any, facts: NetworkFacts, found: Sequence[Lease], *, project: str) -> list[Standing]:
    """Of each lease whether its machine is there. facts: the network's live definition.

    A machine is gone when no domain of the hypervisor, running or defined, has its MAC address and nobody answers at its address.
    Who is not on the network's bridge cannot ask; then only machines of this project (by the host name that it gives them) are
    known to be gone when their domain is, since they are nothing else.
    """
    if not found:
        return []
    domains = _domains(connection)
    here = on_bridge(facts)
    unknown = [lease for lease in found if lease.mac not in domains]
    answers = free_addresses.neighbours([IPv4Address(lease.address) for lease in unknown]) if here and unknown else {}
    return [_standing(lease, domains, answers if here else None, project) for lease in found]


def _standing(lease: Lease, domains: dict[str, str], answers: dict[IPv4Address, str] | None, project: str) -> Standing:
    """answers: MAC addresses by address of who answered; None where nobody could be asked."""
    if lease.mac in domains:
        return Standing(lease, True, f"domain {domains[lease.mac]!r} has its MAC address")
    nobody = "no domain there has its MAC address"
    if answers is not None:
        other = answers.get(IPv4Address(lease.address))
        return Standing(lease, bool(other), f"{other} answers at this address" if other else f"{nobody} and nobody answers at it")
    if lease.name.startswith(f"{project}-"):
        return Standing(lease, False, f"{nobody}, and a machine of this name is one of {project}'s")
    return Standing(lease, True, f"{nobody}, but whether another machine has it cannot be asked from here")


def _domains(connection: Any) -> dict[str, str]:
    """The hypervisor's domains by each MAC address that they have, in their running or their stored definition."""
    import libvirt  # noqa: PLC0415

    found: dict[str, str] = {}
    for domain in connection.listAllDomains(0):
        for flags in (0, libvirt.VIR_DOMAIN_XML_INACTIVE):
            xml = find(domain.XMLDesc, flags)
            if xml is not None:  # None: removed meanwhile
                found |= dict.fromkeys(domain_spec.read_domain(xml).macs, domain.name())
    return found


def on_bridge(facts: NetworkFacts) -> bool:
    """Whether this machine is the one on which the network's bridge is.

    By the MAC address that libvirt gave the bridge: a network of the same name and subnet is on many machines, and how the
    connection gets to libvirt does not tell where it ends.
    """
    return bool(facts.bridge and facts.mac and facts.ip) and free_addresses.has(facts.bridge, facts.mac, IPv4Address(facts.ip))


# --- the end of a lease


def message(lease: Lease, server: str) -> bytes:
    """DHCPRELEASE for the lease, to the server at this address."""
    mac = bytes.fromhex(lease.mac.replace(":", ""))
    head = struct.pack("!BBBBIHH", 1, 1, len(mac), 0, int.from_bytes(os.urandom(4)), 0, 0)
    addresses = socket.inet_aton(lease.address) + bytes(12)
    options = bytes([_TYPE, 1, _RELEASE, _SERVER, 4]) + socket.inet_aton(server)
    if lease.client:
        client = bytes.fromhex(lease.client.replace(":", ""))
        options += bytes([_CLIENT, len(client)]) + client
    return head + addresses + mac.ljust(16, b"\0") + bytes(192) + _COOKIE + options + bytes([_END])


def release(lease: Lease, *, server: str, bridge: str) -> None:
    """Send it from this machine, on which the server listens on `bridge`. Raises OSError, also where that is not so."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, bridge.encode())
        sender.sendto(message(lease, server), (server, 67))


def end(network: Any, facts: NetworkFacts, found: Iterable[Lease]) -> list[Lease]:
    """End these leases, each said. Returns those that stand all the same: the bridge is not here, or the server did not listen."""
    left = list(found)
    if not left or not on_bridge(facts):
        return left
    deadline = time.monotonic() + END_SECONDS
    pause = 0.05
    while left and time.monotonic() < deadline:
        for lease in left:
            # Again each time: libvirt restarts the server when its ranges change, and what comes meanwhile is lost.
            with contextlib.suppress(OSError):
                release(lease, server=facts.ip, bridge=facts.bridge)
        time.sleep(pause)
        pause = min(pause * 2, 0.5)
        held = {(lease.mac, lease.address) for lease in leases(network)}
        for lease in left:
            if (lease.mac, lease.address) not in held:
                say(f"network {facts.name}: the lease of {lease} is ended")
        left = [lease for lease in left if (lease.mac, lease.address) in held]
    return left


def command(facts: NetworkFacts, lease: Lease) -> str:
    """What ends the lease when it is run on the hypervisor."""
    return f"dhcp_release {facts.bridge} {lease.address} {lease.mac}" + (f" {lease.client}" if lease.client else "")


def give_back(connection: Any, network: Any, facts: NetworkFacts, macs: Iterable[str]) -> None:
    """End the leases of our machines that do not run any more; one that stands is said. Nothing of it is a failure."""
    import libvirt  # noqa: PLC0415

    wanted = {mac.lower() for mac in macs}
    with contextlib.suppress(libvirt.libvirtError):
        ours = [lease for lease in leases(network) if lease.mac in wanted]
        if not ours:
            return
        running = {mac for xml in _running(connection) for mac in domain_spec.read_domain(xml).macs}
        for lease in end(network, facts, [lease for lease in ours if lease.mac not in running]):
            say(
                f"network {facts.name}: the lease of {lease} stands until {lease.end}, and until then its address is given to no "
                f"other machine. Where that matters, end it on the hypervisor: {command(facts, lease)} (Debian: dnsmasq-utils)"
            )


def _running(connection: Any) -> list[str]:
    import libvirt  # noqa: PLC0415

    found = (find(domain.XMLDesc, 0) for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE))
    return [xml for xml in found if xml is not None]
