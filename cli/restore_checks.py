"""Why a backup is not restored into a stack: what its header, its content and the stack's settings say. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from cli.backup_file import Content, Header
from components.config.plan import k3s_release

OTHER_CLUSTER = "--other-cluster"

_DECIDED_ONCE = {
    "cluster-cidr": "k3s.podCidr",
    "service-cidr": "k3s.serviceCidr",
    "cluster-dns": "k3s.serverConfig.cluster-dns",
    "cluster-domain": "k3s.serverConfig.cluster-domain",
    "datastore-endpoint": "k3s.serverConfig.datastore-endpoint",
}
"""Keys of config.yaml that must be what the cluster began with, and their settings."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """The cluster that the stack has now."""

    cluster: str = ""
    """UID of its namespace kube-system; empty: its API does not answer."""
    founded: str = ""
    """When it began, as the API has it."""
    identity: str = ""
    """`Release.cluster` in the stack's state; empty: there is none."""


def of_header(header: Header, owner: str, version: str, *, other_cluster: bool) -> Iterator[str]:
    """What is wrong with restoring it as `owner` (project/stack) with K3s's release `version`."""
    if header.owner != owner and not other_cluster:
        yield (
            f"it is of the stack {header.owner}, and this one is {owner}: name its own stack (./lab -s STACK restore), or, if "
            f"{owner} is to become that cluster, {OTHER_CLUSTER}"
        )
    (had_minor, had_patch), (minor, patch) = k3s_release(header.release), k3s_release(version)
    if (minor, patch) < (had_minor, had_patch):
        yield (
            f"it was made with K3s {header.release}, and k3s.version = {version} is older, which cannot read its data: set "
            f"k3s.version to {header.release}"
        )
    elif minor > had_minor + 1:
        yield (
            f"it was made with K3s {header.release}, and k3s.version = {version} skips minor releases after that, which K3s does "
            f"not support: restore it with {header.release}, then upgrade one minor release at a time"
        )


def of_running(header: Header, running: Running, *, other_cluster: bool) -> Iterator[str]:
    """What is wrong with putting it in place of the cluster that runs. One that began after the backup replaces the former one, as
    after the loss of a machine; one that was there before is another cluster."""
    same = header.cluster == running.cluster or (header.identity and header.identity == running.identity)
    if not running.cluster or same or other_cluster or running.founded > header.date:
        return
    yield (
        f"it is of another cluster than the one that runs here: that one began at {running.founded}, before this backup was made "
        f"({header.date}), and has the ID {running.cluster}, not {header.cluster}. If it is to be replaced all the same: "
        f"{OTHER_CLUSTER}"
    )


def of_content(content: Content, wanted: Mapping[str, Any]) -> Iterator[str]:
    """What the stack's settings lack. wanted: config.yaml of the stack's first server."""
    had = yaml.safe_load(content.config) or {}
    for key, setting in _DECIDED_ONCE.items():
        if had.get(key) != wanted.get(key):
            before, now = (config.get(key) or "K3s's default" for config in (had, wanted))
            yield f"its cluster has {key} = {before}, and {setting} gives {now}: a cluster keeps what it began with; set that"
    if content.encrypted and not wanted.get("secrets-encryption"):
        yield (
            "K3s encrypts the Secrets in it, and reads them only where that is switched on: set secrets-encryption: true in "
            "k3s.serverConfig, or the setting that gave it"
        )
    if wanted.get("secrets-encryption") and not content.encrypted:
        yield (
            "K3s does not encrypt the Secrets in it, and the settings switch that on, which K3s does for a cluster that runs: "
            "restore it without k3s.hardened and secrets-encryption, and set them afterwards"
        )
