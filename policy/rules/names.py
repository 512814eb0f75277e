"""Names that libvirt, Kubernetes and the guests all take."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rules.values import at, text

_LABEL = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")


def out_of_limits(kind: str, props: Any) -> Iterator[str]:
    """Domains longer than a host name may be; Kubernetes names that are no DNS names (RFC 1123)."""
    if kind == "pulumi-python:dynamic/libvirt:Domain":
        name = text(at(props, "name"))
        if name is not None and not (len(name) <= 63 and re.fullmatch(_LABEL, name)):
            yield f"domain {name} ({len(name)} characters) is also the host name: at most 63 of a-z, 0-9 and -"
    elif kind.startswith("kubernetes:"):
        name, namespace = text(at(props, "metadata", "name")), text(at(props, "metadata", "namespace"))
        # RBAC names may hold more (system:node); none of ours does.
        if name is not None and not (len(name) <= 253 and _SUBDOMAIN.fullmatch(name)):
            yield f"name {name}: at most 253 of a-z, 0-9, - and ., each part beginning and ending with a letter or digit"
        if namespace is not None and not (len(namespace) <= 63 and re.fullmatch(_LABEL, namespace)):
            yield f"namespace {namespace}: at most 63 of a-z, 0-9 and -"
