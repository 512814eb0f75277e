"""`lab destroy`: `pulumi destroy`, then what is left in the state."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

from cli import backend as backends
from cli import engine, hints, locks, process, selection
from cli.errors import LabError
from cli.report import say

REQUEST, WHOLE = "K3S_MACVLAN_DESTROY", "whole"
"""Those of components.libvirt.stack_guests, which imports Pulumi."""
API_SECONDS = "PULUMI_K8S_CLIENT_TIMEOUT"
"""The limit of Pulumi's Kubernetes provider for a request, in whole seconds."""


def main(options: argparse.Namespace) -> int:
    """pulumi's status."""
    hints.about_libvirt(options.stack)
    backend = backends.use(options.stack)
    engine.install_plugins()
    locks.release_and_report(backend, options.stack)
    stack = selection.existing(backend, options.stack, options.words)
    if stack is None:
        say(f"there is no stack {options.stack}: nothing to destroy")
        return 0
    _request_whole(options)
    status = process.run(["pulumi", "destroy", *stack, *engine.consent(options.yes), *options.words])
    if status:
        return status
    remaining = _remaining(options.stack)
    if remaining:
        say(f"left in stack {options.stack}:")
        sys.stderr.write("".join(f"{urn}\n" for urn in remaining))
    else:
        say(f"nothing is left of stack {options.stack}")
    return 0


def _request_whole(options: argparse.Namespace) -> None:
    """Let the run power off all guests together. Not where it may end with some of them: with options of Pulumi's, which can choose
    resources, and without its preview, which refuses a stack with a resource that is protected."""
    if not options.words and not os.environ.get("PULUMI_SKIP_PREVIEW"):
        os.environ[REQUEST] = WHOLE
        # The provider queries the API when it starts, and waited for seconds where servers were just powered off or busy. It
        # deletes nothing then: all objects are gone with their cluster.
        os.environ.setdefault(API_SECONDS, "1")


def _remaining(stack: str) -> list[str]:
    """URNs of the resources that the state still has."""
    command = ["pulumi", "stack", "export", "-s", stack]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 - no shell is meant
    if done.returncode:
        raise SystemExit(done.returncode)
    try:
        deployment = json.loads(done.stdout).get("deployment") or {}
    except ValueError:
        raise LabError("pulumi stack export printed no JSON") from None
    return [resource["urn"] for resource in deployment.get("resources") or []]
