"""Pods that have a former version of a network, and annotations of theirs that had no effect."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from cli import attachments, kube
from cli.kube import Definition
from components.config import plan as plans
from components.config.reading import parse

from .test_stack import ETH0
from .test_stack import pod as kube_pod

pytestmark = pytest.mark.unit

LAN = "default/macvlan-conf"
CHANGED = datetime(2026, 11, 26, 12, tzinfo=UTC)
DEFINITION = Definition(network=LAN, type="macvlan", master="enp1s0", revision="new", changed=CHANGED)
GATEWAY = {**ETH0, "gateway": ["10.42.0.1"]}


def pod(name: str, created: str, requested: str = "macvlan-conf", *, revision: str = "", **metadata: Any) -> dict[str, Any]:
    item = kube_pod(
        name, requested, [ETH0, {"name": LAN, "interface": "net1", "ips": ["192.168.122.200"], "mac": "02:00:00:00:00:01"}]
    )
    item["metadata"] |= {"creationTimestamp": created, **metadata}
    if revision:
        item["metadata"]["annotations"][kube.NETWORK_REVISION] = revision
    return item


def outdated(*items: dict[str, Any], definitions: tuple[Definition, ...] = (DEFINITION,)) -> list[tuple[str, bool]]:
    attached = attachments.outdated(kube.pods({"items": list(items)}), definitions)
    return [(item.pod, item.own) for item in attached]


def test_a_pod_of_others_is_compared_by_time() -> None:
    before, same, after = "2026-11-26T11:59:59Z", "2026-11-26T12:00:00Z", "2026-11-26T12:00:01Z"
    assert outdated(pod("before", before), pod("same", same), pod("after", after)) == [("default/before", False)]
    (attachment,) = attachments.outdated(kube.pods({"items": [pod("before", before)]}), (DEFINITION,))
    assert attachment.text == (
        "pod default/before has default/macvlan-conf as it was before its definition last changed, at 2026-11-26 12:00:00 UTC: "
        "delete the pod, so that it is made again with it"
    )
    assert attachment.plain() == {"pod": "default/before", "network": LAN, "own": False}


def test_what_is_not_known_is_not_reported() -> None:
    before = "2026-11-26T11:00:00Z"
    assert outdated(pod("a", before), definitions=()) == []
    assert outdated(pod("a", before), definitions=(Definition(network=LAN, type="macvlan", master=""),)) == []
    assert outdated(pod("a", "")) == []


def test_a_pod_that_ended_is_being_deleted_or_has_no_network_yet_is_left_out() -> None:
    before = "2026-11-26T11:00:00Z"
    ended, waits = pod("ended", before), kube_pod("waits", "macvlan-conf")
    ended["status"]["phase"] = "Succeeded"
    waits["metadata"]["creationTimestamp"] = before
    waits["status"] = {"phase": "Pending"}
    assert outdated(ended, waits, pod("deleted", before, deletionTimestamp=before)) == []


def test_a_pod_whose_node_was_restarted_has_the_present_network() -> None:
    item = pod("old", "2026-11-25T00:00:00Z")
    ready = {"type": "PodReadyToStartContainers", "status": "True", "lastTransitionTime": "2026-11-26T13:00:00Z"}
    item["status"]["conditions"] = [ready]
    assert outdated(item) == []
    assert outdated(pod("old", "2026-11-25T00:00:00Z")) == [("default/old", False)]


def test_a_pod_of_the_program_s_own_is_compared_by_its_revisions() -> None:
    before = "2026-11-26T11:00:00Z"
    assert outdated(pod("own", before, revision="new")) == []
    assert outdated(pod("own", "2026-11-26T13:00:00Z", revision="old")) == [("default/own", True)]
    iot = Definition(network="default/iot", type="macvlan", master="enp1s0.50", revision="iot")
    two = "macvlan-conf,default/iot"
    assert outdated(pod("own", before, two, revision="new,iot"), definitions=(DEFINITION, iot)) == []
    assert outdated(pod("own", before, two, revision="iot,new"), definitions=(DEFINITION, iot)) == [("default/own", True)] * 2
    (attachment,) = attachments.outdated(kube.pods({"items": [pod("own", before, two, revision="new,old")]}), (DEFINITION, iot))
    assert attachment.network == "default/iot" and "./lab up makes it again" in attachment.text
    unmarked = Definition(network=LAN, type="macvlan", master="enp1s0", changed=CHANGED)
    assert outdated(pod("own", before, revision="old"), definitions=(unmarked,)) == []


# --- the default route of an annotation ---


def requesting(eth0: dict[str, Any] = GATEWAY, **interface: Any) -> dict[str, Any]:
    wanted = [{"name": "macvlan-conf", "namespace": "default", "default-route": ["192.168.122.1"]}]
    given = {"name": LAN, "interface": "net1", "ips": ["192.168.122.200"], "mac": "02:00:00:00:00:01", **interface}
    return kube_pod("asks", json.dumps(wanted), [eth0, given])


def ineffective(item: dict[str, Any], image: str = "multus-cni:v4.3.0", of: Any = None) -> tuple[str, ...]:
    return attachments.without_default_route(kube.pods({"items": [item]}), {"server-1": image}, of)


def test_a_default_route_that_multus_does_not_make_is_reported() -> None:
    (text,) = ineffective(requesting())
    assert text == (
        "pod default/asks: its annotation's default-route by net1 (default/macvlan-conf) has had no effect, because Multus 4.3.0 "
        "leaves that of eth0; give the network's own definition the route"
    )
    plan = plans.make("k3s-macvlan", "dev", parse("dev", {}))
    (own,) = ineffective(requesting(), of=plan)
    assert "set podNetworks.macvlan-conf.defaultRoute or podNetworks.macvlan-conf.replies: by-source" in own


@pytest.mark.parametrize(
    ("image", "known"),
    [
        ("ghcr.io/k8snetworkplumbingwg/multus-cni:v4.2.1", False),
        ("ghcr.io/k8snetworkplumbingwg/multus-cni:v4.2.2", True),
        ("mirror:5000/multus-cni:v4.2.4", True),
        ("multus-cni:v4.3.0@sha256:" + "0" * 64, True),
        ("multus-cni:v4.3.1", False),
        ("multus-cni:v4.10.0", False),
        ("multus-cni:snapshot", False),
        ("multus-cni@sha256:" + "0" * 64, False),
        ("", False),
    ],
)
def test_it_is_known_of_the_releases_that_have_the_mistake(image: str, known: bool) -> None:
    assert bool(ineffective(requesting(), image)) is known


def test_where_it_cannot_be_known_or_there_is_the_route_nothing_is_reported() -> None:
    assert ineffective(requesting(ETH0)) == (), "eth0 has no default route that could stay"
    assert ineffective(requesting(gateway=["192.168.122.1"])) == (), "the network gives one itself"
    ended = requesting()
    ended["status"]["phase"] = "Failed"
    assert ineffective(ended) == ()
    without_request = kube_pod("silent", "macvlan-conf", [GATEWAY, {"name": LAN, "interface": "net1", "ips": ["192.168.122.200"]}])
    assert ineffective(without_request) == ()
    assert attachments.without_default_route(kube.pods({"items": [requesting()]}), {"agent-1": "multus-cni:v4.3.0"}, None) == ()
