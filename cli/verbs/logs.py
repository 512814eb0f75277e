"""`lab logs`: the end of a node's console log, and of its journal where the node answers."""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import replace

from cli import hypervisor, selection
from cli import stack as stacks
from cli.command_line import JOURNAL_UNITS
from cli.errors import LabError
from cli.report import say
from cli.stack import Stack, read_settings
from cli.verbs import ssh
from components.config import plan as plans
from components.redact import without_secrets


def tail(text: str, lines: int) -> str:
    kept = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(kept[-lines:])


def main(options: argparse.Namespace) -> int:
    """0 if at least one of the two could be read."""
    selection.for_reading(options.stack)
    try:
        stack = stacks.read(options.stack)
    except LabError as error:  # the console needs no outputs
        stack = replace(stacks.parse_outputs(options.stack, {}), notes=(str(error),))
    return show(stack, options)


def show(stack: Stack, options: argparse.Namespace) -> int:
    """Print both logs of this stack, or the one that the options name."""
    both = options.console == options.journal
    read = 0
    if both or options.console:
        read += _show("console", lambda: _console(stack, options.node, options.lines))
    if both or options.journal:
        read += _show("journal", lambda: _journal(stack, options.node, options.lines))
    return 0 if read else 1


def _show(what: str, get: object) -> int:
    assert callable(get)  # noqa: S101
    try:
        where, text = get()
    except LabError as error:
        say(f"{what}: {error}")
        return 0
    sys.stdout.write(f"== {what}: {where} ==\n{without_secrets(text) or '(empty)'}\n\n")
    sys.stdout.flush()
    return 1


def _planned(stack: Stack, name: str) -> plans.NodePlan:
    """The node from the stack's file: its console exists before the stack has outputs."""
    _config, plan = read_settings(stack.name)
    for node in plan.nodes:
        if name in (node.name, node.domain, str(node.address)):
            return node
    raise LabError(f"there is no node {name}; the nodes of stack {stack.name}: {', '.join(node.name for node in plan.nodes)}")


def _console(stack: Stack, name: str, lines: int) -> tuple[str, str]:
    node = _planned(stack, name)
    text = hypervisor.console(node.pool.uri, node.pool.name, f"{node.name}-console.log")
    return f"{node.pool.volume(node.name + '-console.log')} on {node.pool.uri}", tail(text, lines)


def _journal(stack: Stack, name: str, lines: int) -> tuple[str, str]:
    node = stack.node(name)
    units = [word for unit in JOURNAL_UNITS for word in ("-u", unit)]
    command = ["sudo", "-n", "journalctl", "--no-pager", "--quiet", "--output=short-iso", "-n", str(lines), *units]
    done = ssh.run(stack, node, [ssh.quoted(command)], stdin=subprocess.DEVNULL, capture=True)
    if done.returncode:
        raise LabError(f"{node.name} at {node.address} does not answer on SSH: {done.stderr.strip() or done.returncode}")
    return f"units {', '.join(JOURNAL_UNITS)} on {node.name}", done.stdout.rstrip()
