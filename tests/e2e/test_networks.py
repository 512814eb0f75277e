"""Networks as people have them, each with a neighbour of its own: VLANs, fixed addresses, replies by source, DHCP, IPv6, ipvlan;
added to a running stack and removed from it.

Only in the closed test network, because the neighbours are made on its bridge.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from builds import Build
from conftest import ROOT, Checkout
from host import host_state, virsh
from kubectl import apply, kubectl, pod_is_ready, says
from vlan_segment import Segment, segment

pytestmark = [pytest.mark.e2e, pytest.mark.nodes, pytest.mark.chapters]

STATIC_MAC, LEASED_MAC = "02:00:00:00:50:10", "02:00:00:00:60:10"
UNTAGGED = {"range": "192.168.122.200-192.168.122.210"}
IOT = {
    "vlan": 50,
    "cidr": "192.168.50.0/24",
    "gateway": "192.168.50.1",
    "ipam": "static",
    "addresses": {
        "nginx-macvlan": {"ip": "192.168.50.10", "mac": STATIC_MAC},
        "printer": {"ip": "192.168.50.11"},
    },
    "replies": "by-source",
    "routes": [{"to": "10.99.60.0/24", "via": "192.168.50.1"}, {"to": "224.0.0.0/4"}],
}
LEASED = {
    "vlan": 60,
    "cidr": "192.168.60.0/24",
    "gateway": "192.168.60.1",
    "ipam": "dhcp",
    "ipv6": "accept",
    "addresses": {"nginx-macvlan": {"ip": "192.168.60.20", "mac": LEASED_MAC}},
}
SHARED = {
    "vlan": 70,
    "cidr": "192.168.70.0/24",
    "gateway": "192.168.70.1",
    "type": "ipvlan",
    "range": "192.168.70.100-192.168.70.110",
    "ipv6": {"cidr": "fd00:70::/64", "range": "fd00:70::100-fd00:70::1ff"},
}
LEASE_SECONDS = 120


@pytest.fixture(scope="module")
def bridge() -> str:
    if os.environ.get("LAB_E2E_STACK") != "testnet":
        pytest.skip("SKIPPED: makes neighbours on the network's bridge, so only in the closed test network (LAB_E2E_STACK=testnet)")
    return "virbr0"


@pytest.fixture(scope="module")
def segments(bridge: str, build: Build) -> Iterator[dict[int, Segment]]:
    """The VLANs' routers by number. build: skips where there is nothing to tell it on."""
    with contextlib.ExitStack() as stack:
        yield {vlan: stack.enter_context(segment(bridge, vlan)) for vlan in (50, 60, 70)}


@pytest.fixture(scope="module")
def leases(segments: dict[int, Segment]) -> Iterator[Path]:
    """The leases of VLAN 60's DHCP server, which announces an IPv6 prefix too."""
    segments[60].run("ip", "-6", "address", "add", "fd00:60::1/64", "dev", "lan0", "nodad")
    options = (
        f"--dhcp-host={LEASED_MAC},192.168.60.20",
        "--enable-ra",
        "--dhcp-range=fd00:60::,ra-only,64,10m",
        "--ra-param=lan0,5,600",
    )
    with segments[60].dhcp(ROOT / ".lab" / "e2e-dhcp", *options, lease=f"{LEASE_SECONDS}") as file:
        yield file


@pytest.fixture(scope="module")
def before(build: Build) -> dict[str, Any]:
    return host_state()


def networks(checkout: Checkout, **wanted: dict[str, Any]) -> None:
    """Write the stack's networks, all of them."""
    file = checkout.path / f"Pulumi.{checkout.stack}.yaml"
    document = yaml.safe_load(file.read_text())
    document["config"]["k3s-macvlan:podNetworks"] = {name.replace("_", "-"): network for name, network in wanted.items()}
    file.write_text(yaml.safe_dump(document))


def until(probe: Callable[[], Any], problem: str, limit: float = 120) -> Any:
    deadline = time.monotonic() + limit
    while not (result := probe()):
        assert time.monotonic() < deadline, problem
        time.sleep(2)
    return result


def in_pod(checkout: Checkout, words: str) -> str:
    """A command of the node's in the network namespace of the stack's pod."""
    return checkout.node(f"nsenter --net --target $(pgrep --oldest --exact nginx) {words}")


def pages(checkout: Checkout) -> dict[str, dict[str, Any]]:
    return {page["network"]: page for page in checkout.outputs()["pages"]}


def boot(checkout: Checkout) -> str:
    return checkout.node("cat /proc/sys/kernel/random/boot_id; cat /etc/machine-id")


def test_up_serves_the_page_on_the_nodes_own_network(
    checkout: Checkout, before: dict[str, Any], segments: dict[int, Segment]
) -> None:
    checkout.lab("-y", "up")
    assert [*pages(checkout)] == ["macvlan-conf"]
    # `ignore` is the default: nothing of IPv6 on the interface, whatever routers announce.
    assert in_pod(checkout, "ip -6 -oneline address show dev net1").strip() == ""


def test_networks_are_added_without_a_reboot(checkout: Checkout, segments: dict[int, Segment], leases: Path) -> None:
    was = boot(checkout)
    networks(checkout, macvlan_conf=UNTAGGED, iot=IOT, leased=LEASED, shared=SHARED)
    planned, _ = checkout.preview()
    machine = {"server-1-domain", "server-1-disk", "server-1-seed", "server-1-k3s-install", "macvlan-conf-definition"}
    assert not machine & planned.keys(), planned
    checkout.lab("-y", "up")
    assert boot(checkout) == was
    entries = pages(checkout)
    assert [*entries] == ["macvlan-conf", "iot", "leased", "shared"]
    assert (entries["iot"]["address"], entries["iot"]["mac"]) == ("192.168.50.10", STATIC_MAC)
    assert (entries["leased"]["address"], entries["leased"]["mac"]) == ("192.168.60.20", LEASED_MAC)
    assert entries["shared"]["address"].startswith("192.168.70.10")
    # This machine is a neighbour of the first alone, and says so of the others.
    assert entries["macvlan-conf"]["status"] == 200 and "has no address in 192.168.50.0/24" in entries["iot"]["unseen"]


@pytest.mark.observes
def test_each_network_s_neighbour_gets_the_page(checkout: Checkout, segments: dict[int, Segment]) -> None:
    entries = pages(checkout)
    for vlan, network in ((50, "iot"), (60, "leased"), (70, "shared")):
        assert "Welcome to nginx!" in segments[vlan].page(entries[network]["address"]), network


@pytest.mark.observes
def test_replies_leave_by_the_network_of_the_request(checkout: Checkout, segments: dict[int, Segment]) -> None:
    """A client of a third subnet gets its answer by the VLAN's router, while services and names use eth0."""
    assert "Welcome to nginx!" in segments[50].page("192.168.50.10", behind=True)
    assert "Welcome to nginx!" not in segments[60].page("192.168.60.20", behind=True), "without by-source the answer leaves by eth0"
    rules = in_pod(checkout, "ip rule show")
    assert "from 192.168.50.10 lookup" in rules, rules
    default = in_pod(checkout, "ip -4 route show default")
    assert "dev eth0" in default and "net" not in default, default
    service = in_pod(
        checkout,
        "curl --insecure --silent --max-time 20 --output /dev/null --write-out '%{http_code}' https://10.43.0.1:443/version",
    )
    assert service in ("200", "401", "403"), service


@pytest.mark.observes
def test_ipv6_is_as_each_network_says(checkout: Checkout, segments: dict[int, Segment], leases: Path) -> None:
    def addresses(interface: str) -> str:
        return in_pod(checkout, f"ip -6 -oneline address show dev {interface}")

    assert addresses("net2").strip() == "", "ignore"
    until(lambda: "fd00:60:" in addresses("net3"), "accept: no address of the announced prefix")
    assert "default via fe80:" in in_pod(checkout, "ip -6 route show")
    fixed = addresses("net4")
    assert "fd00:70::1" in fixed, fixed
    assert "accept_ra = 0" in in_pod(checkout, "sysctl net.ipv6.conf.net4.accept_ra")


@pytest.mark.observes
def test_the_links_have_no_address_of_the_node_s(checkout: Checkout) -> None:
    for link in ("enp1s0.50", "enp1s0.60", "enp1s0.70"):
        assert checkout.node(f"ip -oneline address show dev {link}").strip() == "", link
        assert "state UP" in checkout.node(f"ip -oneline link show dev {link}")
    managed = checkout.node("networkctl --no-legend list 2>&1 || true")
    for line in managed.splitlines():
        if "enp1s0." in line:
            assert "unmanaged" in line, managed


@pytest.mark.observes
def test_the_kernel_gives_an_interface_to_macvlan_or_to_ipvlan(checkout: Checkout) -> None:
    """What the settings refuse on one link, in components/config/network_conflicts.py."""

    def made(link: str, words: str) -> str:
        return checkout.node(f"ip link add name probe0 link {link} type {words} 2>&1 && ip link delete probe0 && echo made || true")

    assert "busy" in made("enp1s0.50", "ipvlan mode l2") and "busy" in made("enp1s0.70", "macvlan mode bridge")
    assert "made" in made("enp1s0.50", "macvlan mode private")
    assert "made" not in made("enp1s0.50", "macvlan mode passthru")


@pytest.mark.observes
def test_second_run_changes_nothing(checkout: Checkout) -> None:
    assert checkout.preview() == ({}, [])
    checkout.lab("-y", "up", "--expect-no-changes")


def expiry(leases: Path) -> int:
    """When the pod's lease ends, by the server's record, in seconds since 1970; 0 where it has none."""
    lines = [line.split() for line in leases.read_text().splitlines() if LEASED_MAC in line] if leases.exists() else []
    if not lines:
        return 0
    assert [line[2:4] for line in lines] == [["192.168.60.20", "nginx-macvlan"]], lines
    return int(lines[0][0])


def test_a_lease_is_renewed_and_outlives_its_daemon(checkout: Checkout, segments: dict[int, Segment], leases: Path) -> None:
    first = until(lambda: expiry(leases), "no lease")
    until(lambda: expiry(leases) > first, "the lease is not renewed", LEASE_SECONDS + 30)
    killed = expiry(leases)
    checkout.node("systemctl kill --signal=KILL k3s-macvlan-dhcp.service")
    until(lambda: expiry(leases) > killed, "the lease is not requested again", LEASE_SECONDS + 30)
    again = expiry(leases)
    # The daemon is active once it has requested all leases.
    until(
        lambda: "is-active=active" in checkout.node("echo is-active=$(systemctl is-active k3s-macvlan-dhcp.service)"), "no daemon"
    )
    until(lambda: expiry(leases) > again, "the lease that was requested again is not renewed", LEASE_SECONDS + 30)
    assert "Welcome to nginx!" in segments[60].page("192.168.60.20")


def test_after_a_reboot_all_is_there_again(checkout: Checkout, segments: dict[int, Segment], leases: Path) -> None:
    was = boot(checkout)
    domain = checkout.outputs()["nodes"][0]["domain"]
    virsh("reboot", domain, "--mode", "acpi")

    def booted() -> bool:
        with contextlib.suppress(AssertionError):
            return boot(checkout) != was
        return False

    until(booted, "the machine does not come back", 300)
    entries = pages(checkout)
    for vlan, network in ((50, "iot"), (60, "leased")):
        served = partial(segments[vlan].page, entries[network]["address"])
        until(lambda served=served: "Welcome" in served(), f"no page on {network}", 600)  # type: ignore[misc]
    order = checkout.node(
        "systemctl show --property=ActiveEnterTimestampMonotonic --value k3s-macvlan-vlan-enp1s0.50.service; "
        "systemctl show --property=ExecMainStartTimestampMonotonic --value k3s.service"
    ).split()
    assert 0 < int(order[0]) < int(order[1]), "the VLAN is there before K3s starts"


@pytest.mark.observes
def test_status_holds_the_book_against_what_is_there(checkout: Checkout) -> None:
    checkout.lab("-y", "refresh")
    said = json.loads(checkout.lab("status", "--json"))
    assert any("printer" in warning for warning in said["warnings"]) or "printer" in json.dumps(said["networks"]), said["networks"]


PRINTER: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "printer"},
    "spec": {"containers": [{"name": "web", "image": "docker.io/library/nginx:1.25"}]},
}


def test_a_pod_of_others_takes_its_address_from_the_book(checkout: Checkout, segments: dict[int, Segment]) -> None:
    printed = checkout.lab("attach", "printer").strip().splitlines()[-1]
    assert json.loads(printed) == [{"name": "iot", "namespace": "default", "ips": ["192.168.50.11/24"]}]
    assert json.loads(checkout.outputs()["attachments"]["iot"]["printer"]) == json.loads(printed)
    pod = json.loads(json.dumps(PRINTER))
    pod["metadata"]["annotations"] = {"k8s.v1.cni.cncf.io/networks": printed}
    applied(checkout, pod)
    assert "Welcome to nginx!" in segments[50].page("192.168.50.11", behind=True)


def test_a_network_with_pods_of_others_on_it_is_not_taken_away(checkout: Checkout, segments: dict[int, Segment]) -> None:
    networks(checkout, macvlan_conf=UNTAGGED)
    said = checkout.lab("-y", "up", ok=False)
    assert "enp1s0.50 stays, because pods are on it" in said and "default/printer" in said
    assert "Welcome to nginx!" in segments[50].page("192.168.50.11")
    deleted(checkout, PRINTER)


def test_networks_are_removed_without_a_reboot(checkout: Checkout, segments: dict[int, Segment], leases: Path) -> None:
    was = boot(checkout)
    checkout.lab("-y", "up")
    assert boot(checkout) == was
    assert [*pages(checkout)] == ["macvlan-conf"]
    with urllib.request.urlopen(checkout.outputs()["url"], timeout=10) as answer:
        assert "Welcome to nginx!" in answer.read().decode()
    left = checkout.node(
        "ip -oneline link show | grep -o 'enp1s0\\.[0-9]*' || true; ls /etc/systemd/system | grep k3s-macvlan || true; "
        "ls /etc/systemd/network | grep k3s-macvlan || true; ls /run/cni/dhcp.sock 2> /dev/null || true"
    )
    assert left.strip() == "", left
    definitions = kubectl(checkout, "get network-attachment-definitions -A -o name")
    assert definitions.split() == ["networkattachmentdefinition.k8s.cni.cncf.io/macvlan-conf"], definitions
    checkout.lab("-y", "up", "--expect-no-changes")


# --- Multus's own cases (multus-cni: e2e/test-*.sh) on the stack's cluster, with what their scripts only print asserted


def definition(name: str, *plugins: dict[str, Any]) -> dict[str, Any]:
    config = json.dumps({"cniVersion": "0.3.1", "name": name, "plugins": plugins})
    kind = {"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition"}
    return {**kind, "metadata": {"name": name}, "spec": {"config": config}}


def on(name: str, *networks: dict[str, Any]) -> dict[str, Any]:
    """A pod of this name on these networks."""
    metadata = {"name": name, "annotations": {"k8s.v1.cni.cncf.io/networks": json.dumps(networks)}} if networks else {"name": name}
    return {**PRINTER, "metadata": metadata}


def applied(checkout: Checkout, *objects: dict[str, Any]) -> None:
    apply(checkout, *objects)
    for document in objects:
        if document["kind"] == "Pod":
            pod_is_ready(checkout, document["metadata"]["name"])


def in_(checkout: Checkout, pod: str, words: str) -> str:
    """A command of the node's in the network namespace of a pod: the one that has its cluster address. Not every K3s has crictl."""
    address = kubectl(checkout, f"get pod {pod} -o jsonpath='{{.status.podIP}}'").strip()
    return checkout.node(
        "for path in /run/netns/*; do\n"
        f'  [[ $(nsenter --net="$path" ip -4 -oneline address show dev eth0 2> /dev/null) != *" {address}/"* ]] || break\n'
        "done\n"
        f'nsenter --net="$path" {words}'
    )


def deleted(checkout: Checkout, *objects: dict[str, Any]) -> None:
    for document in reversed(objects):
        kind = "pod" if document["kind"] == "Pod" else "network-attachment-definition"
        kubectl(checkout, f"delete {kind}/{document['metadata']['name']} --wait=true --timeout=100s --ignore-not-found")


MACVLAN = {"type": "macvlan", "capabilities": {"ips": True}, "master": "enp1s0", "mode": "bridge", "ipam": {"type": "static"}}


def test_upstream_case_simple_macvlan1(checkout: Checkout) -> None:
    objects = (
        definition("macvlan1-config", MACVLAN, {"type": "tuning"}),
        *(on(f"worker{number}", {"name": "macvlan1-config", "ips": [f"10.1.1.1{number}/24"]}) for number in (1, 2)),
    )
    # The plugins are those of the stack's own network and of what it names.
    checkout.set("plugins", names=["static"])
    checkout.lab("-y", "up")
    applied(checkout, *objects)
    assert "inet 10.1.1.11/24" in in_(checkout, "worker1", "ip -4 -oneline address show dev net1")
    assert "1 received" in in_(checkout, "worker1", "ping -c 1 -w 10 -I net1 10.1.1.12")
    deleted(checkout, *objects)


def test_upstream_case_default_route1(checkout: Checkout) -> None:
    """The annotation's default-route does nothing with the Multus of today (docs/own-pods.md); when this fails, it works."""
    objects = (
        definition("default-route-config", MACVLAN),
        on("worker1", {"name": "default-route-config", "ips": ["10.1.1.21/24"], "default-route": ["10.1.1.254"]}),
        on("worker2", {"name": "default-route-config", "ips": ["10.1.1.22/24"]}),
    )
    applied(checkout, *objects)
    for pod in ("worker1", "worker2"):
        assert "dev eth0" in in_(checkout, pod, "ip -4 route show default")
    said = json.loads(checkout.lab("status", "--json"))
    assert any("default-route" in warning and "worker1" in warning for warning in said["warnings"]), said["warnings"]
    deleted(checkout, *objects)


def test_a_default_route_that_is_set_holds(checkout: Checkout) -> None:
    networks(checkout, macvlan_conf={**UNTAGGED, "defaultRoute": True})
    checkout.lab("-y", "up")
    assert in_(checkout, "nginx-macvlan", "ip -4 route show default").startswith("default via 192.168.122.1 dev net1")
    networks(checkout, macvlan_conf=UNTAGGED)
    checkout.lab("-y", "up")
    assert "dev net1" not in in_(checkout, "nginx-macvlan", "ip -4 route show default")


@pytest.mark.k3s_own
def test_upstream_case_static_pod(checkout: Checkout) -> None:
    bridge = {"type": "bridge", "bridge": "testnet0", "ipam": {"type": "host-local", "subnet": "10.10.0.0/16"}}
    network = definition("bridge-nad", bridge)
    applied(checkout, network)
    manifest = "/var/lib/rancher/k3s/agent/pod-manifests/static-web.yaml"
    checkout.node(f"cat > {manifest} <<'END'\n{json.dumps(on('static-web', {'name': 'bridge-nad'}))}\nEND")
    says(checkout, "get pod static-web-server-1 -o jsonpath='{.status.conditions[?(@.type==\"Ready\")].status}'", r"(?m)^True$")
    assert "inet 10.10." in in_(checkout, "static-web-server-1", "ip -4 -oneline address show dev net1")
    checkout.node(f"rm {manifest}")
    says(checkout, "get pod static-web-server-1", "NotFound")
    deleted(checkout, network)
    checkout.node("ip link delete testnet0")


def test_upstream_case_subdirectory_chaining(checkout: Checkout) -> None:
    """A plugin chained to the cluster's own network by a file in the subdirectory of its name is not read: the thin Multus has that
    network's configuration written into its own (docs/own-pods.md). When this fails, it is."""
    folder = "/var/lib/rancher/k3s/agent/etc/cni/net.d/cbr0"
    chained = {"cniVersion": "0.3.1", "name": "twiddle", "type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}
    checkout.node(f"mkdir -p {folder} && cat > {folder}/twiddle.conf <<'END'\n{json.dumps(chained)}\nEND")
    applied(checkout, on("twiddled"))
    said = in_(checkout, "twiddled", "sysctl -n net.ipv4.conf.eth0.arp_filter")
    deleted(checkout, on("twiddled"))
    checkout.node(f"rm -r {folder}")
    assert said.strip() == "0"


def test_destroy_leaves_nothing(checkout: Checkout, before: dict[str, Any]) -> None:
    checkout.lab("-y", "destroy")
    assert host_state() == before
