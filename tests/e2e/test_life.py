"""The life of a stack with the real engine, real machines, K3s and Multus: from an empty host to an empty host."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import time
import urllib.request
from ipaddress import IPv4Address
from typing import Any

import pytest
import yaml
from builds import Build
from conftest import Checkout
from host import host_state, virsh
from kubectl import kubectl, node_says, says

pytestmark = [pytest.mark.e2e, pytest.mark.chapters]


@pytest.fixture(scope="module")
def before(build: Build) -> dict[str, Any]:
    """The host before the story. build: skips where there is nothing to tell it on."""
    return host_state()


def test_up_serves_the_page(checkout: Checkout, before: dict[str, Any]) -> None:
    checkout.lab("-y", "up")
    outputs = checkout.outputs()
    assert outputs["proof"]["status"] == 200
    assert outputs["proof"]["title"] == "Welcome to nginx!"
    with urllib.request.urlopen(outputs["url"], timeout=10) as answer:
        assert "Welcome to nginx!" in answer.read().decode()
    address = IPv4Address(outputs["address"])
    assert IPv4Address("192.168.122.200") <= address <= IPv4Address("192.168.122.210")


@pytest.mark.observes
def test_events_name_both_networks(checkout: Checkout) -> None:
    events = kubectl(checkout, "get events -o json")
    messages = [item["message"] for item in json.loads(events)["items"] if item["reason"] == "AddedInterface"]
    assert any(text.startswith("Add eth0 [10.42.") and text.endswith("from cbr0") for text in messages), messages
    address = checkout.outputs()["address"]
    assert f"Add net1 [{address}/24] from default/macvlan-conf" in messages


@pytest.mark.observes
def test_pod_still_reaches_the_cluster(checkout: Checkout) -> None:
    # From the pod's network namespace, with the node's curl: the API answers somebody without a token with 401 (or 403).
    node_says(
        checkout,
        "nsenter --net --target $(pgrep --oldest --exact nginx) "
        "curl --insecure --silent --max-time 20 --output /dev/null --write-out '%{http_code}' https://10.43.0.1:443/version",
        "^(?:200|401|403)$",
    )


@pytest.mark.observes
def test_multus_token_does_not_expire(checkout: Checkout) -> None:
    text = checkout.node("cat /var/lib/rancher/k3s/agent/etc/cni/net.d/multus.d/multus.kubeconfig")
    token = yaml.safe_load(text)["users"][0]["user"]["token"]
    body = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    assert "exp" not in claims
    assert claims["sub"] == "system:serviceaccount:kube-system:multus"


@pytest.mark.k3s_own
@pytest.mark.observes
def test_pod_resolves_the_cluster_s_names(checkout: Checkout) -> None:
    # `up` waits for the pod and not for cluster DNS, whose own pod comes minutes later on a busy machine.
    says(checkout, "exec nginx-macvlan -- busybox nslookup kubernetes.default.svc.cluster.local", r"(?m)\b10\.43\.0\.1$", 900)


@pytest.mark.observes
def test_second_run_changes_nothing(checkout: Checkout) -> None:
    assert checkout.preview() == ({}, [])
    checkout.lab("-y", "up", "--expect-no-changes")


def test_refresh_finds_no_drift(checkout: Checkout) -> None:
    checkout.lab("-y", "refresh", "--expect-no-changes")


@pytest.mark.once
def test_stopped_machine_is_seen_and_started(checkout: Checkout) -> None:
    domain = checkout.outputs()["nodes"][0]["domain"]
    virsh("destroy", domain)
    checkout.lab("-y", "refresh")
    assert domain not in virsh("list", "--name").split()
    checkout.lab("-y", "up")
    assert domain in virsh("list", "--name").split()
    served_by_somebody(600)
    # What the pod is called now is seen by a refresh, and proven again where it changed. A refresh passes over an API that is away.
    deadline = time.monotonic() + 600
    while True:
        checkout.lab("-y", "refresh")
        checkout.lab("-y", "up")
        try:
            assert "Welcome to nginx!" in page(checkout.outputs()["url"])
            return
        except OSError:
            assert time.monotonic() < deadline, "the address in the outputs stays that of before"


def served_by_somebody(limit: float) -> None:
    """A pod whose machine came back may have another address of the range."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        for last in range(200, 211):
            try:
                with urllib.request.urlopen(f"http://192.168.122.{last}/", timeout=1) as answer:
                    assert "Welcome to nginx!" in answer.read().decode()
                    return
            except OSError:
                continue
    pytest.fail(f"no page within {limit} s")


@pytest.mark.once
def test_change_of_the_pod_touches_only_the_pod(checkout: Checkout) -> None:
    checkout.set("workload", image="docker.io/library/nginx:1.25-alpine")
    planned, _ = checkout.preview()
    assert set(planned) == {"nginx-macvlan", "nginx-macvlan-macvlan-conf-proof", "server-1-sync"}, planned
    checkout.lab("-y", "up")
    assert checkout.outputs()["proof"]["status"] == 200


def page(url: str) -> str:
    """What the page says to this machine, a neighbour of the pods."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def requested(checkout: Checkout, node: str, url: str, *, wanted: str = "", from_the_pod: bool = False) -> str:
    """The status that a node, or the pod on it, gets for a page; 000: nothing answers. wanted: requested again until it is."""
    inside = "nsenter --net --target $(pgrep --oldest --exact nginx) " if from_the_pod else ""
    command = f"{inside}curl --silent --max-time 10 --output /dev/null --write-out '%{{http_code}}' {url}"
    return node_says(checkout, command, f"^{wanted}", 120, node)


# systemd's message that a unit is stopping because somebody requested it (sd-messages.h, SD_MESSAGE_UNIT_STOPPING).
STOPPING = "de5b426a63be47a7b6ac3eaac82e2f6f"


def state(checkout: Checkout, name: str) -> str:
    """What a node is: the start of its machine, its K3s's files, and how often K3s was stopped. Anything that is done to it changes
    one of them.

    Not the start of K3s: on a busy machine it ends by itself when it loses its lease, and systemd starts it again (seen). Nor its
    kubeconfig k3s.yaml, which it writes at each start.
    """
    return checkout.node(
        "cat /proc/sys/kernel/random/boot_id; stat --format='%n %y' /etc/rancher/k3s/{config,registries}.yaml "
        "/etc/systemd/system/k3s*.service; "
        f"journalctl --boot --quiet --output=cat MESSAGE_ID={STOPPING} UNIT=k3s.service UNIT=k3s-agent.service",
        name,
    )


def every_page_is_served(checkout: Checkout) -> dict[str, dict[str, Any]]:
    """The pages by node: each served, no address and no MAC twice, each address of its node's own slice."""
    outputs = checkout.outputs()
    pages = {entry["node"]: entry for entry in outputs["pages"]}
    assert [*pages] == [node["name"] for node in outputs["nodes"]]
    for entry in pages.values():
        assert "Welcome to nginx!" in page(entry["url"])
    for name in ("address", "mac"):
        assert len({entry[name] for entry in pages.values()}) == len(pages), pages
    return pages


@pytest.mark.once
def test_an_agent_joins_with_a_pod_on_every_node(checkout: Checkout) -> None:
    """Two nodes that count addresses by themselves, and no address twice."""
    server = state(checkout, "server-1")
    checkout.set("agents", count=1, cpus=1, memory=1536)
    checkout.network(addressesPerNode=5)
    checkout.set("workload", perNode=True)
    checkout.lab("-y", "up")
    pages = every_page_is_served(checkout)
    assert IPv4Address("192.168.122.200") <= IPv4Address(pages["server-1"]["address"]) <= IPv4Address("192.168.122.204")
    assert IPv4Address("192.168.122.205") <= IPv4Address(pages["agent-1"]["address"]) <= IPv4Address("192.168.122.209")
    assert state(checkout, "server-1") == server, "the agent changed the server"
    assert checkout.preview() == ({}, [])


@pytest.mark.once
@pytest.mark.observes
def test_pods_reach_each_other_and_a_node_not_its_own(checkout: Checkout) -> None:
    pages = {entry["node"]: entry["url"] for entry in checkout.outputs()["pages"]}
    for node, other in (("server-1", "agent-1"), ("agent-1", "server-1")):
        assert requested(checkout, node, pages[other], wanted="200", from_the_pod=True) == "200"
        assert requested(checkout, node, pages[other], wanted="200") == "200"
        assert requested(checkout, node, pages[node]) == "000", "the kernel keeps a parent and its children apart"


@pytest.mark.once
def test_a_node_reaches_its_own_pod_where_that_is_set(checkout: Checkout) -> None:
    """By an interface of its own, which a reboot does not take away; off again, nothing of it is left."""
    checkout.network(nodeAccess="192.168.122.170-192.168.122.171")
    checkout.lab("-y", "up")
    url = {entry["node"]: entry["url"] for entry in checkout.outputs()["pages"]}
    assert requested(checkout, "agent-1", url["agent-1"], wanted="200") == "200"
    assert requested(checkout, "agent-1", url["server-1"], wanted="200") == "200"
    units = "systemctl list-unit-files --no-legend 'k3s-macvlan-access-*'; ip -brief link"
    there = checkout.node(units, "agent-1")
    assert re.search(r"k3s-macvlan-access-mva-[0-9a-f]{8}\.service +enabled", there) and "\nmva-" in there, there
    checkout.network(nodeAccess=None)
    checkout.lab("-y", "up")
    assert requested(checkout, "agent-1", url["agent-1"]) == "000"
    left = checkout.node(units, "agent-1")
    assert "k3s-macvlan-access" not in left and "mva-" not in left, left


@pytest.mark.once
def test_a_node_that_leaves_is_forgotten(checkout: Checkout) -> None:
    domain = checkout.outputs()["nodes"][1]["domain"]
    checkout.set("agents", count=0)
    checkout.network(addressesPerNode=None)
    checkout.set("workload", perNode=False)
    checkout.lab("-y", "up")
    assert domain not in virsh("list", "--all", "--name").split()
    assert kubectl(checkout, "get nodes -o name").split() == ["node/server-1"]
    assert "agent-1" not in kubectl(checkout, "-n kube-system get secrets -o name")
    assert "Welcome to nginx!" in page(checkout.outputs()["url"])
    assert checkout.preview() == ({}, [])


def test_rebuild_with_the_later_release(checkout: Checkout, build: Build) -> None:
    """Another first boot is another machine; everything in it is recreated, at the same name, address and MAC. The stand-in's later
    release has the other CNI layout."""
    version = build.later or build.version
    old = checkout.outputs()["nodes"][0]
    instance = checkout.node("cat /var/lib/cloud/data/instance-id")
    checkout.set("cloudInit", timezone="UTC")
    checkout.set("k3s", version=version)
    checkout.lab("-y", "up")
    outputs = checkout.outputs()
    assert outputs["nodes"][0] == old
    assert checkout.node("cat /var/lib/cloud/data/instance-id") != instance
    assert checkout.node("ls /var/lib/rancher/k3s/data/cni/macvlan /var/lib/rancher/k3s/data/cni/multus").split()
    assert kubectl(checkout, "get nodes -o jsonpath='{.items[*].status.nodeInfo.kubeletVersion}'") == version
    with urllib.request.urlopen(outputs["url"], timeout=10) as answer:
        assert "Welcome to nginx!" in answer.read().decode()
    assert checkout.preview() == ({}, [])
    checkout.lab("-y", "refresh", "--expect-no-changes")


def test_destroy_of_a_dead_machine_leaves_nothing(checkout: Checkout, before: dict[str, Any]) -> None:
    virsh("destroy", checkout.outputs()["nodes"][0]["domain"])
    started = time.monotonic()
    checkout.lab("-y", "destroy")
    assert time.monotonic() - started < 120  # it waited for no API server
    assert host_state() == before
    left = subprocess.run(["ls", "/var/lib/libvirt/images"], capture_output=True, text=True, check=True).stdout.split()
    assert not [name for name in left if name.startswith("k3s-macvlan-")]
    checkout.lab("-y", "destroy")
