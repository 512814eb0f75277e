"""The devices of the hypervisors that nodes are given: their resources, and what a machine's inputs say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.config.devices import DevicePlan
from components.config.plan import NodePlan, Plan
from components.libvirt.host_device import HostDevice, HostDeviceArgs


def of_nodes(plan: Plan) -> dict[str, list[HostDevice]]:
    """By node's name, its devices in the order of the plan. What is made on a hypervisor depends on those of its nodes."""
    return {node.name: [_resource(plan, node, device) for device in node.devices] for node in plan.nodes}


def _resource(plan: Plan, node: NodePlan, device: DevicePlan) -> HostDevice:
    return HostDevice(
        f"{node.name}-device-{device.name}",
        HostDeviceArgs(
            uri=node.pool.uri,
            kind=device.kind,
            choice=device.choice,
            owner=plan.owner,
            setting=device.setting,
            optional=device.optional,
        ),
    )


def inputs(node: NodePlan, devices: Sequence[HostDevice]) -> list[Mapping[str, Any]] | None:
    """The input of the node's domain; None for a node without any, whose inputs stay what they were."""
    if not node.devices:
        return None
    return [
        {
            "name": planned.name,
            "kind": planned.kind,
            "choice": planned.choice,
            "optional": planned.optional,
            "address": device.address,
        }
        for planned, device in zip(node.devices, devices, strict=True)
    ]


def hardware(node: NodePlan) -> str:
    """The devices that can take a restart of the machine, as an end of the text of its hardware: a PCI device has a port of its own
    there, which an older machine lacks."""
    pci = [device.choice for device in node.devices if device.kind == "pci"]
    return f", PCI {' '.join(pci)}" if pci else ""
