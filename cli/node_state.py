"""How the machines are inside: uptime, memory, file systems, and whether a reboot is pending, by one SSH connection to each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from cli.folders import ROOT
from cli.stack import Node, Stack
from cli.verbs import ssh

SCRIPT = ROOT / "components/node/scripts/node-state.sh"
"""As it is: it has no parts, so this needs no `command`, which imports Pulumi."""
CERTIFICATES = ROOT / "components/node/scripts/k3s_certificates.py"
LIMIT = 30.0
"""Seconds for all nodes together, which are queried in parallel."""
NEARLY_FULL = 85
"""Percent of a file system from which the kubelet deletes images (imageGCHighThresholdPercent)."""
CERTIFICATES_SOON, AUTHORITIES_SOON = 120, 365
"""Days from which on certificates, and certificate authorities, are warned of: those of `up` (components.custom.node_certificates,
which imports Pulumi), and K3s's own."""
_TIME = re.compile(r"[0-9-]{10}T[0-9:]{8}Z")
_EVICTION = 95
"""Percent of the root file system from which K3s's kubelet evicts pods (--eviction-hard, nodefs.available<5%)."""
_DISKS = ("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "bcachefs")
"""File systems that hold data of the node; others are the kernel's, a boot loader's, or only read."""
_ELSEWHERE = ("/boot", "/run", "/var/lib/kubelet", "/snap", "/var/snap")
"""Where mounts are that are shown elsewhere (volumes of pods) or are full as they are meant to be."""
_OF_K3S = ("/var/lib/rancher/k3s", "/var/lib/kubelet")
"""What the kubelet watches is on the file systems of these."""
_GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class FileSystem:
    """A file system of a node."""

    mount: str
    size: int
    """In bytes."""
    used: int
    """In bytes."""
    available: int
    """Bytes that programs may still write; less than the rest where some is reserved for root."""

    @property
    def percent(self) -> int:
        """How full it is, rounded up, as df counts."""
        whole = self.used + self.available
        return -(-100 * self.used // whole) if whole else 0

    def __str__(self) -> str:
        return f"{self.used / _GIB:.1f} of {self.size / _GIB:.1f} GiB ({self.percent} %)"

    def plain(self) -> dict[str, Any]:
        return {**asdict(self), "percent": self.percent}


@dataclass(frozen=True, kw_only=True)
class NodeState:
    """What a node reports of itself. None: it does not report it."""

    uptime: int | None = None
    """Seconds since its boot."""
    memory: int | None = None
    """MiB that its kernel has to give."""
    memory_used: int | None = None
    """MiB that programs cannot have any more without taking them from others."""
    file_systems: tuple[FileSystem, ...] = ()
    """The root file system first."""
    reboot: str = ""
    """Why a reboot is pending; empty if none is."""
    certificates: str = ""
    """When the first of K3s's certificates ends, as 2027-11-26T10:00:00Z."""
    authorities: str = ""
    """The same of its certificate authorities."""

    def plain(self) -> dict[str, Any]:
        file_systems = [file_system.plain() for file_system in self.file_systems]
        memory = None if self.memory is None else {"total_mib": self.memory, "used_mib": self.memory_used}
        return {"uptime_seconds": self.uptime, "memory": memory, "file_systems": file_systems, "reboot": self.reboot} | {
            "certificates_end": self.certificates or None,
            "authorities_end": self.authorities or None,
        }


def query(stack: Stack, nodes: Sequence[Node]) -> tuple[dict[str, NodeState], list[str]]:
    """The state of each node that answers, by name, and why others did not."""
    states, notes = {}, []
    script, certificates = (path.read_text(encoding="utf-8") for path in (SCRIPT, CERTIFICATES))
    command = ssh.quoted(["bash", "-c", script, SCRIPT.name, certificates])
    for name, answer in ssh.gather(stack, nodes, [command], LIMIT).items():
        if answer.error:
            notes.append(f"{name} is not seen from inside: {answer.error}")
        else:
            states[name] = parse(answer.text)
    return states, list(dict.fromkeys(notes))


def parse(text: str) -> NodeState:
    """The report of node-state.sh. What is not understood is left out: another image writes it otherwise."""
    facts: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        name, _space, rest = line.partition(" ")
        facts.setdefault(name, []).append(rest.split())
    memory = {words[0]: int(words[1]) // 1024 for words in facts.get("memory", ()) if len(words) == 2 and words[1].isdecimal()}
    total, available = memory.get("MemTotal"), memory.get("MemAvailable")
    uptime = next((int(words[0]) for words in facts.get("uptime", ()) if words and words[0].isdecimal()), None)
    return NodeState(
        uptime=uptime,
        memory=total,
        memory_used=None if total is None or available is None else total - available,
        file_systems=_file_systems(facts.get("file-system", ())),
        reboot="; ".join(_reboots(facts)),
        certificates=_end(facts, "certificate"),
        authorities=_end(facts, "authority"),
    )


def _end(facts: Mapping[str, Sequence[Sequence[str]]], kind: str) -> str:
    """When the first certificate of this kind ends; empty where the node does not say it."""
    times = [words[0] for words in facts.get(kind, ()) if words and _TIME.fullmatch(words[0])]
    return min(times, default="")


def days_left(end: str, at: datetime) -> int | None:
    """Whole days until a time of a report; None where there is none."""
    return (datetime.fromisoformat(end) - at).days if end else None


def _file_systems(rows: Sequence[Sequence[str]]) -> tuple[FileSystem, ...]:
    """Of df's rows those with data, each device once: a bind mount or subvolume is the same file system."""
    by_device: dict[str, FileSystem] = {}
    for device, kind, size, used, available, _percent, *mount in (row for row in rows if len(row) >= 7):
        path = " ".join(mount)
        if kind not in _DISKS or not (size + used + available).isdecimal() or any(_within(path, place) for place in _ELSEWHERE):
            continue
        read = FileSystem(mount=path, size=int(size) * 1024, used=int(used) * 1024, available=int(available) * 1024)
        if device not in by_device or len(path) < len(by_device[device].mount):
            by_device[device] = read
    return tuple(sorted(by_device.values(), key=lambda file_system: file_system.mount))


def _within(path: str, place: str) -> bool:
    return path == place or path.startswith(f"{place.rstrip('/')}/")


def _reboots(facts: Mapping[str, Sequence[Sequence[str]]]) -> list[str]:
    """Each reason for a reboot."""
    reasons = []
    running = next((words[0] for words in facts.get("kernel", ()) if words), "")
    installed = [words[0] for words in facts.get("installed", ()) if words]
    newer = [release for release in installed if _flavour(release) == _flavour(running) and _version(release) > _version(running)]
    if newer:
        reasons.append(f"the kernel {max(newer, key=_version)} is installed, and {running} runs")
    elif running and installed and not facts.get("modules"):
        # A distribution that keeps one kernel has put another in place of it (Arch).
        reasons.append(f"the kernel {running} runs, and is no longer installed: {', '.join(installed)}")
    for source, *packages in (words for words in facts.get("reboot", ()) if words):
        listed = ", ".join(packages)
        reasons.append(f"{source}: {listed}" if listed else source)
    return reasons


def _flavour(release: str) -> str:
    """cloud-amd64 of 6.1.0-25-cloud-amd64: kernels of another flavour are not newer ones of this."""
    match = re.search(r"[A-Za-z][A-Za-z0-9_-]*$", release)
    return "" if match is None else match[0]


def _version(release: str) -> tuple[int, ...]:
    """The numbers of a kernel's release, without those of its flavour and of the distribution (el9_4, fc40)."""
    own = re.split(r"\.(?:el|fc)\d", release.removesuffix(_flavour(release)))[0]
    return tuple(int(number) for number in re.findall(r"\d+", own))


def warnings(states: Mapping[str, NodeState], at: datetime | None = None) -> list[str]:
    """What is to be warned of: file systems that are nearly full, reboots that are pending, certificates that end soon. at: now."""
    texts = []
    for name, state in states.items():
        for file_system in state.file_systems:
            if file_system.percent >= NEARLY_FULL:
                texts.append(f"{name}: {file_system.mount} has {file_system} in use{_consequence(file_system.mount)}")
        left, authorities = (days_left(end, at or datetime.now(UTC)) for end in (state.certificates, state.authorities))
        if left is not None and left <= CERTIFICATES_SOON:
            texts.append(f"{name}: a certificate of K3s ends in {left} days: ./lab up renews it, and restarts K3s there")
        if authorities is not None and authorities <= AUTHORITIES_SOON:
            texts.append(
                f"{name}: a certificate authority of K3s ends in {authorities} days, and nothing renews it by itself: see "
                "docs/certificates.md"
            )
        if state.reboot:
            texts.append(f"{name}: a reboot is pending: {state.reboot}. ./lab reboot {name}, one node after another")
    return texts


def _consequence(mount: str) -> str:
    """What follows where a file system of K3s is nearly full."""
    if not any(_within(place, mount) for place in _OF_K3S):
        return ""
    grow = "; servers.disk or agents.disk grows it" if mount == "/" else ""
    return f": from {NEARLY_FULL} % on the kubelet deletes images that no pod runs from, from {_EVICTION} % on it evicts pods{grow}"


def duration(seconds: int | None) -> str:
    """An uptime for people: the two largest units of it."""
    if seconds is None:
        return "-"
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min")]
    shown = next((parts[index : index + 2] for index, (number, _unit) in enumerate(parts) if number), parts[-1:])
    return " ".join(f"{number} {unit}" for number, unit in shown)
