"""What pods have of their networks that is not what the networks, or their annotations, say now. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from cli.kube import Definition, Pod
from cli.networks import matched
from components.config.plan import Plan

_NO_DEFAULT_ROUTE = ((4, 2, 2), (4, 3, 0))
"""The first and the last release of Multus that leaves eth0's default route, whatever an annotation's default-route says: its
DeleteDefaultGW does not find the route (multus-cni pull request 1552; docs/measured.md 47)."""


@dataclass(frozen=True, kw_only=True)
class Outdated:
    """A pod that was made with a network as it was before its last change."""

    pod: str
    """namespace/name."""
    network: str
    """namespace/name."""
    own: bool
    """It is the program's, which makes it again; another is to be deleted by hand."""
    text: str
    """The whole of it, with the remedy."""

    def plain(self) -> dict[str, Any]:
        return {"pod": self.pod, "network": self.network, "own": self.own}


def outdated(pods: Sequence[Pod], definitions: Sequence[Definition]) -> tuple[Outdated, ...]:
    """The pods that still have a former version of a network: the program's own by its revision, others by the time at which their
    network was made.

    Not known of a pod whose network was made in the second of the change.
    """
    by_network = {definition.network: definition for definition in definitions}
    return tuple(
        attachment
        for pod in pods
        if not (pod.ended or pod.deleted or pod.waiting)
        for attachment in (_own(pod, by_network) if pod.revisions is not None else _of_others(pod, by_network))
    )


def _own(pod: Pod, by_network: Mapping[str, Definition]) -> Iterator[Outdated]:
    for selection, revision in zip(pod.requests, pod.revisions or (), strict=False):
        definition = by_network.get(selection.network)
        if definition is not None and definition.revision and definition.revision != revision:
            text = f"pod {pod.full_name} has {selection.network} as it was before its last change: ./lab up makes it again with it"
            yield Outdated(pod=pod.full_name, network=selection.network, own=True, text=text)


def _of_others(pod: Pod, by_network: Mapping[str, Definition]) -> Iterator[Outdated]:
    for network in dict.fromkeys(interface.network for interface in pod.secondary):
        definition = by_network.get(network)
        if definition is None or definition.changed is None or pod.networked is None or pod.networked >= definition.changed:
            continue
        text = (
            f"pod {pod.full_name} has {network} as it was before its definition last changed, at "
            f"{definition.changed.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC: delete the pod, so that it is made again with it"
        )
        yield Outdated(pod=pod.full_name, network=network, own=False, text=text)


def without_default_route(pods: Sequence[Pod], multus: Mapping[str, str], plan: Plan | None) -> tuple[str, ...]:
    """The pods whose annotation's default-route has had no effect, with the remedy. multus: its image by name of the node.

    Known of the releases that are named above, where the cluster's own interface has a default route and the network gives none.
    """
    return tuple(text for pod in pods if not pod.ended for text in _without_default_route(pod, multus.get(pod.node, ""), plan))


def _without_default_route(pod: Pod, image: str, plan: Plan | None) -> Iterator[str]:
    release = _release(image)
    stays = any(interface.gateways for interface in pod.interfaces if not interface.own)
    if release is None or not _NO_DEFAULT_ROUTE[0] <= release <= _NO_DEFAULT_ROUTE[1] or not stays:
        return
    paths = {network.reference: network.path for network in (plan.networks if plan else ())}
    for selection, interface in zip(pod.requests, matched(pod.requests, pod.interfaces), strict=True):
        if not selection.default_route or interface is None or interface.gateways:
            continue
        path = paths.get(selection.network)
        remedy = f"set {path}.defaultRoute or {path}.replies: by-source" if path else "give the network's own definition the route"
        yield (
            f"pod {pod.full_name}: its annotation's default-route by {interface.name} ({selection.network}) has had no effect, "
            f"because Multus {'.'.join(map(str, release))} leaves that of eth0; {remedy}"
        )


def _release(image: str) -> tuple[int, int, int] | None:
    """(4, 3, 0) of ghcr.io/k8snetworkplumbingwg/multus-cni:v4.3.0; None where its tag names no release."""
    match = re.search(r":v?(\d+)\.(\d+)\.(\d+)(?:-thick)?(?:@|$)", image)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None
