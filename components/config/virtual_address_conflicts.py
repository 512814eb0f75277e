"""Conflicts of the cluster's virtual address with other settings of K3s. Pure.

That it is inside the network and nobody else's is found with all claims (conflicts.py), of which it is one.
"""

from __future__ import annotations

from collections.abc import Iterator

from components.config import k3s_options
from components.config.plan import virtual_api_address
from components.config.problems import Problem, following
from components.config.settings import Settings


def conflicts(settings: Settings) -> Iterator[Problem]:
    virtual, other = settings.k3s.virtual_address, virtual_api_address(settings)
    if virtual is None:
        return
    if other is not None:
        conflict = (
            f"is an address in front of the servers next to k3s.virtualAddress {virtual}, by which all nodes join; remove one of "
            "them, or write a name that resolves to the virtual one"
        )
        yield following("k3s.apiAddress", str(other), conflict, "k3s.virtualAddress")
    for setting, config in (("k3s.config", settings.k3s.config), ("k3s.serverConfig", settings.k3s.server_config)):
        for key, value in config.items():
            if k3s_options.name(key) == "kubelet-arg" and "pod-manifest-path" in map(
                k3s_options.argument_name, k3s_options.arguments(value)
            ):
                conflict = (
                    f"gives pod-manifest-path, and kube-vip, which gives k3s.virtualAddress {virtual} to a server, is a static pod "
                    "in K3s's own directory; remove it"
                )
                yield following(f"{setting}.{key}", "", conflict, "k3s.virtualAddress")
