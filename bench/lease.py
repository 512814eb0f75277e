"""Giving a DHCP lease back for a machine that is gone: otherwise its address is taken for another hour.

Machines are powered off, so they do not give it back themselves. `up` of another stack that has this address would rightly
refuse while a stranger's lease stands, and a machine made by hand would get another address.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
from dataclasses import dataclass

_COOKIE = b"\x63\x82\x53\x63"  # RFC 2131
_TYPE, _SERVER, _CLIENT, _END = 53, 54, 61, 255
_RELEASE = 7


@dataclass(frozen=True, kw_only=True)
class Lease:
    """name: the host name. client: the client identifier, hexadecimal with colons. Either is empty where none was sent."""

    mac: str
    address: str
    name: str
    client: str


def leases(text: str) -> list[Lease]:
    """What `virsh net-dhcp-leases` prints."""
    found = []
    for line in text.splitlines():
        match = re.search(r"(?i)\s((?:[0-9a-f]{2}:){5}[0-9a-f]{2})\s+ipv4\s+([\d.]+)/\d+\s+(\S+)\s+(\S+)", line)
        if match:
            name, client = ("" if text in ("-", "*") else text for text in match.groups()[2:])
            found.append(Lease(mac=match[1].lower(), address=match[2], name=name, client=client))
    return found


def message(lease: Lease, server: str) -> bytes:
    """DHCPRELEASE for the lease, to the server at this address (RFC 2131, 4.4.6)."""
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


def give_back(*, uri: str, network: str, server: str, prefix: str) -> None:
    """Release on the libvirt network what machines hold that were ours, by the beginning of their name, and are no more.

    On a remote host nothing is done: its bridge is not here.
    """
    if "+" in uri.partition("://")[0]:
        return
    bridge = re.search(r"(?m)^Bridge:\s+(\S+)", _virsh(uri, "net-info", network))
    domains = set(_virsh(uri, "list", "--all", "--name").split())
    for lease in leases(_virsh(uri, "net-dhcp-leases", network)):
        if bridge and lease.name.startswith(prefix) and lease.name not in domains:
            release(lease, server=server, bridge=bridge[1])


def _virsh(uri: str, *words: str) -> str:
    command = ["virsh", "-c", uri, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603 - our own words
