"""Labels of nodes: which the kubelet sets, which the API gets, and which nobody may set."""

from __future__ import annotations

import pytest

from components.config import node_labels, plan
from components.config.problems import SettingsError
from components.config.reading import parse

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("key", "of_kubelet"),
    [
        ("disk", True),
        ("example.com/disk", True),
        ("node.kubernetes.io/pool", True),
        ("a.node.kubernetes.io/pool", True),
        ("kubelet.kubernetes.io/x", True),
        ("topology.kubernetes.io/zone", True),
        ("node.kubernetes.io/instance-type", True),
        ("svccontroller.k3s.cattle.io/enablelb", True),
        ("x-k8s.io/a", True),
        ("node-role.kubernetes.io/worker", False),
        ("node-restriction.kubernetes.io/team", False),
        ("kubernetes.io/x", False),
        ("k8s.io/x", False),
        ("a.k8s.io/x", False),
        ("topology.kubernetes.io/rack", False),
    ],
)
def test_what_a_kubelet_may_set(key: str, of_kubelet: bool) -> None:
    """By ValidateKubeletFlags of Kubernetes 1.36."""
    assert node_labels.of_kubelet(key) == of_kubelet


def test_the_api_gets_what_the_kubelet_may_not_set() -> None:
    raw = {
        "agents": {
            "count": 1,
            "labels": {"disk": "ssd", "node-role.kubernetes.io/worker": ""},
            "overrides": {"agent-1": {"labels": {"node-restriction.kubernetes.io/team": "a"}}},
        }
    }
    server, agent = plan.make("k3s-macvlan", "dev", parse("dev", raw)).nodes
    assert agent.labels == ("disk=ssd",)
    assert agent.api_labels == (("node-restriction.kubernetes.io/team", "a"), ("node-role.kubernetes.io/worker", ""))
    assert (server.labels, server.api_labels) == ((), ())


@pytest.mark.parametrize("key", sorted(node_labels.OWN))
def test_what_kubernetes_and_k3s_set_themselves_is_refused_with_the_rule(key: str) -> None:
    for group in ({"labels": {key: "x", "a": "b c"}}, {"overrides": {"server-1": {"labels": {key: "x", "a": "b c"}}}}):
        with pytest.raises(SettingsError) as caught:
            parse("dev", {"servers": group})
        by_setting = {problem.setting: problem.conflict for problem in caught.value.problems}
        (own,) = [text for setting, text in by_setting.items() if setting.endswith(f"labels.{key}")]
        assert node_labels.OWN[key] in own
        assert "remove it" in own
        assert len(by_setting) == 2, "the other label's mistake is reported next to it"
