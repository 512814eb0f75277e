"""Devices of the hypervisor that contradict each other: one that several machines would have, and labels that devices set. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from components.config.devices import LABEL, DevicePlan
from components.config.plan import NodePlan
from components.config.problems import Problem, following, presence
from components.config.settings import Settings


def conflicts(nodes: Sequence[NodePlan], settings: Settings) -> Iterator[Problem]:
    """Devices that more than one machine would have, and labels that say what devices say."""
    users: dict[tuple[str, str, str], list[tuple[NodePlan, DevicePlan]]] = {}
    for node in nodes:
        for device in node.devices:
            users.setdefault((node.pool.hypervisor, device.kind, device.choice), []).append((node, device))
    for (hypervisor, _kind, choice), given in users.items():
        if len(given) > 1:
            listed = ", ".join(f"{node.name} ({device.name})" for node, device in given)
            conflict = (
                f"is given {len(given)} times on the hypervisor {hypervisor}: {listed}; one machine has a device, and once; leave "
                "it to one of them, by overrides.NODE.devices, or place the nodes on hypervisors that have one each"
            )
            reads = {
                *(device.setting for _node, device in given),
                *(f"{node.role}s.{field}" for node, _device in given for field in ("count", "hypervisor")),
                *(f"{node.role}s.overrides.{node.name}.hypervisor" for node, _device in given),
            }
            yield following(given[-1][1].setting, choice, conflict, *sorted(reads))
    for role, group in settings.groups:
        yield from _labels(f"{role}s", group.labels)
        for name, override in sorted(group.overrides.items()):
            yield from _labels(f"{role}s.overrides.{name}", override.labels or {})


def _labels(path: str, chosen: Mapping[str, str]) -> Iterator[Problem]:
    for key in sorted(chosen):
        if key.startswith(LABEL):
            setting = f"{path}.labels.{key}"
            conflict = f"is set by the program on nodes with a device of this name; remove it, or choose another key than {LABEL}…"
            yield Problem(setting, "", conflict, frozenset({presence(setting)}))
