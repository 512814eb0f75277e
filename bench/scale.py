"""Stack files of any number of nodes, for what needs no machine."""

from __future__ import annotations

from typing import Any

from components.config.settings import Settings

DEFAULT_NETWORK = next(iter(Settings().pod_networks))
"""Name of the network for pods where a stack names none."""


def changes(nodes: int, network: str = DEFAULT_NETWORK) -> dict[str, dict[str, Any]]:
    """Settings for one server and the rest agents, with a slice of the range of `network` and a pod for each node.

    nodes: at most 100.
    """
    # libvirt's test driver as host, and a port where nobody listens: no real machine can be reached.
    single_node: dict[str, dict[str, Any]] = {
        "hypervisors": {"local": {"uri": "test:///default"}},
        "k3s": {"apiAddress": "127.0.0.1"},
        # The program itself probes whether a new machine listens; there is none.
        "timeouts": {"boot": 1},
    }
    if nodes == 1:
        return single_node
    first = min(100, 140 - nodes)
    return single_node | {
        "agents": {"count": nodes - 1},
        "network": {"nodes": f"192.168.122.{first}-192.168.122.139"},
        "podNetworks": {network: {"range": "192.168.122.140-192.168.122.239", "addressesPerNode": 4 if nodes <= 25 else 1}},
        "workload": {"perNode": True},
    }
