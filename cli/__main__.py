"""`python -m cli -s STACK VERB [ARGUMENTS]`, called by `lab`, which has Pulumi and its backend in place."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cli import hypervisor
from cli import stack as stacks
from cli.errors import LabError
from cli.verbs import diagram, doctor, fetch, kubectl, logs, ssh, status, unlock
from components.config.problems import SettingsError

VERBS = ("status", "diagram", "ssh", "kubectl", "logs", "doctor", "fetch", "unlock")


def main(arguments: Sequence[str]) -> int:
    if len(arguments) < 3 or arguments[0] != "-s" or arguments[2] not in VERBS:
        raise LabError(f"python -m cli -s STACK {' | '.join(VERBS)}")
    name, verb, rest = arguments[1], arguments[2], arguments[3:]
    by_name = {"doctor": doctor.main, "fetch": fetch.main, "unlock": unlock.main, "diagram": _diagram}
    if verb in by_name:
        return by_name[verb](name, rest)
    if verb == "logs":
        logs.parser().parse_args(rest)  # before the stack is asked for
        try:
            stack = stacks.read(name)
        except LabError as error:  # the console needs no outputs
            stack = replace(stacks.parse_outputs(name, {}), notes=(str(error),))
        return logs.main(stack, rest)
    stack = stacks.read(name)
    if verb == "status":
        return status.main(stack, rest)
    return ssh.main(stack, rest) if verb == "ssh" else kubectl.main(stack, rest)


def _diagram(name: str, arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="./lab diagram", description="the stack's network as SVG")
    parser.add_argument("file", nargs="?", default="-", help="where it is written; by default to stdout")
    parser.add_argument("--example", action="store_true", help="the picture of README.md, from the documented values")
    options = parser.parse_args(arguments)
    if options.example:
        data = diagram.EXAMPLE
    else:
        stack = stacks.read(name)
        config, plan = stacks.read_settings(name)
        seen = status.look(stack)
        bridge = config.network.name
        if not stacks.on_bridge(config) and plan.pools:
            bridge = hypervisor.bridge(plan.pools[0].uri, config.network.name)
        versions = {node.name: node.version for node in seen.nodes or ()}
        data = diagram.view(stack, config, plan, pods=seen.pods, versions=versions, bridge=bridge, notes=seen.notes)
    svg = diagram.draw(data)
    if options.file == "-":
        sys.stdout.write(svg)
    else:
        (caller() / options.file).write_text(svg, encoding="utf-8")
        sys.stderr.write(f"lab: wrote {options.file}\n")
    return 0


def caller() -> Path:
    """The folder `lab` was called in; it changes into its own."""
    return Path(os.environ.get("LAB_CALLER") or ".")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (LabError, SettingsError) as error:
        sys.stderr.write(f"lab: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
