"""What libvirt reports of a stack's machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cli.errors import LabError
from cli.stack import Node

# virDomainState
_STATES = ("no state", "running", "blocked", "paused", "shutting down", "shut off", "crashed", "suspended")
CONSOLE_BYTES = 1 << 20
"""How much of a console log is read at most, from its end."""


def domain_states(uris: Mapping[str, str], nodes: Sequence[Node]) -> tuple[dict[str, str], list[str]]:
    """State of each node's domain by node name, and why some are not known. Never raises."""
    from components.libvirt.connection import connect, find  # noqa: PLC0415

    states: dict[str, str] = {}
    notes: list[str] = []
    for name, uri in sorted(uris.items()):
        its_nodes = [node for node in nodes if node.hypervisor == name]
        if not its_nodes:
            continue
        try:
            with connect(uri) as connection:
                for node in its_nodes:
                    domain = find(connection.lookupByName, node.domain)
                    states[node.name] = "absent" if domain is None else _STATES[domain.state(0)[0]]
        except Exception as error:
            notes.append(f"hypervisor {name}: {error}")
    return states, notes


def bridge(uri: str, network: str) -> str:
    """Name of the network's bridge; empty if libvirt does not report it. Never raises."""
    from components.libvirt import network_xml  # noqa: PLC0415
    from components.libvirt.connection import connect, find  # noqa: PLC0415

    try:
        with connect(uri) as connection:
            libvirt_network = find(connection.networkLookupByName, network)
            return "" if libvirt_network is None else network_xml.read_network(libvirt_network.XMLDesc(0)).bridge
    except Exception:
        return ""


def console(uri: str, pool_name: str, volume_name: str) -> str:
    """The end of a machine's console log, read as a volume of the stack's pool; control characters are taken out."""
    from components.libvirt import volume_store  # noqa: PLC0415
    from components.libvirt.connection import HypervisorError, connect, find  # noqa: PLC0415

    try:
        with connect(uri) as connection:
            pool = find(connection.storagePoolLookupByName, pool_name)
            if pool is None or not pool.isActive():
                raise LabError(f"pool {pool_name} on {uri} is not there or not active: has this stack been brought up?")
            volume_store.refresh(pool)
            volume = volume_store.volume_named(pool, volume_name)
            if volume is None:
                raise LabError(f"pool {pool_name} on {uri} has no {volume_name}: the machine was never started")
            size = int(volume.info()[1])
            text = volume_store.fetch(connection, volume, offset=max(0, size - CONSOLE_BYTES)).decode("utf-8", "replace")
    except HypervisorError as error:
        raise LabError(str(error)) from None
    return readable(text)


def readable(text: str) -> str:
    """Text of a terminal without what would drive the reader's terminal."""
    import re  # noqa: PLC0415

    text = re.sub(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)", "", text)
    return "".join(
        character for character in text.replace("\r\n", "\n").replace("\r", "\n") if character in "\n\t" or character.isprintable()
    )


def uris(hypervisors: Mapping[str, Any]) -> dict[str, str]:
    """URI of each hypervisor by its name in the settings."""
    return {name: hypervisor.uri for name, hypervisor in hypervisors.items()}
