"""Interfaces, files and directories of a node that options of K3s name, by its settings. Pure.

K3s does not start without them, or goes on as if the option were not set (ImageCredProvAvailable in pkg/agent/config of K3s).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from components.config import k3s_options
from components.config.settings import K3s

Kind = Literal["interface", "file", "directory"]

_OPTIONS: dict[str, Kind] = {
    "datastore-cafile": "file",
    "datastore-certfile": "file",
    "datastore-keyfile": "file",
    "etcd-s3-endpoint-ca": "file",
    "flannel-cni-conf": "file",
    "flannel-conf": "file",
    "flannel-iface": "interface",
    "image-credential-provider-bin-dir": "directory",
    "image-credential-provider-config": "file",
    "resolv-conf": "file",
}

# Arguments of Kubernetes's programs whose files they read end in -file, but for the kubelet's lock, which it creates; and these.
_READ = {"authentication-config", "authorization-config", "encryption-provider-config", "resolv-conf"}
_CREATED = {"lock-file"}


class NodeObject(NamedTuple):
    """What an option names."""

    kind: Kind
    setting: str
    """With which it is named, such as k3s.config.flannel-iface or k3s.config.kubelet-arg (resolv-conf)."""
    value: str
    """Name of the interface; absolute path."""


def node_objects(k3s: K3s, role: str) -> list[NodeObject]:
    """What must be there on a node of the role, "server" or "agent", before K3s starts; not what the program brings itself."""
    named = list(_of("k3s.config", k3s.config))
    return [*named, *_of("k3s.serverConfig", k3s.server_config)] if role == "server" else named


def _of(setting: str, config: Mapping[str, Any]) -> Iterator[NodeObject]:
    for key, value in config.items():
        option = k3s_options.name(key)
        if option in _OPTIONS:
            if value:
                yield NodeObject(_OPTIONS[option], f"{setting}.{key}", str(value))
        elif option.endswith("-arg"):
            for argument in k3s_options.arguments(value):
                flag, path = k3s_options.argument_name(argument), argument.partition("=")[2].strip()
                if path.startswith("/") and flag not in _CREATED and (flag in _READ or flag.endswith("-file")):
                    yield NodeObject("file", f"{setting}.{key} ({flag})", path)
