"""Reports the servers that have another release of K3s, from the API's list of nodes on stdin.

Argument: the release. Exit: 0; 1 where the list names no server.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def others(nodes: dict[str, Any], version: str) -> str | None:
    """Name and release of each, as one line; None where there is no server."""
    servers = {node["metadata"]["name"]: node["status"]["nodeInfo"]["kubeletVersion"] for node in nodes["items"]}
    if not servers:
        return None
    return ", ".join(f"{name} has {has}" for name, has in sorted(servers.items()) if has != version)


if __name__ == "__main__":
    line = others(json.load(sys.stdin), sys.argv[1])
    if line is None:
        sys.exit(1)
    print(line)
