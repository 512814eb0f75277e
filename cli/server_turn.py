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
    """Without it the Kubernetes API does not answer."""


def turn(node: Node, planned: Sequence[Node], listed: Sequence[KubeNode]) -> Turn:
    """planned: nodes of the stack. listed: those that the API reports."""
    by_name = {other.name: other for other in listed}
    if node.name not in by_name:
        return Turn(refusals=(f"{node.name} is no node of the cluster yet: ./lab up adds it",))
    if node.role != "server":
        return Turn()
    servers = [server.name for server in planned if server.role == "server"]
    others = [other for other in listed if (other.etcd or other.name in servers) and other.name != node.name]
    absent = [name for name in servers if name not in by_name]
    refusals = [f"{name} is a server of the stack and not of the cluster: ./lab up first" for name in absent]
    for other in others:
        if not other.ready:
            refusals.append(f"{other.name} is not Ready: bring it back first (./lab status, ./lab logs {other.name})")
        elif other.cordoned:
            refusals.append(f"{other.name} is cordoned, as when it is being maintained: ./lab uncordon {other.name} first")
        elif other.learner:
            refusals.append(f"{other.name} has no vote in etcd yet: wait until it has caught up (./lab logs {other.name})")
    members, up = len(others) + 1, sum(other.ready for other in others)
    if others and not refusals and up < members // 2 + 1:
        refusals.append(f"etcd has {members} members and needs {members // 2 + 1}, so it does not work without {node.name}")
    return Turn(refusals=tuple(refusals), only_server=not others and not absent)
