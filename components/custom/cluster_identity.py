"""The cluster as a resource, and the K3s release that its servers have as another: they make nothing.

The second refuses steps that K3s does not support, https://docs.k3s.io/upgrades: one minor release at a time, never back. A dynamic
provider, because only check() sees the release of the last run next to the new one, in a preview as well. Module path and class
name are in every state file.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CheckFailure, CheckResult, DiffResult, Resource

from components.config.plan import k3s_release
from components.custom.provider import StoringProvider, properties
from components.custom.reporting import remark


@dataclass(frozen=True, kw_only=True)
class ReleaseArgs:
    """Inputs of `Release`."""

    version: Input[str]
    """K3s release, as v1.27.8+k3s2."""
    serial: Input[str]
    """`OverlayDisk.serial` of the first server's disk."""
    alone: Input[bool]
    """Whether the first server is the only one, so that its data are the cluster."""
    data: Input[str] | None = None
    """`DataDisk.disk_id` of the data disk that has K3s's data on the first server; None: its root disk has them."""


class ReleaseProvider(StoringProvider):
    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        moved = bool(_olds.get("data")) != bool(news.get("data")) and _olds.get("serial") == news.get("serial")
        same = _olds.get("cluster") and not (news["alone"] and not moved and _place(_olds) != _place(news))
        new = {"cluster": secrets.token_hex(8), "founder": _place(news)}
        inputs = {**news, **({name: _olds[name] for name in new} if same else new)}
        if same and moved and _olds["founder"] == _place(_olds):
            inputs["founder"] = _place(news)
        return CheckResult(inputs, [])

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        other = _olds.get("cluster") != _news.get("cluster")
        if other:
            remark(
                "the disk with the only server's data is replaced, and the cluster with all of its objects is deleted with it: "
                "./lab backup before keeps what it has, and ./lab restore after brings it back"
            )
        changed = other or any(_olds.get(name) != _news.get(name) for name in ("version", "serial", "alone", "data"))
        return DiffResult(changes=changed, replaces=["cluster"] if other else [], delete_before_replace=True)


def _place(props: dict[str, Any]) -> Any:
    """What identifies the disk that K3s's data are on. They are moved between a machine's root disk and a data disk by hand, and
    the node refuses a data disk that would hide them (data-disk.sh)."""
    return props.get("data") or props.get("serial")


def refusal(old: str, new: str) -> str:
    """Why K3s cannot go from one release to the other, "" if it can."""
    (old_minor, old_patch), (new_minor, new_patch) = k3s_release(old), k3s_release(new)
    if (new_minor, new_patch) < (old_minor, old_patch):
        return f"k3s.version = {new} is older than {old}, which runs: K3s cannot go back. Set {old} or later, or make a new stack"
    if new_minor > old_minor + 1:
        return (
            f"k3s.version = {new} skips minor releases after {old}, which runs: K3s is upgraded one at a time. "
            f"Set a v1.{old_minor + 1} release first"
        )
    return ""


class Release(Resource, module="release", name="Release"):
    """The cluster as one thing with one release.

    cluster: its identity, random, an input that check() keeps, so a preview knows it. It changes when the only server is
    replaced without its data, and stays when a server among others is, or servers are added.
    founder: identity of the disk that the first server's data were on when the cluster began. With another disk it joins what the
    others kept, and never begins a second cluster.
    """

    cluster: Output[str]
    """Identity of the cluster, random, hexadecimal."""
    founder: Output[str]
    """Identity of the disk that the first server's data were on when the cluster began."""

    def __init__(self, resource_name: str, args: ReleaseArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(ReleaseProvider(), resource_name, properties(args, cluster=None, founder=None), opts)


@dataclass(frozen=True, kw_only=True)
class ReachedReleaseArgs:
    """Inputs of `ReachedRelease`."""

    version: Input[str]
    """K3s release, as v1.27.8+k3s2."""
    cluster: Input[str]
    """`Release.cluster`: another cluster may begin with any release."""


class ReachedReleaseProvider(StoringProvider):
    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        same = _olds and _olds["cluster"] == news["cluster"]
        refused = refusal(_olds["version"], news["version"]) if same else ""
        return CheckResult(news, [CheckFailure("version", refused)] if refused else [])

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=any(_olds.get(name) != _news.get(name) for name in ("version", "cluster")))


class ReachedRelease(Resource, module="release", name="ReachedRelease"):
    """The K3s release that all servers had when they last worked; it depends on their steps. One that was asked for and that no
    node could get is not it, so that the former may be set again.

    A release that is older than this one, or skips a minor release after it, is a failed check: in the preview, and so before
    anything is changed. Without a preview (`pulumi up --skip-preview`) the nodes refuse it (k3s-install.sh).
    """

    def __init__(self, resource_name: str, args: ReachedReleaseArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(ReachedReleaseProvider(), resource_name, properties(args), opts)
