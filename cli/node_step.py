"""A script of components/node/scripts, run on a node by a verb as `up` runs it: bounded, and with its progress on our stderr."""

from __future__ import annotations

from collections.abc import Mapping

from cli.errors import LabError
from cli.stack import Node, Stack
from cli.verbs import ssh

_SSH_FAILED = 255


def run(stack: Stack, node: Node, name: str, environment: Mapping[str, str], limit: int, *, stdin: str = "") -> str:
    """What the script prints. limit: seconds until it is ended on the node. LabError where it fails; it has said why itself."""
    from components.node import command  # noqa: PLC0415 - imports Pulumi, which takes a second

    done = ssh.pipe(stack, node, [command.command_line(name, environment, limit)], command.text(name) + stdin)
    if done.returncode == _SSH_FAILED:
        raise LabError(f"{node.name} at {node.address} does not answer on SSH: ./lab status, ./lab logs {node.name}")
    if done.returncode:
        raise LabError(f"{name} on {node.name} ended with status {done.returncode}; what it reports is above")
    return done.stdout.strip()
