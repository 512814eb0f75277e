"""The cluster's K3s release as a resource: it makes nothing, and refuses steps that K3s does not support.

https://docs.k3s.io/upgrades: one minor release at a time, never back. A dynamic provider, because only check() sees the
release of the last run beside the new one, in a preview as well. Module path and class name are in every state file.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CheckFailure, CheckResult, CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from components.plan import k3s_release


@dataclass(frozen=True, kw_only=True)
class ReleaseArgs:
    """version: as v1.27.8+k3s2. cluster: another value is another cluster, which may start with any release."""

    version: Input[str]
    cluster: Input[str]


class ReleaseProvider(ResourceProvider):
    serialize_as_secret_always = False

    def __init__(self) -> None:
        """Without state: only the class's name goes into the stack's state."""

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        refused = ""
        if isinstance(_olds.get("cluster"), str) and _olds["cluster"] == news.get("cluster"):
            refused = refusal(_olds["version"], news["version"])
        return CheckResult(news, [CheckFailure("version", refused)] if refused else [])

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        other = _olds.get("cluster") != _news.get("cluster")
        changed = other or _olds.get("version") != _news.get("version")
        return DiffResult(changes=changed, replaces=["cluster"] if other else [], delete_before_replace=True)

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(secrets.token_hex(8), props)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(_news)


def refusal(old: str, new: str) -> str:
    """Why K3s cannot go from one release to the other, "" if it can."""
    (old_minor, old_patch), (new_minor, new_patch) = k3s_release(old), k3s_release(new)
    if (new_minor, new_patch) < (old_minor, old_patch):
        return f"k3s.version = {new} is older than {old}, which runs: K3s cannot go back. Set {old} or later, or make a new stack"
    if new_minor > old_minor + 1:
        return (
            f"k3s.version = {new} skips minor releases after {old}, which runs: K3s goes up one at a time. "
            f"Set a v1.{old_minor + 1} release first"
        )
    return ""


class Release(Resource, module="release", name="Release"):
    """The release that the cluster runs. A step back, or over a minor release, is a failed check: nothing is changed."""

    version: Output[str]

    def __init__(self, resource_name: str, args: ReleaseArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(ReleaseProvider(), resource_name, {"version": args.version, "cluster": args.cluster}, opts)
