"""Many nodes with the real engine: they join, leave, die, are replaced and upgraded, and the pages are requested meanwhile.

Plain emulation on few cores makes three servers very slow, so this is
a tier of its own, with long limits: ./lab test e2e-nodes.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from builds import Build
from conftest import Checkout
from host import host_state, virsh
from kubectl import apply, kubectl, pod_is_ready
from test_life import every_page_is_served, page, requested, state

pytestmark = [pytest.mark.e2e, pytest.mark.nodes, pytest.mark.chapters]

LONG = 7200
SLOW = {
    "boot": 1500,
    "cloudInit": 1500,
    "k3s": 1800,
    "nodeReady": 1500,
    "plugins": 1500,
    "multus": 1800,
    "pod": 1500,
    "proof": 300,
    "drain": 300,
}

# On cores that are full, K3s's controllers lose the lease of 15 s that they hold, and K3s ends with each loss and starts again:
# three servers did nothing else (seen). docs/nodes.md gives the same for users' slow machines.
LEASE_TIMES = {"lease-duration": "120s", "renew-deadline": "110s", "retry-period": "10s"}
ELECTION = [f"leader-elect-{name}={value}" for name, value in LEASE_TIMES.items()]
PATIENT = {
    # Of each late answer etcd writes some lines, several a second on full cores, and journald has them to do as well.
    "etcd-arg": ["heartbeat-interval=1000", "election-timeout=10000", "log-level=error"],
    "kube-controller-manager-arg": ELECTION,
    "kube-cloud-controller-manager-arg": ELECTION,
    "kube-scheduler-arg": ELECTION,
}
# K3s's own lease of 45 s; these are the names that its unit's environment has for it (wrangler, pkg/leader).
ENVIRONMENT = {
    "path": "/etc/default/k3s",
    "content": "".join(f"CATTLE_ELECTION_{name.upper().replace('-', '_')}={value}\n" for name, value in LEASE_TIMES.items()),
}


def give_k3s_time(checkout: Checkout) -> None:
    checkout.set("k3s", serverConfig={**checkout.setting("k3s").get("serverConfig", {}), **PATIENT})
    checkout.set("cloudInit", write_files=[ENVIRONMENT])


def up(checkout: Checkout, *words: str, ok: bool = True) -> str:
    return checkout.lab("-y", "up", *words, ok=ok, limit=LONG)


def pods(checkout: Checkout) -> dict[str, str]:
    """Name -> identity of the pods on the network."""
    items = json.loads(kubectl(checkout, "get pods -o json"))["items"]
    return {item["metadata"]["name"]: item["metadata"]["uid"] for item in items}


def node_names(checkout: Checkout) -> list[str]:
    return sorted(name.removeprefix("node/") for name in kubectl(checkout, "get nodes -o name").split())


def etcd_members(checkout: Checkout) -> list[str]:
    """Names of the servers that etcd counts, read from etcd itself."""
    reply = checkout.node(
        "cd /var/lib/rancher/k3s/server/tls/etcd && printf '\\0\\0\\0\\0\\2\\10\\1' | curl --silent --show-error --http2 "
        "--cacert server-ca.crt --cert client.crt --key client.key --header 'content-type: application/grpc' "
        "--header 'te: trailers' --data-binary @- https://127.0.0.1:2379/etcdserverpb.Cluster/MemberList | base64 --wrap=0"
    )
    return sorted({name.decode() for name in re.findall(rb"server-\d+(?=-[0-9a-f]{8})", base64.b64decode(reply))})


def ready(checkout: Checkout, name: str, wanted: str) -> None:
    """Wait until the cluster says so of a node: Ready or NotReady. Without a leader etcd answers nothing for a while."""
    deadline = time.monotonic() + SLOW["k3s"]
    while (said := kubectl(checkout, f"get node {name} --no-headers --ignore-not-found", limit=SLOW["k3s"]).split())[1:2] != [
        wanted
    ]:
        assert time.monotonic() < deadline, f"{name} is not {wanted}: {said}"
        time.sleep(5)


@contextmanager
def watched(urls: list[str]) -> Iterator[dict[str, Counter[str]]]:
    """Request each page every second; how often it was served and missed."""
    counts: dict[str, Counter[str]] = {url: Counter() for url in urls}
    done = threading.Event()

    def request(url: str) -> None:
        while not done.wait(1):
            try:
                counts[url]["served" if "Welcome to nginx!" in page(url) else "other"] += 1
            except OSError:
                counts[url]["missed"] += 1

    threads = [threading.Thread(target=request, args=(url,)) for url in urls]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        done.set()
        for thread in threads:
            thread.join()
        print("pages:", {url: dict(count) for url, count in counts.items()})


@pytest.fixture(scope="module")
def before(build: Build) -> dict[str, Any]:
    """The host before the story. build: skips where there is nothing to tell it on."""
    return host_state()


def test_a_server_and_an_agent(checkout: Checkout, build: Build, before: dict[str, Any]) -> None:
    checkout.set("timeouts", **SLOW)
    checkout.set("servers", count=1, memory=3072)
    if build.own:
        give_k3s_time(checkout)
    checkout.set("agents", count=1, cpus=1, memory=1536)
    checkout.network(range="192.168.122.200-192.168.122.229", addressesPerNode=6)
    checkout.set("workload", perNode=True)
    up(checkout)
    every_page_is_served(checkout)
    assert etcd_members(checkout) == ["server-1"]
    assert checkout.preview() == ({}, [])


@pytest.mark.k3s_own
def test_an_agent_holds_no_token_of_the_servers(checkout: Checkout) -> None:
    """With its own it joins as an agent; the servers' would let it join as a server and read the cluster's secrets."""
    servers = checkout.node("cat /var/lib/rancher/k3s/server/token").strip()
    agents = checkout.node("cat /var/lib/rancher/k3s/server/agent-token").strip()
    held = checkout.node("cat /etc/rancher/k3s/config.yaml", "agent-1")
    assert servers.rpartition(":")[2] not in held
    assert agents.rpartition(":")[2] in held and agents != servers


@pytest.mark.once
def test_an_agent_changes_nothing_on_the_others(checkout: Checkout) -> None:
    old = {name: state(checkout, name) for name in ("server-1", "agent-1")}
    running = pods(checkout)
    checkout.set("agents", count=2)
    planned, _ = checkout.preview()
    assert {name for name in planned if "agent-2" not in name} == {"local-dhcp"}
    up(checkout)
    pages = every_page_is_served(checkout)
    assert {name: state(checkout, name) for name in old} == old
    assert running.items() <= pods(checkout).items()
    assert requested(checkout, "agent-1", pages["agent-2"]["url"], wanted="200", from_the_pod=True) == "200"
    assert requested(checkout, "agent-2", pages["agent-2"]["url"]) == "000"


@pytest.mark.once
def test_a_removed_agent_is_drained_and_forgotten(checkout: Checkout) -> None:
    domain = checkout.outputs()["nodes"][2]["domain"]
    kubectl(checkout, "create deployment wanderer --image=docker.io/library/nginx:1.25")
    kubectl(
        checkout,
        "patch deployment wanderer "
        """--patch '{"spec":{"template":{"spec":{"affinity":{"nodeAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":"""
        """[{"weight":1,"preference":{"matchExpressions":[{"key":"kubernetes.io/hostname","operator":"In","values":["agent-2"]"""
        """}]}}]}}}}}}'""",
    )
    kubectl(checkout, "rollout status deployment wanderer --timeout=100s")
    assert "agent-2" in kubectl(checkout, "get pods -l app=wanderer -o wide")
    checkout.set("agents", count=1)
    said = up(checkout)
    assert "left=agent-2" in said
    assert "not all pods ended" not in said
    assert domain not in virsh("list", "--all", "--name").split()
    assert node_names(checkout) == ["agent-1", "server-1"]
    assert "agent-2" not in kubectl(checkout, "-n kube-system get secrets -o name")
    assert "agent-2" not in kubectl(checkout, "get pods -l app=wanderer -o wide")
    kubectl(checkout, "delete deployment wanderer --wait=false --ignore-not-found")
    every_page_is_served(checkout)


@pytest.mark.once
def test_a_dead_agent_is_replaced_at_its_name_and_address(checkout: Checkout) -> None:
    old, server = checkout.outputs(), state(checkout, "server-1")
    boot = checkout.node("cat /proc/sys/kernel/random/boot_id", "agent-1")
    virsh("destroy", old["nodes"][1]["domain"])
    up(checkout, "--replace", "**::agent-1-disk")
    assert checkout.outputs()["nodes"] == old["nodes"]
    assert checkout.node("cat /proc/sys/kernel/random/boot_id", "agent-1") != boot
    assert state(checkout, "server-1") == server
    every_page_is_served(checkout)
    assert checkout.preview() == ({}, [])


def test_no_step_back_and_no_minor_release_skipped(checkout: Checkout, build: Build) -> None:
    installed = checkout.node("stat --format=%Y /var/lib/k3s-macvlan/installed")
    minor = int(build.version.split(".")[1])
    refused = {f"v1.{minor - 1}.15+k3s1": "cannot go back", f"v1.{minor + 2}.1+k3s1": f"Set a v1.{minor + 1} release first"}
    for version, said in refused.items():
        checkout.set("k3s", version=version)
        assert said in " ".join(up(checkout, ok=False).split())
    checkout.set("k3s", version=build.version)
    assert checkout.node("stat --format=%Y /var/lib/k3s-macvlan/installed") == installed


def test_an_upgrade_continues_where_it_was_cut_off(checkout: Checkout, build: Build) -> None:
    """The server first, then the agent; pods that run keep serving, though the stand-in's CNI directory moves."""
    if not build.later:
        pytest.skip(f"SKIPPED on {build.name}: there is no release after {build.version} to upgrade to")
    running = pods(checkout)
    checkout.set("k3s", version=build.later)
    with watched([entry["url"] for entry in checkout.outputs()["pages"]]) as counts:
        run = checkout.run("-y", "up")
        run.saw("server-1-k3s-ready.*(replacing|created replacement|creating)", LONG)
        run.interrupt()
        code, _ = checkout.finished(run)
        assert code != 0, "it was not cut off"
        up(checkout)
    assert all(count["served"] > count["missed"] for count in counts.values()), counts
    assert running.items() <= pods(checkout).items()
    when = {name: int(checkout.node("stat --format=%Y /var/lib/k3s-macvlan/installed", name)) for name in ("server-1", "agent-1")}
    assert when["server-1"] < when["agent-1"]
    versions = kubectl(checkout, "get nodes -o jsonpath='{.items[*].status.nodeInfo.kubeletVersion}'")
    assert versions.split() == [build.later] * 2
    every_page_is_served(checkout)
    assert checkout.preview() == ({}, [])


@pytest.mark.parametrize("name", ["server-1", "agent-1"])
def test_a_pod_of_after_the_upgrade_has_its_second_interface(checkout: Checkout, name: str) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"later-{name}", "annotations": {"k8s.v1.cni.cncf.io/networks": "macvlan-conf"}},
        "spec": {"nodeName": name, "containers": [{"name": "web", "image": "docker.io/library/nginx:1.25"}]},
    }
    apply(checkout, pod)
    pod_is_ready(checkout, f"later-{name}")
    annotations = json.loads(kubectl(checkout, f"get pod later-{name} -o json"))["metadata"]["annotations"]
    (address,) = next(
        entry["ips"] for entry in json.loads(annotations["k8s.v1.cni.cncf.io/network-status"]) if entry.get("interface") == "net1"
    )
    assert address not in {entry["address"] for entry in checkout.outputs()["pages"]}
    assert "Welcome to nginx!" in page(f"http://{address}/")
    kubectl(checkout, f"delete pod later-{name} --wait=false --ignore-not-found")


@pytest.mark.k3s_own
def test_three_servers_and_nothing_changes_on_the_first(checkout: Checkout) -> None:
    old, running = state(checkout, "server-1"), pods(checkout)
    checkout.set("agents", count=0)
    up(checkout)
    checkout.set("servers", count=3)
    planned, _ = checkout.preview()
    touched = {name for name in planned if not name.startswith(("server-2", "server-3", "nginx-macvlan-server-"))}
    assert touched == {"local-dhcp", "k3s-release", "server-1-leave"}
    up(checkout)
    pages = every_page_is_served(checkout)
    assert state(checkout, "server-1") == old
    assert pods(checkout)["nginx-macvlan-server-1"] == running["nginx-macvlan-server-1"]
    assert requested(checkout, "server-2", pages["server-3"]["url"], wanted="200", from_the_pod=True) == "200"
    assert checkout.preview() == ({}, [])


@pytest.mark.k3s_own
def test_the_loss_of_a_server_stops_nothing(checkout: Checkout) -> None:
    outputs, running = checkout.outputs(), pods(checkout)
    lost = outputs["nodes"][1]
    urls = [entry["url"] for entry in outputs["pages"] if entry["node"] != lost["name"]]
    with watched(urls) as counts:
        virsh("destroy", lost["domain"])
        time.sleep(90)
        ready(checkout, lost["name"], "NotReady")
    for url, count in counts.items():
        assert count["served"] > 60, (url, count)
    assert running.items() <= pods(checkout).items(), "a page moved to another address"


@pytest.mark.k3s_own
def test_a_lost_server_is_replaced_at_its_name_and_address(checkout: Checkout) -> None:
    old = checkout.outputs()["nodes"]
    others = {name: state(checkout, name) for name in ("server-1", "server-3")}
    up(checkout, "--replace", "**::server-2-disk")
    assert checkout.outputs()["nodes"] == old
    assert {name: state(checkout, name) for name in others} == others
    assert node_names(checkout) == etcd_members(checkout) == ["server-1", "server-2", "server-3"]
    every_page_is_served(checkout)
    assert checkout.preview() == ({}, [])


@pytest.mark.k3s_own
def test_back_to_one_server(checkout: Checkout) -> None:
    """Not while one is down, for then the next to leave would take the majority with it. Without its members etcd needs none."""
    old, lost = state(checkout, "server-1"), checkout.outputs()["nodes"][1]["domain"]
    virsh("destroy", lost)
    ready(checkout, "server-2", "NotReady")
    checkout.set("servers", count=1)
    assert "and etcd needs 2; bring them back first" in " ".join(up(checkout, ok=False).split())
    assert node_names(checkout) == ["server-1", "server-2", "server-3"]
    virsh("start", lost)
    ready(checkout, "server-2", "Ready")
    said = up(checkout)
    assert said.index("left=server-3") < said.index("left=server-2")
    assert node_names(checkout) == etcd_members(checkout) == ["server-1"]
    assert state(checkout, "server-1") == old
    every_page_is_served(checkout)
    assert checkout.preview() == ({}, [])


def test_destroy_leaves_nothing(checkout: Checkout, before: dict[str, Any]) -> None:
    checkout.lab("-y", "destroy")
    assert host_state() == before
