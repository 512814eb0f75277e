"""The stack's own pods: no controller makes one again, a run of the program that is limited to it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cli import backend as backends
from cli import engine, locks, process, selection
from cli import stack as stacks
from cli.errors import LabError
from cli.report import say
from components.config.plan import Plan

_POD = "kubernetes:core/v1:Pod"


def make_again(stack: str, namespace: str, names: Sequence[str]) -> None:
    """Let the program make these pods again where they are missing, or read again what they have, with their pages. Nothing else of
    the stack is changed. LabError where that fails."""
    state = stacks.pulumi_json("stack", "export", "-s", stack, "--show-secrets")
    urns = pod_urns(state, namespace, names)
    if not urns:
        return
    backend = backends.use(stack)
    engine.install_plugins()
    locks.release_and_report(backend, stack)
    chosen = selection.required(backend, stack)
    say(f"the stack's own: {', '.join(names)}: a run of `up` for that alone")
    targets = [word for urn in urns for word in ("--target", urn)]
    words = ["pulumi", "up", *chosen, "--refresh", *targets, "--target-dependents", "--yes", "--skip-preview"]
    if process.run(words):
        raise LabError(f"{', '.join(names)} is not served yet; what `up` says is above, and ./lab up --refresh continues")


def pod_urns(state: Mapping[str, Any], namespace: str, names: Sequence[str]) -> list[str]:
    """URNs of the state's pods of these names."""
    return [
        str(resource["urn"])
        for resource in stacks.resources(state)
        if resource.get("type") == _POD
        and (metadata := (resource.get("inputs") or {}).get("metadata") or {}).get("namespace") == namespace
        and metadata.get("name") in names
    ]


def planned(plan: Plan) -> list[str]:
    """Names of the stack's own pods."""
    return [pod.name for pod in plan.pods]
