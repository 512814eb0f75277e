"""kubectl on a node of a stack, and what else needs the API, as the stories use it: a K3s that restarts by itself is queried again.

On full cores K3s ends now and then and systemd starts it again (docs/nodes.md), in the middle of any chapter (seen).
"""

from __future__ import annotations

import json
import re
import time
from typing import Any

from conftest import Checkout, NodeCommandError

from components.cluster.kubernetes_api import NO_ANSWER

_RESTARTING = re.compile(
    NO_ANSWER.pattern + r"|was refused|connection refused|Unable to connect to the server"
    r"|\((?:ServiceUnavailable|Timeout|TooManyRequests)\)|etcdserver: |context deadline exceeded|client connection lost"
    r"|doesn't have a resource type|no matches for kind|could not find the requested resource|RBAC: .* not found"
    r"|error dialing backend|error sending request|unable to upgrade connection|Authorization error"
    r"|timed out waiting for the condition|no end within",
    re.IGNORECASE,
)
"""What kubectl reports of an API server that is on its way down or up, and of a kubelet that does not know its pods yet."""
_KLOG = re.compile(r"^[EWI]\d{4} .*$", re.MULTILINE)
"""Its messages on the way, among them that metrics-server does not answer, which fails nothing."""


def kubectl(checkout: Checkout, words: str, stdin: str = "", limit: float = 300) -> str:
    """What kubectl prints on server-1; `stdin` is what it reads. Fails the test unless it ends with 0.

    limit: seconds in which it may fail because K3s restarts. What an earlier attempt has created is done.
    """
    given = f" <<'END'\n{stdin}\nEND" if stdin else ""
    deadline, attempts = time.monotonic() + limit, 0
    while True:
        attempts += 1
        try:
            return checkout.node(f"k3s kubectl {words}{given}")
        except NodeCommandError as error:
            said = _KLOG.sub("", error.said)
            if attempts > 1 and "(AlreadyExists)" in said:
                return ""
            if not _RESTARTING.search(said) or time.monotonic() > deadline:
                raise
        time.sleep(5)


def refused(checkout: Checkout, words: str, stdin: str = "") -> str:
    """What kubectl says where it has to fail."""
    try:
        said = kubectl(checkout, words, stdin)
    except NodeCommandError as error:
        return error.said
    raise AssertionError(f"kubectl {words} did not fail: {said}")


def apply(checkout: Checkout, *objects: dict[str, Any]) -> str:
    """Apply objects, without kubectl's own validation: the API has 32 s to send it its schema, and a K3s that has just started
    exceeds them (seen)."""
    return kubectl(checkout, "apply --validate=false -f -", json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


def pod_is_ready(checkout: Checkout, pod: str) -> None:
    """Wait until a pod is Ready. kubectl waits less than a command on a node may take, and again."""
    kubectl(checkout, f"wait pod/{pod} --for=condition=Ready --timeout=60s", limit=600)


def says(checkout: Checkout, words: str, pattern: str, limit: float = 600) -> str:
    """Run kubectl until what it prints, or why it fails, matches."""
    return node_says(checkout, f"k3s kubectl {words}", pattern, limit)


def node_says(checkout: Checkout, command: str, pattern: str, limit: float = 300, name: str = "server-1") -> str:
    """Run a command on a node until what it prints, also on stderr, matches."""
    deadline = time.monotonic() + limit
    while not re.search(pattern, said := _said(checkout, command, name)):
        assert time.monotonic() < deadline, f"{command}: {said}"
        time.sleep(3)
    return said


def _said(checkout: Checkout, command: str, name: str) -> str:
    try:
        return checkout.node(f"{{ {command}\n}} 2>&1 || true", name)
    except NodeCommandError as error:
        return error.said
