"""The annotation in which Multus reports a pod's interfaces. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

NETWORK_STATUS = "k8s.v1.cni.cncf.io/network-status"


def network_status(annotations: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The entries of a pod's network-status annotation, [] where there is none."""
    entries = json.loads(annotations.get(NETWORK_STATUS, "[]"))
    return entries if isinstance(entries, list) else []
