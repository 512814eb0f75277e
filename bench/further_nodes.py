"""What further nodes cost, over a prepared image that is there: an agent added, the same rebuilt, three nodes from nothing."""

from __future__ import annotations

from typing import Any

from bench.checkout import Changes, Checkout, changed
from components.config.settings import Settings

ADDED, REBUILT, THREE = "an agent added", "an agent rebuilt", "two nodes more, from nothing"
MOST = 2
"""Agents that are added to the stack's nodes."""


def room(settings: Settings) -> Changes:
    """Each node's part of the network for pods, so that the range holds those of `MOST` further nodes too and none of them moves
    when one is added. Nothing where the stack says it, or gives out no range."""
    ((name, network),) = settings.pod_networks.items()
    nodes = settings.servers.count + settings.agents.count + MOST
    if network.ipam != "host-local" or network.range is None or network.addresses_per_node is not None:
        return {}
    own = {"range": network.range.shortest, "addressesPerNode": max(1, len(network.range) // nodes)}
    return {"podNetworks": {name: own}}


def with_agents(document: dict[str, Any], settings: Settings, more: int) -> dict[str, Any]:
    """The stack file's content with `more` agents than the settings have."""
    return changed(document, {"agents": {"count": settings.agents.count + more}})


def added_and_rebuilt(checkout: Checkout, stack: str, larger: dict[str, Any], agent: str) -> dict[str, dict[str, float]]:
    """On a stack that runs: `up` that adds an agent, and one that recreates it. larger: the stack file's content with it."""
    checkout.write_stack(stack, larger)
    added = checkout.lab(stack, "up", "--suppress-outputs")
    rebuilt = checkout.lab(stack, "up", "--suppress-outputs", "--replace", f"**::{agent}-disk")
    return {ADDED: added.figures(), REBUILT: rebuilt.figures()}
