"""The stages of the scenario: what they are called, and which resource of `up` does each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.events import Bar
from components.config.plan import Plan


@dataclass(frozen=True)
class Stage:
    """A stage of the scenario."""

    key: str
    """Its name in by-hand.sh and in the figures."""
    title: str
    """Its name in tables."""
    resource: str
    """Name of the resource whose end is the stage's in `up`, with {node}, {hypervisor}, {pod} and, of the
    pod's networks, {network} for the first of each."""


STAGES = (
    Stage("image", "image here and verified", "{hypervisor}-prepared-image"),
    Stage("machine", "machine started", "{node}-domain"),
    Stage("cloud-init", "SSH answers, cloud-init done", "{node}-booted"),
    Stage("macvlan", "macvlan checked on the node", "{node}-{network}-check"),
    Stage("k3s", "K3s installed, API answers", "{node}-k3s-install"),
    Stage("ready", "node Ready", "{node}-k3s-ready"),
    Stage("plugin", "macvlan plugin installed", "{node}-k3s-plugins-install"),
    Stage("multus", "Multus works on the node", "{node}-multus-gate"),
    Stage("pod", "pod Ready with its address", "{pod}"),
    Stage("page", "page served on the network", "{pod}-{network}-proof"),
)


def done_at(bars: Iterable[Bar], plan: Plan) -> dict[str, float]:
    """Seconds since the start of `up` at which each stage was done; without those that this stack does not have."""
    node, pod = plan.nodes[0], plan.pods[0]
    network = pod.attachments[0].network.name
    names = {"node": node.name, "hypervisor": node.pool.hypervisor, "pod": pod.name, "network": network}
    ends: Mapping[str, float] = {bar.name: bar.end for bar in bars}
    resource_of = {stage.key: stage.resource.format(**names) for stage in STAGES}
    return {key: round(ends[name], 2) for key, name in resource_of.items() if name in ends}
