"""Conflicts of data disks: what no single setting shows. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import PurePosixPath

from components.config.disk_plan import DiskPlan
from components.config.disks import RANCHER
from components.config.model import to_camel
from components.config.plan import NodePlan, Plan
from components.config.problems import Problem, following, presence
from components.config.settings import NodeGroup, NodeOverride, Settings


@dataclass(frozen=True)
class _Disks:
    """The data disks of one node, and the settings that they come from."""

    node: NodePlan
    group: NodeGroup

    @property
    def _override(self) -> NodeOverride:
        return self.group.overrides.get(self.node.name, NodeOverride())

    @property
    def overrides(self) -> str:
        """Path of the setting of the node's own disks."""
        return f"{self.node.role}s.overrides.{self.node.name}.disks"

    @property
    def of_group(self) -> str:
        """Path of the setting in which a further disk of the node is looked for."""
        return f"{self.node.role}s.disks"

    def setting(self, disk: str, field: str) -> str:
        """Path of the setting that gives a disk of the node this field."""
        changes = self._override.disks.get(disk)
        overridden = changes is not None and (getattr(changes, field) is not None or disk not in self.group.disks)
        return f"{self.overrides if overridden else self.of_group}.{disk}.{to_camel(field)}"

    def gives(self, disk: str, field: str) -> bool:
        """Whether the settings say this field of a disk."""
        places = (self._override.disks.get(disk), self.group.disks.get(disk))
        return any(place is not None and getattr(place, field) is not None for place in places)

    def without_size(self) -> Iterator[str]:
        for name, changes in self._override.disks.items():
            if name not in self.group.disks and changes.size is None:
                yield name


def conflicts(plan: Plan, settings: Settings) -> Iterator[Problem]:
    """Everything about data disks that contradicts itself."""
    groups = dict(settings.groups)
    of_nodes = [_Disks(node, groups[node.role]) for node in plan.nodes]
    for disks in of_nodes:
        yield from _sizes(disks)
        yield from _places(disks)
        yield from _mounts(disks)
        yield from _serials(disks)
    yield from _of_k3s(of_nodes, settings)


def _sizes(disks: _Disks) -> Iterator[Problem]:
    for name in disks.without_size():
        path = f"{disks.overrides}.{name}"
        conflict = f"has no size, and {disks.of_group} has no disk of this name to take it from; write size, in GiB"
        yield Problem(path, "", conflict, frozenset({presence(path), f"{path}.size", presence(f"{disks.of_group}.{name}")}))


def _places(disks: _Disks) -> Iterator[Problem]:
    for disk in disks.node.disks:
        if not disk.path and disk.pool == disks.node.pool.name:
            conflict = "is the stack's own pool, which is made and deleted with the stack; leave pool out, and the disk is in it"
            yield following(disks.setting(disk.name, "pool"), repr(disk.pool), conflict)


def _mounts(disks: _Disks) -> Iterator[Problem]:
    # K3s's first: the other one is then the one to move.
    mounted = sorted((disk for disk in disks.node.disks if disk.mount), key=lambda disk: not disk.of_k3s)
    for one, other in combinations(mounted, 2):
        path = disks.setting(other.name, "mount")
        source = "k3s.dataDisk" if one.of_k3s else disks.setting(one.name, "mount")
        if one.mount == other.mount:
            conflict = f"is where {disks.node.name} mounts its disk {one.name} too; choose another directory for one of them"
            yield following(path, other.mount, conflict, source)
        elif _lies_in(one, other) or _lies_in(other, one):
            conflict = (
                f"and {one.mount}, where {disks.node.name} mounts its disk {one.name}, lie one in the other, so that one disk "
                "would be mounted on the other; choose directories next to each other"
            )
            yield following(path, other.mount, conflict, source)
    for disk in disks.node.disks:
        own = disks.setting(disk.name, "mount")
        if disk.of_k3s and disks.gives(disk.name, "mount"):
            conflict = f"contradicts k3s.dataDisk, which mounts this disk on {RANCHER}; remove mount, or name another disk there"
            yield following(own, "", conflict, "k3s.dataDisk")
        if not disk.mount and disks.gives(disk.name, "file_system"):
            conflict = "goes with mount, and without one nothing is written to the disk; set mount, or remove fileSystem"
            yield following(disks.setting(disk.name, "file_system"), repr(disk.file_system), conflict, own, "k3s.dataDisk")


def _lies_in(one: DiskPlan, other: DiskPlan) -> bool:
    return PurePosixPath(one.mount).is_relative_to(other.mount)


def _serials(disks: _Disks) -> Iterator[Problem]:
    for one, other in combinations(disks.node.disks, 2):
        if one.serial == other.serial:
            conflict = f"gets the serial {other.serial} on {disks.node.name}, as {one.name} does; rename one of them"
            paths = [disks.setting(disk.name, "size").rpartition(".")[0] for disk in (other, one)]
            yield Problem(paths[0], "", conflict, frozenset(presence(path) for path in paths))


def _of_k3s(of_nodes: list[_Disks], settings: Settings) -> Iterator[Problem]:
    name = settings.k3s.data_disk
    if name is None:
        return
    lacking = [disks.node for disks in of_nodes if disks.node.role == "server" and disks.node.k3s_disk is None]
    if lacking:
        conflict = (
            f"names no data disk of {', '.join(node.name for node in lacking)}, and each server needs it; write "
            f"servers.disks.{name}, or correct the name"
        )
        reads = ["servers.disks", "servers.count", *(f"servers.overrides.{node.name}.disks" for node in lacking)]
        yield following("k3s.dataDisk", repr(name), conflict, *reads)


def warnings(plan: Plan, settings: Settings) -> Iterator[str]:
    """What is allowed and seldom wanted."""
    first = plan.servers[0].k3s_disk
    if first is None or not first.keep:
        return
    if settings.servers.count > 1:
        yield (
            f"k3s.dataDisk = {settings.k3s.data_disk!r}: with several servers the kept disks do not bring the cluster back after "
            "`destroy`, because its servers start one after another and each waits for a majority of them"
        )
    without = [node.name for node in plan.nodes if node.k3s_disk is None or not node.k3s_disk.keep]
    if without and settings.servers.count == 1:
        yield (
            f"k3s.dataDisk = {settings.k3s.data_disk!r}: after `destroy` the kept cluster still knows {', '.join(without)} by "
            "passwords that are lost with those machines; give them a kept disk of this name too, or delete the nodes by kubectl "
            "before"
        )
