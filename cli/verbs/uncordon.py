"""`lab uncordon`: lets pods onto a node again, and brings back those of the stack's own that are missing."""

from __future__ import annotations

import argparse

from cli import maintenance, own_pods
from cli.errors import LabError
from cli.report import say


def main(options: argparse.Namespace) -> int:
    """0 when the node takes pods again and the stack's own are there."""
    job = maintenance.begin(options)
    name = job.node.name
    with maintenance.saying_what_holds(job):
        node = next((listed for listed in job.kube_nodes() if listed.name == name), None)
        if node is None:
            raise LabError(f"{name} is no node of the cluster: ./lab up adds it")
        maintenance.put_back(job, job.settings.timeouts.k3s)
        say(f"{name} takes pods again" if node.cordoned else f"{name} was not cordoned")
        if not node.ready:
            raise LabError(f"{name} is not Ready, so no pod comes yet: ./lab status, ./lab logs {name}")
        there = job.own_pods()
        job.make_again([name for name in own_pods.planned(job.plan) if name not in there])
    return 0
