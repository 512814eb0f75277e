"""The graph of every stack file and of every shape: which resources, in which order, with which ties between them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable
from typing import Any

import pytest
import yaml

from components.config.reading import parse
from components.custom.server_gate import Serving
from components.node import command

from . import engine
from .conftest import Run
from .engine import STACK_FILES, UNKNOWN, Deployment, Mode, Registered, config_of, leaves, merged, run

pytestmark = pytest.mark.program

SHARED = {
    "Cluster k3s",
    "ClusterRole multus-role",
    "ClusterRoleBinding multus-binding",
    "Command k3s-kubeconfig",
    "ConfigMap multus-config",
    "CustomResourceDefinition multus-crd",
    "DaemonSet multus-daemonset",
    "DhcpClaim local-dhcp",
    "Hypervisor local",
    "PodNetwork macvlan-conf",
    "Multus multus",
    "NetworkAttachmentDefinition macvlan-conf-definition",
    "ReachedRelease k3s-reached",
    "Release k3s-release",
    "Secret multus-token",
    "ServiceAccount multus-account",
    "SshKeyPair client-key",
    "PreparedImage local-prepared-image",
    "StoragePool local-pool",
    "Token k3s-agent-token",
    "Token k3s-token",
    "kubernetes k3s-kubernetes",
}
PER_NODE = {
    "Command {}-answers",
    "Command {}-booted",
    "Command {}-disk-grow",
    "Command {}-images",
    "CniPlugins {}-k3s-plugins",
    "Command {}-k3s-install",
    "Command {}-k3s-plugins-install",
    "Command {}-k3s-ready",
    "Command {}-leave",
    "Command {}-macvlan-conf-check",
    "Command {}-multus-clean",
    "Command {}-multus-gate",
    "Command {}-sync",
    "Domain {}-domain",
    "K3sNode {}-k3s",
    "NodeCertificates {}-certificates",
    "NodeNetworks {}-networks",
    "OverlayDisk {}-disk",
    "Reservation {}-reservation",
    "SeedImage {}-seed",
    "SshKeyPair {}-host-key",
    "VirtualMachine {}",
}
SLICED = {"Command {}-macvlan-conf-network"}
PER_SERVER = {"Settled {}-settled"}
WITH_AGENTS = {"Settled k3s-servers"}
PER_POD = {"HttpProof {}-macvlan-conf-proof", "MacvlanPod {}", "Page {}-macvlan-conf", "Pod {}"}
KUBERNETES = {
    "multus-role", "multus-binding", "multus-config", "multus-crd", "multus-daemonset", "macvlan-conf-definition",
    "multus-token", "multus-account",
}  # fmt: skip
# Resources that do not live in a machine, so nothing may spare them a deletion.
OUTSIDE = {
    "local-prepared-image",
    "k3s-release",
    "k3s-reached",
    "k3s-servers",
    "local-dhcp",
    "local-pool",
    "client-key",
    "k3s-token",
    "k3s-agent-token",
    "k3s-kubernetes",
}
# They live and die with the cluster: with its one server, or with the token of several.
CLUSTER = KUBERNETES
TOP = {"Hypervisor", "VirtualMachine", "Cluster", "Multus", "PodNetwork", "NodeNetworks", "MacvlanPod", "Page", "NodeAccess"}
OUTSIDE_PER_NODE = {"{}-domain", "{}-disk", "{}-reservation", "{}-seed", "{}-host-key", "{}-settled"}

# What one deletion removes for all nodes: by kind, the resource whose deletion that is.
WITH_POOL = {"OverlayDisk": "local-pool", "SeedImage": "local-pool", "BaseImage": "local-pool", "Reservation": "local-dhcp"}

MODES = ("up", "first", "again")
EVERY = pytest.mark.parametrize(("name", "mode"), [(name, mode) for name in STACK_FILES for mode in MODES])
UPS = pytest.mark.parametrize("name", STACK_FILES)


def nodes_of(name: str) -> tuple[list[str], bool]:
    """The stack's nodes, and whether each has a slice of its own."""
    settings = parse(name, config_of(name))
    servers = [f"server-{index + 1}" for index in range(settings.servers.count)]
    agents = [f"agent-{index + 1}" for index in range(settings.agents.count)]
    return servers + agents, settings.pod_networks["macvlan-conf"].addresses_per_node is not None


def pods_of(name: str) -> dict[str, str | None]:
    """The stack's pods, and the node each is bound to."""
    if not parse(name, config_of(name)).workload.per_node:
        return {"nginx-macvlan": None}
    return {f"nginx-macvlan-{node}": node for node in nodes_of(name)[0]}


def expected(nodes: list[str], sliced: bool, pods: Iterable[str] = ("nginx-macvlan",)) -> list[str]:
    per_node = PER_NODE | (SLICED if sliced else set())
    servers = [node for node in nodes if node.startswith("server-")]
    return sorted(
        SHARED
        | {name.format(node) for node in nodes for name in per_node}
        | {name.format(node) for node in servers for name in PER_SERVER}
        | (WITH_AGENTS if len(servers) < len(nodes) else set())
        | {name.format(pod) for pod in pods for name in PER_POD}
    )


def expected_of(name: str) -> list[str]:
    names = expected(*nodes_of(name), pods_of(name))
    if not parse(name, config_of(name)).k3s.separate_agent_token:
        names.remove("Token k3s-agent-token")
    return names


def anchor(deployment: Deployment) -> str:
    """What the cluster's objects are deleted with."""
    alone = "server-2" not in {machine.name for machine in deployment.of("VirtualMachine")}
    return deployment["server-1-domain" if alone else "k3s-token"].urn


def node_of(resource: Registered) -> str:
    return "-".join(resource.name.split("-")[:2])


def shape(servers: int, agents: int) -> dict[str, Any]:
    count = servers + agents
    sliced = {"addressesPerNode": 2} if count > 1 else {}
    return {
        "servers": {"count": servers},
        "agents": {"count": agents},
        "network": {"nodes": "192.168.122.170-192.168.122.199"},
        "podNetworks": {"macvlan-conf": {"range": "192.168.122.200-192.168.122.245", **sliced}},
    }


def _shapes() -> list[tuple[int, int]]:
    """Every number of nodes from 1 to 20, with the numbers of servers that etcd is given in turn."""
    turns = [[count for count in (1, 3, 5, 7) if count <= nodes] for nodes in range(1, 21)]
    shapes = [(counts[nodes % len(counts)], nodes - counts[nodes % len(counts)]) for nodes, counts in enumerate(turns, 1)]
    return sorted({*shapes, (1, 0), (1, 1), (3, 0), (3, 2)})


SHAPES = _shapes()
EACH_SHAPE = pytest.mark.parametrize(("servers", "agents"), SHAPES)


# --- stack files


@EVERY
def test_exactly_these_resources(deploy: Run, name: str, mode: str) -> None:
    assert deploy(name, mode=mode).names == expected_of(name)


@EVERY
def test_order_has_no_cycle(deploy: Run, name: str, mode: str) -> None:
    deployment = deploy(name, mode=mode)
    assert len(deployment.sorted()) == len(deployment.resources)


@EVERY
def test_each_step_waits_for_what_it_needs(deploy: Run, name: str, mode: str) -> None:
    deployment = deploy(name, mode=mode)
    for node in nodes_of(name)[0]:
        steps = {
            f"{node}-disk": {"local-prepared-image", "local-pool", f"{node}-host-key", "client-key"},
            f"{node}-seed": {"local-pool", f"{node}-host-key", "client-key"},
            f"{node}-reservation": {"local-dhcp"},
            f"{node}-domain": {f"{node}-reservation", f"{node}-disk", f"{node}-seed"},
            f"{node}-answers": {f"{node}-domain"},
            f"{node}-booted": {f"{node}-answers"},
            f"{node}-macvlan-conf-check": {f"{node}-answers"},
            f"{node}-disk-grow": {f"{node}-booted", f"{node}-disk"},
            f"{node}-leave": {f"{node}-domain"} | ({"server-1-k3s-install"} if node != "server-1" else set()),
            f"{node}-k3s-install": {f"{node}-answers", f"{node}-leave", "k3s-token", "k3s-release"},
            f"{node}-images": {f"{node}-answers"},
            f"{node}-k3s-ready": {f"{node}-k3s-install"},
            f"{node}-certificates": {f"{node}-leave"} | ({f"{node}-k3s-install"} if node != "server-1" else set()),
            f"{node}-k3s-plugins-install": {f"{node}-k3s-install"},
            f"{node}-multus-clean": {f"{node}-answers"},
            f"{node}-multus-gate": {
                "multus-daemonset",
                f"{node}-k3s-plugins-install",
                f"{node}-k3s-ready",
                f"{node}-booted",
            },
        }
        for step, needed in steps.items():
            assert needed <= deployment.before(step), step
        parallel = {f"{node}-macvlan-conf-check", f"{node}-booted"}
        assert not parallel & deployment.before(f"{node}-k3s-install"), "they run in parallel with K3s"
        others = {resource.name for resource in deployment.custom if f"{node}-images" in deployment.before(resource.name)}
        assert not others, "nothing waits for images that are pulled ahead"
        assert f"{node}-k3s-install" not in deployment.before(f"{node}-images")
    assert {"server-1-answers", "server-1-leave", "k3s-release"} <= deployment.before("k3s-kubeconfig"), "its limit is not theirs"
    assert "server-1-k3s-install" not in deployment.before("k3s-kubeconfig"), "it is read as soon as K3s has written it"
    assert {"k3s-kubeconfig", "server-1-k3s-install"} <= deployment.before("k3s-kubernetes")
    assert {"multus-account"} <= deployment.before("multus-token")
    assert {"multus-account", "multus-role"} <= deployment.before("multus-binding")


@EVERY
def test_the_daemonset_comes_after_all_it_uses_and_after_its_cleaners(deploy: Run, name: str, mode: str) -> None:
    deployment = deploy(name, mode=mode)
    cleaners = {f"{node}-multus-clean" for node in nodes_of(name)[0]}
    wanted = {"multus-crd", "multus-account", "multus-role", "multus-binding", "multus-token", "multus-config"}
    assert wanted | cleaners <= deployment.before("multus-daemonset")
    for cleaner in cleaners:
        assert "multus-daemonset" not in deployment.before(cleaner), "the cleaner would be deleted before the daemon"


@EVERY
def test_the_pod_comes_after_its_network_every_gate_and_every_check(deploy: Run, name: str, mode: str) -> None:
    deployment = deploy(name, mode=mode)
    nodes, sliced = nodes_of(name)
    assert "multus-crd" in deployment.before("macvlan-conf-definition")
    for pod in pods_of(name):
        before = deployment.before(pod)
        assert "macvlan-conf-definition" in before
        for node in nodes:
            assert {f"{node}-multus-gate", f"{node}-macvlan-conf-check", f"{node}-k3s-plugins-install"} <= before
            if sliced:
                assert f"{node}-macvlan-conf-network" in before
        assert pod in deployment.before(f"{pod}-macvlan-conf-proof")


@EVERY
def test_kubernetes_resources_use_our_provider_alone(deploy: Run, name: str, mode: str) -> None:
    deployment = deploy(name, mode=mode)
    provider = deployment["k3s-kubernetes"]
    kubernetes = {resource.name for resource in deployment.custom if resource.type.startswith("kubernetes:")}
    assert kubernetes == KUBERNETES | set(pods_of(name))
    for resource in deployment.custom:
        if resource.type.startswith("kubernetes:"):
            assert resource.provider.rsplit("::", 1)[0] == provider.urn, resource.name
        else:
            assert resource.provider == "", resource.name
    assert provider.input("clusterIdentifier"), "without it another kubeconfig replaces everything"
    assert provider.input("enableServerSideApply") in (True, "true")
    assert provider.input("upsertExistingObjects") in (True, "true")
    assert json.loads(provider.input("kubeClientSettings")) == {"timeout": 120}, "32 s are too few for the schema"
    assert deployment.of("kubernetes") == [provider]


@EVERY
def test_what_lives_in_a_machine_is_deleted_with_it(deploy: Run, name: str, mode: str) -> None:
    deployment = deploy(name, mode=mode)
    nodes, pods = nodes_of(name)[0], pods_of(name)
    outside = OUTSIDE | {pattern.format(node) for node in nodes for pattern in OUTSIDE_PER_NODE}
    outside |= {f"{pod}-macvlan-conf-proof" for pod in pods}
    for resource in deployment.custom:
        if resource.name in outside:
            shared = WITH_POOL.get(resource.kind)
            assert resource.deleted_with == (deployment[shared].urn if shared else ""), resource.name
        else:
            node = "server-1" if resource.name == "k3s-kubeconfig" else pods.get(resource.name) or node_of(resource)
            with_cluster = resource.name in CLUSTER or pods.get(resource.name, node) is None or resource.name.endswith("-leave")
            holder = anchor(deployment) if with_cluster else deployment[f"{node}-domain"].urn
            assert resource.deleted_with == holder, resource.name


@EVERY
def test_everything_is_under_its_component(deploy: Run, name: str, mode: str) -> None:
    deployment = deploy(name, mode=mode)
    stack = f"urn:pulumi:{name}::k3s-macvlan::pulumi:pulumi:Stack::k3s-macvlan-{name}"
    for resource in deployment.resources.values():
        if resource.name == "client-key" or resource.kind in TOP:
            assert resource.parent == stack, resource.name
        else:
            assert resource.parent in deployment.resources, resource.name
            assert deployment.resources[resource.parent].type.startswith("k3s-macvlan:"), resource.name


@EVERY
def test_nothing_is_renamed_protected_or_kept_without_saying_so(deploy: Run, name: str, mode: str) -> None:
    for resource in deploy(name, mode=mode).resources.values():
        if not resource.type.startswith("kubernetes:"):  # its SDK has aliases for the versions of the API
            # Stacks of former releases have their one network under this type.
            former = ['type: "k3s-macvlan:macvlan:MacvlanNetwork"'] if resource.kind == "PodNetwork" else []
            assert len(resource.aliases) == len(former), resource.name
            assert all(text in alias for text, alias in zip(former, resource.aliases, strict=True)), resource.aliases
        assert not resource.protect, resource.name


@EVERY
def test_hooks_and_limits(deploy: Run, name: str, mode: str) -> None:
    deployment = deploy(name, mode=mode)
    limits = parse(name, config_of(name)).timeouts
    for resource in deployment.of("Command"):
        assert resource.timeouts.keys() == {"create", "update", "delete"}, resource.name
        assert resource.hooks["onError"][0] == "a-step-failed", "nothing would be reported to who waits for a server"
    for node in nodes_of(name)[0]:
        report = {"onError": ["a-step-failed", f"{node}-boot-report"]}
        answers, booted = deployment[f"{node}-answers"], deployment[f"{node}-booted"]
        assert answers.hooks == {"beforeCreate": [f"{node}-listens"], "beforeUpdate": ["login-key-arrives"], **report}
        assert booted.hooks == report
        assert booted.timeouts["create"] == f"{limits.cloud_init + 30 + command.DIAL_SECONDS}s"
    for pod in map(deployment.__getitem__, pods_of(name)):
        assert pod.hooks == {"beforeCreate": ["pod-makes-way"], "onError": ["kubernetes-api-restarted", "pod-report"]}
        assert pod.timeouts["create"] == f"{limits.pod}s"
        assert pod.delete_before_replace
        assert "pod-report" in deployment.error_hooks
    definition = deployment["macvlan-conf-definition"]
    assert definition.hooks == {"afterUpdate": ["changed-network"], "onError": ["kubernetes-api-restarted"]}
    assert deployment["multus-daemonset"].timeouts["create"] == f"{limits.multus}s"
    assert deployment["multus-daemonset"].hooks == {"onError": ["kubernetes-api-restarted", "multus-report"]}
    for resource in map(deployment.__getitem__, KUBERNETES):
        assert resource.hooks["onError"][0] == "kubernetes-api-restarted", "a restart of K3s would end the run"
    assert {"server-1-boot-report", "multus-report"} <= set(deployment.error_hooks)


# Kinds for which pulumi-kubernetes 4.32.0 waits by a rule of its own (provider/pkg/await/awaiters.go), and those of them whose rule
# has a limit in its source that no custom timeout changes.
OWN_RULE = {
    "DaemonSet", "Deployment", "StatefulSet", "Job", "PersistentVolume", "PersistentVolumeClaim", "Pod", "ReplicationController",
    "ResourceQuota", "Secret", "Service", "Ingress",
}  # fmt: skip
OWN_LIMIT = {"PersistentVolume", "PersistentVolumeClaim", "ReplicationController", "ResourceQuota", "Secret"}


def test_namespaces_that_the_settings_name_come_before_what_is_in_them(deploy: Run) -> None:
    assert not deploy("dev").of("Namespace")
    networks = {"podNetworks": {"macvlan-conf": {"namespace": "shop"}}}
    change = {"multus": {"namespace": "network"}, **networks, "workload": {"namespace": "shop"}}
    deployment = deploy("dev", change)
    assert [resource.name for resource in deployment.of("Namespace")] == ["k3s-namespace-network", "k3s-namespace-shop"]
    for resource in deployment.custom:
        if resource.kind != "Namespace" and "namespace" in (resource.inputs.get("metadata") or {}):
            namespace = resource.input("metadata")["namespace"]
            assert f"k3s-namespace-{namespace}" in deployment.before(resource.name), resource.name


@EVERY
def test_no_wait_of_the_kubernetes_provider_has_a_limit_of_its_own(deploy: Run, name: str, mode: str) -> None:
    """5 s for a service account's token ended `up` on K3s's own binary (seen)."""
    resources = [resource for resource in deploy(name, mode=mode).custom if resource.kind in OWN_RULE]
    assert {resource.kind for resource in resources} == {"DaemonSet", "Pod", "Secret"}
    for resource in resources:
        assert resource.timeouts.keys() == {"create", "update", "delete"}, resource.name
        if resource.kind in OWN_LIMIT:
            assert "pulumi.com/waitFor" in resource.input("metadata")["annotations"], resource.name


@EVERY
def test_what_is_undone_is_undone_before_it_is_done_again(deploy: Run, name: str, mode: str) -> None:
    """The other way round it would take away the new one, which bears the same name or lies at the same place."""
    deployment = deploy(name, mode=mode)
    ours = {"Domain", "OverlayDisk", "SeedImage", "Reservation", "BaseImage", "PreparedImage", "StoragePool", "DhcpClaim"}
    undone = [resource for resource in deployment.of("Command") if resource.input("delete")]
    assert undone
    for resource in [*undone, *(resource for resource in deployment.custom if resource.kind in ours)]:
        assert resource.delete_before_replace, resource.name


@EVERY
def test_two_runs_request_the_same(deploy: Run, name: str, mode: Mode) -> None:
    one, two = deploy(name, mode=mode), run(config_of(name), stack_name=name, mode=mode)
    first, second = ({urn: resource.inputs for urn, resource in ran.resources.items()} for ran in (one, two))
    assert first == second
    assert one.outputs == two.outputs


@UPS
def test_a_preview_needs_neither_libvirt_nor_a_network(deploy: Run, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", None)
    assert run(config_of(name), stack_name=name, mode="first").names == expected_of(name)


@UPS
def test_dynamic_providers_are_short_names_in_state(deploy: Run, name: str) -> None:
    for resource in deploy(name).custom:
        if "__provider" in resource.inputs:
            assert isinstance(resource.inputs["__provider"], str), f"{resource.name}: a secret, so slow and opaque"
            assert len(resource.inputs["__provider"]) < 200, f"{resource.name}: pickled by value"


def test_the_article_is_a_warning_and_the_default_is_not(deploy: Run) -> None:
    def warned(deployment: Deployment) -> str:
        return "\n".join(text for level, text in deployment.log if level == "WARNING")

    assert "podNetworks.macvlan-conf.defaultRoute" in warned(deploy("cn"))
    assert "podNetworks.macvlan-conf.defaultRoute" not in warned(deploy("dev"))


# --- on a bridge of the hosts

LAN: dict[str, Any] = {
    "network": {
        "kind": "bridge", "name": "br0", "cidr": "10.30.0.0/24", "gateway": "10.30.0.1", "dns": ["10.30.0.1", "9.9.9.9"],
        "nodes": "10.30.0.20-10.30.0.39",
    },
    "podNetworks": {"macvlan-conf": {"range": "10.30.0.200-10.30.0.229"}},
}  # fmt: skip
TWO_HOSTS = {
    "hypervisors": {"local": {}, "far": {"uri": "qemu+ssh://root@far/system"}},
    "agents": {"count": 1, "hypervisor": "far"},
    "podNetworks": {"macvlan-conf": {"addressesPerNode": 10}},
}


@pytest.mark.parametrize("mode", MODES)
def test_a_bridge_has_no_dhcp_of_libvirt_s_and_is_probed_first(deploy: Run, mode: str) -> None:
    deployment = deploy("dev", LAN, mode)
    missing = {"DhcpClaim local-dhcp", "Reservation server-1-reservation", "PreparedImage local-prepared-image"}
    own = {"BaseImage local-image", "FreeAddresses addresses", "Command server-1-lan-check"}
    wanted = {*expected(["server-1"], False), *own} - missing
    assert deployment.names == sorted(wanted)
    assert len(deployment.sorted()) == len(deployment.resources)
    for name in ("local-pool", "local-image", "server-1-disk", "server-1-seed", "server-1-domain"):
        assert "addresses" in deployment.before(name), f"{name} would be made before the addresses are known to be free"
    assert {"server-1-answers"} <= deployment.before("server-1-lan-check")
    assert {"server-1-lan-check"} <= deployment.before("server-1-macvlan-conf-check")
    assert {"server-1-lan-check"} <= deployment.before("nginx-macvlan")
    assert "server-1-lan-check" not in deployment.before("server-1-k3s-install"), "the check runs in parallel with K3s"
    assert deployment["server-1-lan-check"].deleted_with == deployment["server-1-domain"].urn
    probe = deployment["addresses"]
    assert probe.input("ranges") == ["10.30.0.20-10.30.0.39", "10.30.0.200-10.30.0.229"]
    assert probe.input("macs") == [deployment["server-1-domain"].input("mac")]


@UPS
def test_a_network_is_checked_once_on_a_machine(deploy: Run, name: str) -> None:
    """Later the addresses may be those of pods."""
    for step in deploy(name).of("Command"):
        assert step.input("update") == ("true" if step.name.endswith("-macvlan-conf-check") else None), step.name


def test_what_cloud_init_is_set_to_do_is_done_before_anything_else(deploy: Run) -> None:
    deployment = deploy("dev", {"cloudInit": {"packages": ["nfs-common"]}})
    for step in ("macvlan-conf-check", "k3s-install", "images", "multus-clean"):
        assert "server-1-booted" in deployment.before(f"server-1-{step}"), step


def test_pods_wait_for_the_lan_without_the_check_of_their_network_too(deploy: Run) -> None:
    deployment = deploy("dev", merged(LAN, {"podNetworks": {"macvlan-conf": {"check": False}}}))
    assert {"server-1-lan-check"} <= deployment.before("nginx-macvlan")


def test_nodes_on_two_hosts_each_have_their_own_storage_there(deploy: Run) -> None:
    deployment = deploy("dev", merged(LAN, TWO_HOSTS))
    assert len(deployment.sorted()) == len(deployment.resources)
    uris = {"local": "qemu:///system", "far": "qemu+ssh://root@far/system"}
    for host, uri in uris.items():
        node = {"local": "server-1", "far": "agent-1"}[host]
        for name in (f"{host}-pool", f"{host}-image", f"{node}-disk", f"{node}-seed", f"{node}-domain"):
            assert deployment[name].input("uri") == uri, name
            assert "addresses" in deployment.before(name)
        assert {f"{host}-pool", f"{host}-image"} <= deployment.before(f"{node}-domain")
    pools = deployment.of("StoragePool")
    assert len({pool.input("uuid") for pool in pools}) == 2
    assert deployment.of("DhcpClaim") == deployment.of("Reservation") == []
    assert len(deployment.of("FreeAddresses")) == 1
    assert deployment["addresses"].input("macs") == [deployment[f"{node}-domain"].input("mac") for node in ("server-1", "agent-1")]


@pytest.mark.parametrize("change", [LAN, merged(LAN, TWO_HOSTS)])
def test_a_second_preview_on_a_bridge_knows_everything(deploy: Run, change: dict[str, Any]) -> None:
    for resource in deploy("dev", change, "again").resources.values():
        assert [path for path, value in leaves(resource.inputs) if value is UNKNOWN] == [], resource.name


# --- shapes


@EACH_SHAPE
def test_each_node_has_the_same_number_of_resources(deploy: Run, servers: int, agents: int) -> None:
    nodes = [f"server-{i + 1}" for i in range(servers)] + [f"agent-{i + 1}" for i in range(agents)]
    deployment = deploy("dev", shape(servers, agents))
    assert deployment.names == expected(nodes, servers + agents > 1)
    assert len(deployment.sorted()) == len(deployment.resources)


@EACH_SHAPE
def test_servers_join_one_after_another_and_agents_wait_for_the_first_alone(deploy: Run, servers: int, agents: int) -> None:
    deployment = deploy("dev", shape(servers, agents))
    names = [f"server-{i + 1}" for i in range(servers)] + [f"agent-{i + 1}" for i in range(agents)]
    installs = {f"{name}-k3s-install" for name in names}
    for index in range(servers):
        before = deployment.before(f"server-{index + 1}-k3s-install")
        assert before & installs == {f"server-{i + 1}-k3s-install" for i in range(index)}
        if index:
            assert {f"server-{index}-k3s-ready", f"server-{index}-k3s-plugins-install"} <= before
    for index in range(agents):
        before = deployment.before(f"agent-{index + 1}-k3s-install")
        assert before & installs == {"server-1-k3s-install"}
    pod = deployment.before("nginx-macvlan")
    assert installs <= pod


@EACH_SHAPE
def test_no_two_nodes_share_an_identity(deploy: Run, servers: int, agents: int) -> None:
    deployment, count = deploy("dev", shape(servers, agents)), servers + agents
    domains, hosts = deployment.of("Domain"), deployment.of("Reservation")
    for resources, key in (
        (domains, "mac"), (domains, "uuid"), (domains, "name"), (domains, "console_log"), (domains, "disk_path"),
        (domains, "seed_path"), (hosts, "ip"), (hosts, "mac"), (hosts, "name"),
    ):  # fmt: skip
        assert len({resource.input(key) for resource in resources}) == count, key
    checks = [step.input("create") for step in deployment.of("Command") if step.name.endswith("-macvlan-conf-check")]
    addresses = {word for text in checks for word in text.split() if word.startswith("FREE=")}
    assert len(addresses) == count, "two nodes would probe each other's addresses"
    files = [step.input("stdin") for step in deployment.of("Command") if step.name.endswith("-macvlan-conf-network")]
    assert len(set(files)) == (count if count > 1 else 0), "two nodes would give out the same addresses"
    spec = deployment["macvlan-conf-definition"].input("spec")
    assert set(spec) == {"config"} and bool(spec["config"]) == (count == 1), "Multus takes the node's file for an empty one"


@EACH_SHAPE
def test_a_second_preview_of_many_nodes_knows_everything(deploy: Run, servers: int, agents: int) -> None:
    deployment = deploy("dev", shape(servers, agents), "again")
    for resource in deployment.resources.values():
        assert [path for path, value in leaves(resource.inputs) if value is UNKNOWN] == [], resource.name


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_agents_may_be_taken_some_at_a_time(deploy: Run, at_once: int) -> None:
    deployment = deploy("dev", merged(shape(1, 7), {"k3s": {"agentsAtOnce": at_once}}))
    for index in range(7):
        before = deployment.before(f"agent-{index + 1}-k3s-ready")
        done = {step for step in before if step.startswith("agent-") and step.endswith("-k3s-ready")}
        assert len(done) == len({other for other in range(index) if (index - other) % at_once == 0}), index
    assert len(deployment.sorted()) == len(deployment.resources)


@EACH_SHAPE
def test_nodes_leave_one_after_another_the_last_first(deploy: Run, servers: int, agents: int) -> None:
    """Deletion is the other way round: what depends on a machine is deleted before it."""
    deployment = deploy("dev", shape(servers, agents))
    later = [f"server-{i + 1}" for i in range(1, servers)] + [f"agent-{i + 1}" for i in range(agents)]
    for index, node in enumerate(later):
        leave = deployment[f"{node}-leave"]
        before = deployment.before(f"{node}-leave")
        others = {f"{other}-leave" for other in ["server-1", *later[:index]]}
        assert {step for step in before if step.endswith("-leave")} == others
        assert f"{node}-domain" in before
        assert "node-leave.sh" in leave.input("delete")
        assert leave.input("connection")["host"] == deployment["server-1-reservation"].input("ip")
        assert (leave.input("create"), leave.delete_before_replace) == (None, True)


@EACH_SHAPE
def test_the_first_server_leaves_by_the_second_and_alone_not_at_all(deploy: Run, servers: int, agents: int) -> None:
    """Alone it has the step all the same: going back to one server must not be the first one's leaving."""
    deployment = deploy("dev", shape(servers, agents))
    leave = deployment["server-1-leave"]
    assert "server-1-domain" in deployment.before(leave.name)
    if servers == 1:
        assert leave.input("delete") is None
        assert leave.input("connection")["host"] == deployment["server-1-reservation"].input("ip")
    else:
        assert "NODE_NAME=server-1 " in leave.input("delete")
        assert leave.input("connection")["host"] == deployment["server-2-reservation"].input("ip")
        assert "server-2-answers" not in deployment.before(leave.name), "that one waits until this one serves"


async def awaited(hook: Any, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The steps that the hook of an update waits for."""
    names: set[str] = set()

    async def are_done(self: Serving, _limit: float) -> bool:
        names.update(step._name for step in self.steps)
        return True

    monkeypatch.setattr(Serving, "are_done", are_done)
    await hook.callback(None)
    return names


@EACH_SHAPE
def test_a_server_is_restarted_or_recreated_after_the_one_before_it_serves(
    deploy: Run, servers: int, agents: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = deploy("dev", shape(servers, agents))
    for index in range(servers):
        settled = {f"server-{i + 1}-settled" for i in range(index)}
        for step in (f"server-{index + 1}-disk", f"server-{index + 1}-seed", f"server-{index + 1}-domain"):
            assert {name for name in deployment.before(step) if name.endswith("-settled")} == settled
        before = deployment.before(f"server-{index + 1}-settled")
        assert f"server-{index + 1}-domain" in before
        assert not {resource.name for resource in deployment.of("Command")} & before, "what it waits for must not wait for it"
        assert deployment[f"server-{index + 1}-settled"].hooks == {"beforeUpdate": [f"server-{index + 1}-settled"]}
        waited = asyncio.run(awaited(deployment.resource_hooks[f"server-{index + 1}-settled"], monkeypatch))
        assert waited == {f"server-{index + 1}-{step}" for step in ("k3s-ready", "k3s-plugins-install", "booted", "certificates")}
    for index in range(agents):
        settled = {name for name in deployment.before(f"agent-{index + 1}-domain") if name.endswith("-settled")}
        assert settled == {f"server-{i + 1}-settled" for i in range(servers)}


def test_a_first_server_recreated_joins_what_the_others_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def config(count: int) -> dict[str, Any]:
        install = run(config_of("dev", shape(count, 1)))["server-1-k3s-install"]
        files = json.loads(install.document())
        k3s_config = yaml.safe_load(files["/etc/rancher/k3s/config.yaml"]["content"])
        assert isinstance(k3s_config, dict)
        return k3s_config

    assert config(3)["cluster-init"] is True
    monkeypatch.setattr(engine, "founder", lambda _: "another disk")
    second = config(3)
    assert second["server"] == "https://192.168.122.171:6443"
    assert "cluster-init" not in second, "that would be a second cluster"
    assert config(1)["cluster-init"] is True


@pytest.mark.parametrize(("per_node", "nodes", "pulled"), [(False, 1, True), (False, 3, False), (True, 3, True)])
def test_a_node_pulls_ahead_what_its_pods_will_surely_need(deploy: Run, per_node: bool, nodes: int, pulled: bool) -> None:
    deployment = deploy("dev", merged(shape(1, nodes - 1), {"workload": {"perNode": per_node}}))
    pulls = [step for step in deployment.of("Command") if step.name.endswith("-images")]
    assert len(pulls) == nodes
    for step in pulls:
        assert "multus-cni:" in step.input("create")
        assert ("library/nginx:" in step.input("create")) == pulled, step.name
        assert set(step.ignored) == {"create", "stdin"}, "another image would change the machine"


def test_labels_that_no_kubelet_may_set_are_set_through_the_api(deploy: Run) -> None:
    worker = {"node-role.kubernetes.io/worker": "", "disk": "ssd"}
    deployment = deploy("dev", merged(shape(3, 2), {"agents": {"labels": worker}, "servers": {"labels": {"disk": "hdd"}}}))
    patches = deployment.of("NodePatch")
    assert [patch.name for patch in patches] == ["agent-1-labels", "agent-2-labels"]
    for patch, node in zip(patches, ("agent-1", "agent-2"), strict=True):
        metadata = patch.input("metadata")
        assert (metadata["name"], metadata["labels"]) == (node, {"node-role.kubernetes.io/worker": ""})
        assert patch.deleted_with == deployment[f"{node}-domain"].urn
        assert patch.provider.rsplit("::", 1)[0] == deployment["k3s-kubernetes"].urn
        assert f"{node}-k3s-ready" in deployment.before(patch.name)


def test_the_check_on_the_node_knows_the_pods_parent_and_mtu(deploy: Run) -> None:
    (plain,) = (step for step in deploy("dev").of("Command") if step.name == "server-1-macvlan-conf-check")
    assert "LINK=" not in plain.input("create") and "MTU=" not in plain.input("create")
    network = {"parent": "enp2s0", "cidr": "10.9.0.0/24", "range": "10.9.0.5-10.9.0.9", "mtu": 9000}
    settings = {"podNetworks": {"macvlan-conf": network}, "network": {"mtu": 9000}}
    deployment = deploy("dev", settings)
    command = deployment["server-1-macvlan-conf-check"].input("create")
    assert " LINK=enp2s0 " in command and " MTU=9000 " in command
    assert yaml.safe_load(deployment["server-1-seed"].input("network_config"))["ethernets"]["enp1s0"]["mtu"] == 9000
    assert "mtu" not in deploy("dev")["server-1-seed"].input("network_config")


@pytest.mark.parametrize(
    ("network", "routes"),
    [
        ({"vlan": 50, "cidr": "192.168.50.0/24", "nodeAccess": "192.168.50.20"}, "192.168.50.0/24"),
        ({"nodeAccess": "192.168.122.20"}, "192.168.122.203/32"),
    ],
    ids=["on a VLAN", "in the nodes' own subnet"],
)
def test_with_dhcp_a_node_s_own_connections_stay_off_its_way_to_pods(deploy: Run, network: dict[str, Any], routes: str) -> None:
    booked = {"ip": "192.168.50.203" if "vlan" in network else "192.168.122.203", "mac": "02:00:00:00:00:01"}
    settings = {"range": None, "ipam": "dhcp", "addresses": {"nginx-macvlan": booked}, **network}
    command = deploy("dev", {"podNetworks": {"macvlan-conf": settings}})["server-1-macvlan-conf-access"].input("create")
    assert f"RANGES={routes} " in command.replace("'", ""), command


def test_the_reached_release_is_that_of_servers_that_work(deploy: Run) -> None:
    before = deploy("dev", shape(3, 1)).before("k3s-reached")
    assert {f"server-{index + 1}-{step}" for index in range(3) for step in ("k3s-install", "k3s-ready")} <= before
    assert not [name for name in before if name.startswith("agent-")]


def test_a_pod_on_every_node_with_a_page_and_a_proof_each(deploy: Run) -> None:
    access = {"podNetworks": {"macvlan-conf": {"nodeAccess": "192.168.122.246-192.168.122.253"}}}
    deployment = deploy("dev", merged(shape(3, 2), {"workload": {"perNode": True}, **access}))
    nodes = ["server-1", "server-2", "server-3", "agent-1", "agent-2"]
    assert len(deployment.sorted()) == len(deployment.resources)
    for node in nodes:
        pod = deployment[f"nginx-macvlan-{node}"]
        assert pod.input("spec")["nodeSelector"] == {"kubernetes.io/hostname": node}
        assert pod.deleted_with == deployment[f"{node}-domain"].urn
        assert f"nginx-macvlan-{node}" in deployment.before(f"nginx-macvlan-{node}-macvlan-conf-proof")
        access_step = deployment[f"{node}-macvlan-conf-access"]
        assert access_step.deleted_with == deployment[f"{node}-domain"].urn
        assert f"{node}-answers" in deployment.before(access_step.name)
    assert [page["node"] for page in deployment.outputs["pages"]] == nodes
    assert len({page["address"] for page in deployment.outputs["pages"]}) == len(nodes)
