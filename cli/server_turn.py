"""Whether a node may be taken out of service now: of servers one at a time, and never the majority of etcd. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cli.kube import KubeNode
from cli.stack import Node


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What stands in the way of it, and what follows from it."""

    refusals: tuple[str, ...] = ()
    """Why it may not, one sentence each."""
    only_server: bool = False
    """The Kubernetes API goes with it."""


def turn(node: Node, planned: Sequence[Node], found: Sequence[KubeNode]) -> Turn:
    """planned: nodes of the stack. found: those that the API reports."""
    by_name = {each.name: each for each in found}
    if node.name not in by_name:
        return Turn(refusals=(f"{node.name} is no node of the cluster yet: ./lab up adds it",))
    if node.role != "server":
        return Turn()
    servers = [each.name for each in planned if each.role == "server"]
    others = [each for each in found if (each.etcd or each.name in servers) and each.name != node.name]
    absent = [name for name in servers if name not in by_name]
    refusals = [f"{name} is a server of the stack and not of the cluster: ./lab up first" for name in absent]
    for each in others:
        if not each.ready:
            refusals.append(f"{each.name} is not Ready: bring it back first (./lab status, ./lab logs {each.name})")
        elif each.cordoned:
            refusals.append(f"{each.name} is cordoned, as when it is being maintained: ./lab uncordon {each.name} first")
        elif each.learner:
            refusals.append(f"{each.name} has no vote in etcd yet: wait until it has caught up (./lab logs {each.name})")
    members, up = len(others) + 1, sum(each.ready for each in others)
    if others and not refusals and up < members // 2 + 1:
        refusals.append(f"etcd has {members} members and needs {members // 2 + 1}, so it does not work without {node.name}")
    return Turn(refusals=tuple(refusals), only_server=not others and not absent)
