"""A run that rotates, in the graph: what gets the request, what waits for what, and that the next run has none of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from components.cluster.rotation import REQUEST
from components.custom.server_gate import Serving

from . import engine
from .conftest import Run
from .engine import UNKNOWN, Deployment, config_of, leaves, merged, run
from .test_graph import awaited, shape

pytestmark = pytest.mark.program

NODES = shape(3, 2)


def rotating(what: str, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any] | None = None) -> Deployment:
    monkeypatch.setenv(REQUEST, what)
    return run(config_of("dev", change or NODES))


def test_tokens_are_rotated_by_the_run_that_is_set_to_rotate(deploy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = deploy("dev", NODES)
    deployment = rotating("token", monkeypatch)
    assert [deployment[name].input("rotate") for name in ("k3s-token", "k3s-agent-token")] == [True, True]
    assert not [resource.name for resource in deployment.of("NodeCertificates") if resource.input("rotate")]
    assert [name for name in deployment.resources if name not in plain.resources] == []
    assert not [resource.name for resource in plain.custom if resource.input("rotate") is not None]


def test_certificates_of_all_nodes_are_rotated(monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = rotating("certificates", monkeypatch)
    assert [resource.input("rotate") for resource in deployment.of("NodeCertificates")] == [True] * 5
    assert deployment["k3s-token"].input("rotate") is None


def test_a_request_that_cannot_be_met_is_refused_before_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Exception, match="is no rotation"):
        rotating("everything", monkeypatch)


def test_servers_renew_one_after_another_and_agents_after_the_first(deploy: Run) -> None:
    deployment = deploy("dev", NODES)
    for index in range(3):
        before = {name for name in deployment.before(f"server-{index + 1}-certificates") if name.endswith("-certificates")}
        assert before == {f"server-{earlier + 1}-certificates" for earlier in range(index)}
    assert "server-1-k3s-install" not in deployment.before("server-1-certificates"), "the kubeconfig waits for it"
    assert "server-2-k3s-install" in deployment.before("server-2-certificates")


def test_agents_wait_for_all_servers_when_they_are_changed(deploy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = deploy("dev", NODES)
    for step in ("k3s-install", "certificates"):
        assert "beforeUpdate" not in deployment[f"agent-1-{step}"].hooks, "each would take one of the steps that are done at once"
        assert "k3s-servers" in deployment.before(f"agent-1-{step}") - deployment.before(f"server-3-{step}")
    assert {f"server-{index + 1}-certificates" for index in range(3)} <= deployment.before("agent-1-certificates")
    assert deployment["k3s-servers"].hooks["beforeUpdate"] == ["k3s-servers"]
    assert not [name for name in deployment.before("k3s-servers") if name.startswith("server-")], "created, it waits for nothing"
    names = asyncio.run(awaited(deployment.resource_hooks["k3s-servers"], monkeypatch))
    assert {f"server-{index + 1}-certificates" for index in range(3)} <= names
    assert not [name for name in names if name.startswith("agent-")]

    async def are_not_done(_serving: Serving, _limit: float) -> bool:
        return False

    monkeypatch.setattr(Serving, "are_done", are_not_done)
    with pytest.raises(RuntimeError, match="the agents are left as they are"):
        asyncio.run(deployment.resource_hooks["k3s-servers"].callback(None))
    with pytest.raises(RuntimeError, match=r"server-1 was restarted .* does not serve again.*are left as they are"):
        asyncio.run(deployment.resource_hooks["server-1-settled"].callback(None))


@pytest.mark.parametrize(
    ("change", "waits"),
    [
        ({"k3s": {"version": "v1.37.0+k3s1"}}, True),
        ({"k3s": {"apiAddress": "192.168.122.165"}}, True),
        ({"k3s": {"separateAgentToken": False}}, True),
        ({"agents": {"count": 2}}, False),
        ({"servers": {"count": 5, "memory": 4096}}, False),
        ({"timeouts": {"k3s": 1000}}, False),
    ],
    ids=["release", "address", "token", "another agent", "other servers", "a limit"],
)
def test_what_agents_need_of_servers_is_waited_for(deploy: Run, change: dict[str, Any], waits: bool) -> None:
    before, after = (deploy("dev", settings)["k3s-servers"].input("machine") for settings in (NODES, merged(NODES, change)))
    assert (before != after) == waits
    assert not [name for name in deploy("dev").resources.values() if name.name == "k3s-servers"], "without agents nobody waits"


def test_the_kubeconfig_is_read_again_after_a_renewal_alone(deploy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = deploy("dev")["server-1-answers"].input("triggers")
    assert deploy("dev")["k3s-kubeconfig"].input("triggers") == disk, "as in stacks of former releases"
    original = engine.made

    def renewed(resource: engine.Registered) -> dict[str, Any]:
        return {"renewed": "2028-09-21T10:00:00Z"} if resource.kind == "NodeCertificates" else original(resource)

    monkeypatch.setattr(engine, "made", renewed)
    monkeypatch.setattr(engine, "AT_CREATION", {})
    assert run(config_of("dev"))["k3s-kubeconfig"].input("triggers") == [f"{disk[0]} 2028-09-21T10:00:00Z"]


def test_the_first_preview_of_a_stack_that_has_no_such_resource_yet_knows_its_kubeconfig(deploy: Run) -> None:
    for resource in deploy("dev", NODES, "again").resources.values():
        assert [path for path, value in leaves(resource.inputs) if value is UNKNOWN] == [], resource.name
