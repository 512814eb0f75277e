"""Whether a node may be taken out of service: of servers one at a time."""

from __future__ import annotations

import re

import pytest

from cli.kube import KubeNode, nodes
from cli.server_turn import Turn, turn
from cli.stack import Node

pytestmark = pytest.mark.unit


def planned(*names: str) -> list[Node]:
    return [Node(name=name, role=name.split("-")[0], address="", mac="", domain=name, hypervisor="local") for name in names]


def observed(*states: str) -> list[KubeNode]:
    """Nodes as server-1, or server-1!cordoned and the like."""
    made = []
    for text in states:
        name, _sign, state = text.partition("!")
        made.append(
            KubeNode(
                name=name,
                ready=state != "down",
                version="",
                cordoned=state == "cordoned",
                learner=state == "learner",
                etcd=name.startswith("server"),
            )
        )
    return made


SERVERS = ("server-1", "server-2", "server-3")


def judged(node: str, names: tuple[str, ...], *states: str) -> Turn:
    nodes_of = planned(*names)
    return turn(next(candidate for candidate in nodes_of if candidate.name == node), nodes_of, observed(*states))


def test_one_of_three_servers_may_and_so_may_an_agent() -> None:
    assert judged("server-2", SERVERS, *SERVERS) == Turn()
    assert judged("server-2", SERVERS, "server-1", "server-2!down", "server-3") == Turn(), "the one that is away itself"
    assert judged("agent-1", ("server-1", "agent-1"), "server-1!down", "agent-1") == Turn()


@pytest.mark.parametrize(
    ("states", "said"),
    [
        (("server-1", "server-2", "server-3!down"), "server-3 is not Ready"),
        (("server-1!cordoned", "server-2", "server-3"), r"server-1 is cordoned.*\./lab uncordon server-1"),
        (("server-1", "server-2", "server-3!learner"), "server-3 has no vote in etcd yet"),
        (("server-1", "server-2"), "server-3 is a server of the stack and not of the cluster"),
        (("server-1", "server-3"), "server-2 is no node of the cluster yet"),
    ],
)
def test_while_another_server_is_away_it_may_not(states: tuple[str, ...], said: str) -> None:
    (refusal,) = judged("server-2", SERVERS, *states).refusals
    assert re.search(said, refusal), refusal


def test_of_two_servers_neither_may() -> None:
    (refusal,) = judged("server-1", ("server-1",), "server-1", "server-2").refusals
    assert refusal == "etcd has 2 members and needs 2, so it does not work without server-1"


def test_the_only_server_takes_the_api_with_it() -> None:
    assert judged("server-1", ("server-1", "agent-1"), "server-1", "agent-1") == Turn(only_server=True)
    assert not judged("server-1", SERVERS, "server-1").only_server


def test_servers_without_the_label_of_etcd_are_servers() -> None:
    there = [KubeNode(name=name, ready=name != "server-2", version="") for name in SERVERS]
    nodes_of = planned(*SERVERS)
    assert turn(nodes_of[0], nodes_of, there).refusals[0].startswith("server-2 is not Ready")


def test_nodes_are_read_as_the_api_reports_them() -> None:
    item = {
        "metadata": {"name": "server-1", "labels": {"node-role.kubernetes.io/etcd": "true"}},
        "spec": {"unschedulable": True},
        "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "EtcdIsVoter", "status": "False"}]},
    }
    plain = {"metadata": {"name": "agent-1"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}
    agent, server = nodes({"items": [item, plain]})
    assert (server.cordoned, server.etcd, server.learner, server.ready) == (True, True, True, True)
    assert (agent.cordoned, agent.etcd, agent.learner, agent.ready) == (False, False, False, False)
