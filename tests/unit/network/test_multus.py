"""What of Multus is plain data."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from components.cluster.network_status import network_status
from components.config.plan import CniPaths
from components.network.multus import _rules, _sample

pytestmark = pytest.mark.unit
STATUS = "k8s.v1.cni.cncf.io/network-status"


def test_the_sample_is_json_that_names_the_kubeconfig_on_the_host() -> None:
    document = json.loads(_sample(CniPaths(bin="/b", conf="/c")))
    assert document["kubeconfig"] == "/c/multus.d/multus.kubeconfig"
    assert (document["type"], document["delegates"][0]["name"]) == ("multus", "cbr0")


def test_multus_may_change_nothing_but_status_and_events() -> None:
    for rule in _rules():
        resources, verbs = ({str(name) for name in cast("list[str]", names or [])} for names in (rule.resources, rule.verbs))
        assert "*" not in resources | verbs
        if verbs - {"get", "list", "watch"}:
            assert resources <= {"pods/status", "events"}
        assert "secrets" not in resources


@pytest.mark.parametrize(
    ("annotations", "interfaces"),
    [({}, []), ({STATUS: "[]"}, []), ({STATUS: "null"}, []), ({STATUS: '[{"a": 1}]'}, [{"a": 1}]), ({STATUS: "{}"}, [])],
)
def test_the_status_of_a_pod(annotations: dict[str, Any], interfaces: list[Any]) -> None:
    assert network_status(annotations) == interfaces
