"""NoCloud documents: user data, meta data and network configuration. Pure.

Serialised by a library, so that no value can become structure. Formats: https://docs.cloud-init.io (NoCloud, network config v2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from components.node import yaml_text


def user_data(
    *,
    hostname: str,
    user: str,
    authorized_keys: Sequence[str],
    host_private_key: str,
    host_public_key: str,
    at_boot: Sequence[Sequence[str]] = (),
    extra: Mapping[str, Any] | None = None,
) -> str:
    """cloud-init's user data.

    One user with sudo and keys only, no password login, the host key that the program pins. `at_boot`: commands of every
    boot, before those of `extra`. `extra` is merged at the top level; a key of ours in it raises ValueError naming the key.
    The result holds a private key: treat it as a secret.
    """
    extra = dict(extra or {})
    ours: dict[str, Any] = {
        "hostname": hostname,
        "fqdn": hostname,
        "prefer_fqdn_over_hostname": False,
        "manage_etc_hosts": True,
        "users": [
            {
                "name": user,
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "shell": "/bin/bash",
                "lock_passwd": True,
                "ssh_authorized_keys": [key.strip() for key in authorized_keys],
            }
        ],
        "ssh_pwauth": False,
        "disable_root": True,
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": host_private_key, "ed25519_public": host_public_key.strip()},
    }
    for key in extra:
        if key in ours:
            raise ValueError(f"cloud-init key {key!r} is set by this program and cannot be set twice; remove it")
    if at_boot:
        theirs = extra.pop("bootcmd", [])
        if not isinstance(theirs, list):
            raise ValueError("cloud-init key 'bootcmd' is no list of commands; write it as one, this program adds one of its own")
        ours["bootcmd"] = [*(list(command) for command in at_boot), *theirs]
    return document({**ours, **extra})


def document(content: Mapping[str, Any]) -> str:
    """User data of this content."""
    return "#cloud-config\n" + _yaml(content)


def meta_data(*, instance_id: str, hostname: str) -> str:
    """cloud-init's meta data. Another instance id makes cloud-init run as on a first boot."""
    return _yaml({"instance-id": instance_id, "local-hostname": hostname})


@dataclass(frozen=True)
class StaticAddress:
    """`address` with prefix length, as in 192.168.1.20/24."""

    address: str
    gateway: str | None = None
    nameservers: Sequence[str] = field(default_factory=tuple)
    search: Sequence[str] = field(default_factory=tuple)


def network_config(*, mac: str, interface: str = "enp1s0", static: StaticAddress | None = None, mtu: int | None = None) -> str:
    """cloud-init's network config, version 2: one NIC, matched by its MAC, named `interface`; mtu in bytes, None: the NIC's own.

    Without `static` it uses DHCP with its MAC as identifier: clones share a machine id, and the reservation is by MAC.
    """
    nic: dict[str, Any] = {"match": {"macaddress": mac.lower()}, "set-name": interface}
    if static is None:
        nic |= {"dhcp4": True, "dhcp6": False, "dhcp-identifier": "mac"}
    else:
        nic |= {"dhcp4": False, "dhcp6": False, "addresses": [static.address]}
        if static.gateway:
            nic["routes"] = [{"to": "0.0.0.0/0", "via": static.gateway}]
        if static.nameservers or static.search:
            nic["nameservers"] = {
                key: list(values) for key, values in (("addresses", static.nameservers), ("search", static.search)) if values
            }
    if mtu is not None:
        nic["mtu"] = mtu
    return _yaml({"version": 2, "ethernets": {interface: nic}})


def _yaml(document: Mapping[str, Any]) -> str:
    return yaml_text.dump(dict(document), sort_keys=False, width=4096, allow_unicode=True)
