"""`lab drain`: takes the pods off a node, and lets no others onto it, until `lab uncordon`."""

from __future__ import annotations

import argparse

from cli import maintenance
from cli.report import say


def main(options: argparse.Namespace) -> int:
    """0 when the node is drained, 1 when whoever was asked did not want it."""
    job = maintenance.begin(options)
    name = job.node.name
    with maintenance.saying_what_holds(job):
        if not maintenance.take_out(job, options, comes_back=False):
            return 1
    say(f"{name} is drained. Back into service: ./lab uncordon {name}")
    return 0
