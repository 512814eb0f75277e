"""kubectl on a node of a stack, as the stories ask it: a K3s that restarts by itself is asked again.

On full cores K3s ends now and then and systemd starts it again (docs/nodes.md), in the middle of any chapter (seen).
"""

from __future__ import annotations

import json
import re
import time
from typing import Any

from conftest import Checkout

RESTARTING = re.compile(
    r"was refused|connection reset|unexpected EOF|: EOF|TLS handshake timeout|Unable to connect to the server"
    r"|ServiceUnavailable|unable to handle the request|apiserver not ready|the server was unable to return a response"
    r"|etcdserver: |leader changed|error dialing backend|RBAC: .* not found|couldn't get resource list"
)
"""What kubectl says of an API server that is on its way down or up, and did nothing of what was asked."""
PATIENCE = 300
"""Seconds until it has to answer."""


def kubectl(checkout: Checkout, words: str, stdin: str = "") -> str:
    """What kubectl prints on server-1; `stdin` is what it reads. Fails the test unless it ends with 0."""
    given = f" <<'END'\n{stdin}\nEND" if stdin else ""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return checkout.node(f"k3s kubectl {words}{given}")
        except AssertionError as error:
            if not RESTARTING.search(str(error)) or time.monotonic() > deadline:
                raise
        time.sleep(5)


def refused(checkout: Checkout, words: str, stdin: str = "") -> str:
    """What kubectl says where it has to fail."""
    try:
        said = kubectl(checkout, words, stdin)
    except AssertionError as error:
        return str(error)
    raise AssertionError(f"kubectl {words} did not fail: {said}")


def apply(checkout: Checkout, *objects: dict[str, Any]) -> str:
    """Apply objects, without kubectl's own validation: the API has 32 s to send it its schema, and a K3s that has just started
    exceeds them (seen)."""
    return kubectl(checkout, "apply --validate=false -f -", json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


def says(checkout: Checkout, words: str, wanted: str, limit: float = 300) -> str:
    """Ask kubectl until what it prints, or why it fails, has these words in it."""
    deadline = time.monotonic() + limit
    while wanted not in (said := checkout.node(f"k3s kubectl {words} 2>&1 || true")):
        assert time.monotonic() < deadline, f"kubectl {words}: {said}"
        time.sleep(3)
    return said
