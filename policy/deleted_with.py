"""Whether everything that lives in a machine is deleted with it: a filter for `pulumi preview --json --show-sames`.

A policy pack cannot see this: of a resource's options the analyzer protocol (pulumi-policy 1.21.0, Pulumi 3.260.0) carries
no deletedWith. The preview's own JSON does. Prints what is wrong and exits 1.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any, TextIO

DOMAIN = "pulumi-python:dynamic/libvirt:Domain"
TOKEN = "pulumi-python:dynamic/credentials:Token"  # noqa: S105 (a type)
"""Type of the resource that objects of a cluster of several servers are deleted with: no single machine holds them."""

DATA_DISK = "pulumi-python:dynamic/libvirt:DataDisk"
"""Type of the resource that objects of a cluster are deleted with whose only server has its data on a disk of their own."""


def lives_in_a_machine(kind: str) -> bool:
    return kind.startswith(("kubernetes:", "command:remote:"))


def problems(preview: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the resources that a preview keeps, changes or creates."""
    states = {step["urn"]: step["newState"] for step in preview.get("steps", []) if step.get("newState")}
    shown = False
    for urn, state in states.items():
        if not lives_in_a_machine(state["type"]):
            continue
        shown = True
        machine = state.get("deletedWith", "")
        if not machine:
            yield f"{urn} lives in a machine and has no deletedWith"
        elif states.get(machine, {}).get("type") not in (DOMAIN, TOKEN, DATA_DISK):
            yield f"{urn} is deletedWith {machine}, which is no libvirt domain, no data disk and no cluster's token of this stack"
    if not shown:
        yield "the preview shows nothing that lives in a machine: is it one of `pulumi preview --json --show-sames`?"


def main(source: TextIO, out: TextIO) -> int:
    messages = list(problems(json.load(source)))
    for line in messages:
        out.write(f"{line}\n")
    return 1 if messages else 0


if __name__ == "__main__":
    sys.exit(main(sys.stdin, sys.stdout))
