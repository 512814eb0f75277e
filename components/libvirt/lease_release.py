"""The end of a DHCP lease before its time.

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
from collections.abc import Iterable
from typing import Any

from components.custom.reporting import say
from components.libvirt import domain_spec
from components.libvirt.connection import find
from components.libvirt.leases import Lease, leases, on_bridge
from components.libvirt.network_xml import NetworkFacts

END_SECONDS = 3.0
"""Seconds until libvirt lists a released lease no more; a helper that dnsmasq starts reports its end to libvirt."""

_COOKIE = b"\x63\x82\x53\x63"  # RFC 2131
_TYPE, _SERVER, _CLIENT, _END = 53, 54, 61, 255
_RELEASE = 7


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


def end(network: Any, facts: NetworkFacts, ending: Iterable[Lease]) -> list[Lease]:
    """End these leases and say so of each. Returns those that remain: the bridge is not here, or the server did not listen."""
    remaining = list(ending)
    if not remaining or not on_bridge(facts):
        return remaining
    deadline = time.monotonic() + END_SECONDS
    pause = 0.05
    while remaining and time.monotonic() < deadline:
        for lease in remaining:
            # Again each time: libvirt restarts the server when its ranges change, and what comes meanwhile is lost.
            with contextlib.suppress(OSError):
                release(lease, server=facts.ip, bridge=facts.bridge)
        time.sleep(pause)
        pause = min(pause * 2, 0.5)
        held = {(lease.mac, lease.address) for lease in leases(network)}
        for lease in remaining:
            if (lease.mac, lease.address) not in held:
                say(f"network {facts.name}: the lease of {lease} is ended")
        remaining = [lease for lease in remaining if (lease.mac, lease.address) in held]
    return remaining


def command(facts: NetworkFacts, lease: Lease) -> str:
    """What ends the lease when it is run on the hypervisor."""
    return f"dhcp_release {facts.bridge} {lease.address} {lease.mac}" + (f" {lease.client}" if lease.client else "")


def give_back(connection: Any, network: Any, facts: NetworkFacts, macs: Iterable[str]) -> None:
    """End the leases of the stack's machines that do not run any more, and say which remain. Nothing of it is a failure."""
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

    documents = (find(domain.XMLDesc, 0) for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE))
    return [xml for xml in documents if xml is not None]
