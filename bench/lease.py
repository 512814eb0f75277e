"""Giving a DHCP lease back for a machine that was deleted: otherwise its address is taken for another hour.

Machines are powered off, so they do not give leases back themselves. `up` of another stack that has this address would rightly
refuse while another machine's lease stands, and a machine made by hand would get another address.
"""

from __future__ import annotations

import re
import subprocess

from components.libvirt.lease_release import release
from components.libvirt.leases import Lease


def leases(text: str) -> list[Lease]:
    """What `virsh net-dhcp-leases` prints."""
    leases = []
    for line in text.splitlines():
        match = re.search(r"(?i)\s((?:[0-9a-f]{2}:){5}[0-9a-f]{2})\s+ipv4\s+([\d.]+)/\d+\s+(\S+)\s+(\S+)", line)
        if match:
            name, client = ("" if text in ("-", "*") else text for text in match.groups()[2:])
            leases.append(Lease(mac=match[1].lower(), address=match[2], name=name, client=client))
    return leases


def give_back(*, uri: str, network: str, server: str, prefix: str) -> None:
    """Release on the libvirt network the leases of deleted machines whose names begin with `prefix`.

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
