"""The virtual address in the graph: after the first server, before all that reaches the API by it."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Run
from .engine import merged
from .test_changes import NEW_MACHINE, C, R, U, changes
from .test_graph import MODES, expected

pytestmark = pytest.mark.program

VIRTUAL: dict[str, Any] = {"k3s": {"virtualAddress": "192.168.122.179"}}
THREE: dict[str, Any] = {"servers": {"count": 3}, "agents": {"count": 1}, "podNetworks": {"macvlan-conf": {"addressesPerNode": 2}}}
STEP = "server-1-virtual-address"


@pytest.mark.parametrize("mode", MODES)
def test_one_step_on_each_server(deploy: Run, mode: str) -> None:
    assert deploy("dev", VIRTUAL, mode).names == sorted({*expected(["server-1"], False), f"Command {STEP}"})
    own = {name for name in deploy("dev", merged(THREE, VIRTUAL), mode).names if "virtual-address" in name}
    assert own == {f"Command server-{number}-virtual-address" for number in (1, 2, 3)}


def test_it_answers_before_it_is_used(deploy: Run) -> None:
    deployment = deploy("dev", merged(THREE, VIRTUAL))
    assert "server-1-k3s-install" in deployment.before(STEP)
    for name in ("k3s-kubernetes", "server-2-k3s-install", "server-3-k3s-install", "agent-1-k3s-install"):
        assert STEP in deployment.before(name), name
    # What is for the node itself does not wait for it.
    assert STEP not in deployment.before("server-1-k3s-ready") | deployment.before("server-1-k3s-plugins-install")
    step = deployment[STEP]
    assert step.deleted_with == deployment["server-1-domain"].urn and step.delete_before_replace
    assert "ACTION=on" in step.input("create") and "ADDRESS=192.168.122.179" in step.input("create")
    assert "ACTION=off" in step.input("delete") and "INTERFACE=enp1s0" in step.input("delete")


def test_all_join_by_it_and_the_first_begins_the_cluster(deploy: Run) -> None:
    deployment = deploy("dev", merged(THREE, VIRTUAL))
    for name in ("server-2", "server-3", "agent-1"):
        assert "server: https://192.168.122.179:6443" in str(deployment[f"{name}-k3s-install"].input("stdin"))
    first = str(deployment["server-1-k3s-install"].input("stdin"))
    assert "cluster-init: true" in first and "192.168.122.179" in first, "in the certificate"
    assert "SERVER=192.168.122.179" in deployment["agent-1-k3s-install"].input("create")


CHANGED: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    ("image", {"k3s": {"kubeVip": {"image": "ghcr.io/kube-vip/kube-vip:v1.0.4"}}}, {STEP: U}),
    ("lease", {"k3s": {"kubeVip": {"leaseDuration": 30}}}, {STEP: U}),
    ("another restart of K3s", {"k3s": {"config": {"kubelet-arg": ["max-pods=50"]}}}, {"server-1-k3s-install": U, STEP: U}),
    (
        "address",
        {"k3s": {"virtualAddress": "192.168.122.178"}},
        {"local-dhcp": U, "server-1-k3s-install": U, "k3s-kubernetes": C, STEP: R},
    ),
    ("rebuilt", {"image": {"checksum": "sha256:" + "1" * 64}}, {**NEW_MACHINE, STEP: R}),
]


@pytest.mark.parametrize(("change", "expected_changes"), [row[1:] for row in CHANGED], ids=[row[0] for row in CHANGED])
def test_a_change_changes_what_depends_on_it(deploy: Run, change: dict[str, Any], expected_changes: dict[str, str]) -> None:
    old, new = deploy("dev", VIRTUAL), deploy("dev", merged(VIRTUAL, change))
    assert new.names == old.names
    changed = changes(old, new)
    # A machine pulls ahead only when it is created, so another image later is no change of this step.
    assert {**changed, "server-1-images": ""} == {**expected_changes, "server-1-images": ""}


def test_it_is_added_to_and_removed_from_a_running_stack(deploy: Run) -> None:
    without, with_it = deploy("dev"), deploy("dev", VIRTUAL)
    expected_changes = {"local-dhcp": U, "server-1-k3s-install": U, "k3s-kubernetes": C}
    assert changes(without, with_it) == expected_changes == changes(with_it, without)
