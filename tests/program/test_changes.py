"""Which setting changes which resources, and how: the table, asserted in an update and in a preview."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

import pytest

from components.custom.cluster_identity import ReachedReleaseProvider, ReleaseProvider
from components.custom.free_addresses import FreeAddressesProvider
from components.custom.node_certificates import NodeCertificatesProvider
from components.custom.page_check import HttpProofProvider
from components.custom.server_gate import SettledProvider
from components.libvirt.artifact_disk import ArtifactDiskProvider
from components.libvirt.base_image import BaseImageProvider
from components.libvirt.dhcp_claim import DhcpClaimProvider
from components.libvirt.domain import DomainProvider
from components.libvirt.host_device import HostDeviceProvider
from components.libvirt.overlay_disk import OverlayDiskProvider
from components.libvirt.pool import StoragePoolProvider
from components.libvirt.prepared_image import PreparedImageProvider
from components.libvirt.reservation import ReservationProvider
from components.libvirt.seed_image import SeedImageProvider
from components.node import port_wait

from .conftest import Run
from .engine import Deployment, Registered, config_of, merged, opened, run

pytestmark = pytest.mark.program

PROVIDERS = {
    "Domain": DomainProvider,
    "HostDevice": HostDeviceProvider,
    "DhcpClaim": DhcpClaimProvider,
    "Reservation": ReservationProvider,
    "StoragePool": StoragePoolProvider,
    "ArtifactDisk": ArtifactDiskProvider,
    "BaseImage": BaseImageProvider,
    "PreparedImage": PreparedImageProvider,
    "OverlayDisk": OverlayDiskProvider,
    "SeedImage": SeedImageProvider,
    "FreeAddresses": FreeAddressesProvider,
    "HttpProof": HttpProofProvider,
    "Release": ReleaseProvider,
    "ReachedRelease": ReachedReleaseProvider,
    "Settled": SettledProvider,
    "NodeCertificates": NodeCertificatesProvider,
}
SCENARIO: dict[str, Any] = {"k3s": {"version": "v1.27.8+k3s2"}}
"""The release before the changes of the table: one of the old CNI layout, which an upgrade leaves."""

R, U, K, C = "replaced", "updated", "kept", "changed"
"""kept: the input is another, and the provider says that nothing follows. changed: Kubernetes says what follows."""

NETWORK = {"macvlan-conf-definition": C, "nginx-macvlan": C}
"""A network that is another: its definition, and the stack's own pod on it."""


def net(**settings: Any) -> dict[str, Any]:
    """Another value in the one network."""
    return {"podNetworks": {"macvlan-conf": settings}}


IN_MACHINE = {
    "server-1-answers": R,
    "server-1-booted": R,
    "server-1-disk-grow": R,
    "server-1-images": R,
    "server-1-macvlan-conf-check": R,
    "server-1-k3s-install": R,
    "server-1-k3s-ready": R,
    "server-1-certificates": R,
    "k3s-kubeconfig": R,
    "server-1-k3s-plugins-install": R,
    "server-1-multus-clean": R,
    "server-1-multus-gate": R,
    "server-1-sync": R,
    "server-1-leave": R,
}
# A new size restarts the machine; what runs in it is waited for again.
RESIZED = {"server-1-domain": U, "server-1-settled": U, "server-1-k3s-install": R, "server-1-k3s-ready": R}
# Another machine: what lives in Kubernetes is deleted with it by deletedWith, and the provider learns that it is another cluster.
RESTART = RESIZED
NEW_MACHINE = {
    "local-prepared-image": U,
    "server-1-disk": R,
    "server-1-seed": R,
    "server-1-domain": R,
    "server-1-settled": U,
    "k3s-kubernetes": C,
    "k3s-release": U,
    "k3s-reached": U,
    **IN_MACHINE,
}

TABLE: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    ("servers.memory", {"servers": {"memory": 8192}}, RESIZED),
    ("servers.cpus", {"servers": {"cpus": 4}}, RESIZED),
    ("servers.disk", {"servers": {"disk": 40}}, {"server-1-disk": U, "server-1-disk-grow": R}),
    ("servers.labels", {"servers": {"labels": {"a": "b"}}}, {"server-1-k3s-install": U}),
    ("servers.taints", {"servers": {"taints": ["a=b:PreferNoSchedule"]}}, {"server-1-k3s-install": U}),
    ("machine.diskCache", {"machine": {"diskCache": "none"}}, RESTART),
    ("machine.firmware", {"machine": {"firmware": "efi"}}, RESTART),
    ("machine.firmware, what it is by itself", {"machine": {"firmware": "bios"}}, {}),
    ("machine.secureBoot", {"machine": {"firmware": "efi", "secureBoot": True}}, RESTART),
    ("timeouts.packages", {"timeouts": {"packages": 900}}, {}),
    ("machine.autostart", {"machine": {"autostart": False}}, {"server-1-domain": U}),
    ("image.checksum", {"image": {"checksum": "sha256:" + "1" * 64}}, NEW_MACHINE),
    ("image.source", {"image": {"source": "/srv/same.qcow2"}}, {}),
    ("cloudInit", {"cloudInit": {"packages": ["htop"]}}, NEW_MACHINE),
    ("ssh.authorizedKeys", {"ssh": {"authorizedKeys": ["ssh-ed25519 AAAA me"]}}, NEW_MACHINE),
    ("ssh.port", {"ssh": {"port": 2222}}, NEW_MACHINE),
    ("network.queues", {"network": {"queues": 2}}, RESTART),
    ("network.exclude", {"network": {"exclude": ["192.168.122.2"]}}, {}),
    (
        "network.nodes, same start",
        {"network": {"nodes": "192.168.122.180-192.168.122.190"}},
        {"local-dhcp": U},
    ),
    (
        "servers.overrides.address: etcd does not survive it",
        {"servers": {"overrides": {"server-1": {"address": "192.168.122.190"}}}},
        {**NEW_MACHINE, "server-1-reservation": U},
    ),
    (
        "k3s.version, CNI directory moves",
        {"k3s": {"version": "v1.28.15+k3s1"}},
        {
            "k3s-release": U,
            "k3s-reached": U,
            "server-1-k3s-install": U,
            "server-1-k3s-ready": R,
            "server-1-k3s-plugins-install": R,
            "server-1-multus-clean": U,
            "multus-daemonset": C,
            "server-1-multus-gate": R,
        },
    ),
    (
        "k3s.version, it stays",
        {"k3s": {"version": "v1.27.9+k3s1"}},
        {
            "k3s-release": U,
            "k3s-reached": U,
            "server-1-k3s-install": U,
            "server-1-k3s-ready": R,
            "server-1-k3s-plugins-install": R,
            "multus-daemonset": C,
            "server-1-multus-gate": R,
        },
    ),
    (
        "k3s.registries",
        {"k3s": {"registries": {"mirrors": {"quay.io": {"endpoint": ["https://quay.example"]}}}}},
        {"server-1-k3s-install": U},
    ),
    ("k3s.config", {"k3s": {"config": {"kubelet-arg": ["max-pods=50"]}}}, {"server-1-k3s-install": U}),
    ("k3s.apiAddress", {"k3s": {"apiAddress": "k3s.example"}}, {"server-1-k3s-install": U, "k3s-kubernetes": C}),
    (
        "plugins.names",
        {"plugins": {"names": ["bond"]}},
        {"server-1-k3s-plugins-install": U, "server-1-multus-gate": U},
    ),
    ("plugins.url", {"plugins": {"url": "https://mirror.example/p.tgz"}}, {"server-1-k3s-plugins-install": U}),
    (
        "multus.image",
        {"multus": {"image": "ghcr.io/k8snetworkplumbingwg/multus-cni:v4.2.3"}},
        {"multus-daemonset": C, "server-1-multus-gate": R},
    ),
    ("multus.memoryLimit", {"multus": {"memoryLimit": "512Mi"}}, {"multus-daemonset": C}),
    ("podNetworks.*.mode", net(mode="vepa"), {**NETWORK, "server-1-macvlan-conf-check": U}),
    ("podNetworks.*.defaultRoute", net(defaultRoute=True), NETWORK),
    (
        "podNetworks.*.range",
        net(range="192.168.122.200-192.168.122.220"),
        {**NETWORK, "local-dhcp": U, "server-1-macvlan-conf-check": U},
    ),
    # Another gateway is another network to check.
    ("podNetworks.*.gateway", net(gateway="192.168.122.9"), {"server-1-macvlan-conf-check": R}),
    ("podNetworks.*.mtu", net(mtu=1400), {**NETWORK, "server-1-macvlan-conf-check": R}),
    (
        "podNetworks.*.replies",
        net(replies="by-source"),
        {**NETWORK, "server-1-k3s-plugins-install": U, "server-1-multus-gate": U},
    ),
    ("podNetworks.*.addresses of others", net(addresses={"printer": {"mac": "02:00:00:00:00:01"}}), {}),
    ("workload.image", {"workload": {"image": "docker.io/library/nginx:1.27"}}, {"nginx-macvlan": C}),
    ("proof.title", {"proof": {"title": "Other"}}, {"nginx-macvlan-macvlan-conf-proof": R}),
    ("timeouts.boot", {"timeouts": {"boot": 900}}, {}),
    ("timeouts.pod", {"timeouts": {"pod": 900}}, {}),
    ("timeouts.proof", {"timeouts": {"proof": 900}}, {"nginx-macvlan-macvlan-conf-proof": K}),
    ("timeouts.shutdown", {"timeouts": {"shutdown": 90}}, {"server-1-domain": K}),
]


LAN: dict[str, Any] = {
    "network": {
        "kind": "bridge", "name": "br0", "cidr": "10.30.0.0/24", "gateway": "10.30.0.1", "dns": ["10.30.0.1"],
        "nodes": "10.30.0.20-10.30.0.39",
    },
    "podNetworks": {"macvlan-conf": {"range": "10.30.0.200-10.30.0.229"}},
    "hypervisors": {"local": {"uri": "qemu+ssh://me@far/system"}},
}  # fmt: skip
NEW_MACHINE_ON_LAN = {name: how for name, how in NEW_MACHINE.items() if name != "local-prepared-image"} | {"server-1-lan-check": R}
ON_LAN: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    ("network.dns", {"network": {"dns": ["9.9.9.9"]}}, NEW_MACHINE_ON_LAN),
    ("network.gateway", {"network": {"gateway": "10.30.0.254"}}, NEW_MACHINE_ON_LAN),
    ("network.name", {"network": {"name": "br1"}}, {"server-1-domain": R}),
    ("network.nodes, same start", {"network": {"nodes": "10.30.0.20-10.30.0.29"}}, {"addresses": U}),
    ("image.source", {"image": {"source": "/srv/same.qcow2"}}, {"local-image": K}),
    ("image.checksum", {"image": {"checksum": "sha256:" + "1" * 64}}, {"local-image": R, **NEW_MACHINE_ON_LAN}),
    ("machine.firmware", {"machine": {"firmware": "efi"}}, {"local-image": U, **RESTART}),
    ("network.vlan", {"network": {"openvswitch": True, "vlan": 50}}, RESTART),
    (
        "podNetworks.*.range",
        net(range="10.30.0.200-10.30.0.239"),
        {**NETWORK, "addresses": U, "server-1-macvlan-conf-check": U},
    ),
    (
        "hypervisors.*.uri, the same host",
        {"hypervisors": {"local": {"uri": "qemu+ssh://root@far/system?keyfile=/k"}}},
        dict.fromkeys(["local-pool", "local-image", "server-1-disk", "server-1-seed", "server-1-domain"], U),
    ),
]


@pytest.mark.parametrize(("change", "expected"), [row[1:] for row in ON_LAN], ids=[row[0] for row in ON_LAN])
def test_a_setting_of_a_lan_changes_what_depends_on_it(deploy: Run, change: dict[str, Any], expected: dict[str, str]) -> None:
    old, new = deploy("dev", LAN), deploy("dev", merged(LAN, change))
    assert new.names == old.names
    assert changes(old, new) == expected


def how(old: Registered, new: Registered) -> str:
    """What the engine makes of the new inputs."""
    olds, news = opened(old.inputs), opened(new.inputs)
    if new.kind in PROVIDERS:
        diff = PROVIDERS[new.kind]().diff("id", olds, news)
        return R if diff.replaces else U if diff.changes else K
    if new.kind == "Command":
        return R if visible(old)["triggers"] != visible(new)["triggers"] else U
    return C


def visible(resource: Registered) -> dict[str, Any]:
    """Inputs whose change is a change: the serial of a disk is an output here."""
    hidden = {"__provider", *resource.ignored}
    shown = {name: value for name, value in opened(resource.inputs).items() if name not in hidden}
    for name, place in (path.rstrip("]").split("[") for path in resource.ignored if path.endswith("]")):
        shown[name] = [value for number, value in enumerate(shown[name]) if number != int(place)]
    return shown


def kept(old: Registered, new: Registered) -> dict[str, Any]:
    """The inputs of now, of which check() replaces some by the former ones."""
    olds, news = visible(old), visible(new)
    if new.kind not in ("PreparedImage", "OverlayDisk"):
        return news
    checked = PROVIDERS[new.kind]().check(olds, news).inputs
    return {name: value for name, value in checked.items() if name in olds or name in news}


def changes(old: Deployment, new: Deployment) -> dict[str, str]:
    """By name: what is another, for all that is in both."""
    changed = {}
    for urn, resource in old.resources.items():
        other = new.resources.get(urn)
        if resource.custom and other is not None and visible(resource) != kept(resource, other):
            changed[resource.name] = how(resource, other)
    return changed


@pytest.mark.parametrize(("change", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
@pytest.mark.parametrize("mode", ["up", "again"])
def test_a_setting_changes_what_depends_on_it(deploy: Run, change: dict[str, Any], expected: dict[str, str], mode: str) -> None:
    old, new = deploy("dev", SCENARIO, mode), deploy("dev", merged(SCENARIO, change), mode)
    assert new.names == old.names
    assert changes(old, new) == expected


@pytest.mark.parametrize(("change", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_a_machine_recreated_keeps_its_identity(deploy: Run, change: dict[str, Any], expected: dict[str, str]) -> None:
    old, new = (deploy("dev", config)["server-1-domain"] for config in ({}, change))
    for name in ("name", "uuid", "mac"):
        assert old.input(name) == new.input(name)


def test_a_limit_of_the_boot_is_a_limit_and_nothing_else(deploy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[tuple[str, int, float]] = []

    async def port_open(host: str, port: int, limit: float) -> bool:
        waits.append((host, port, limit))
        return True

    monkeypatch.setattr(port_wait, "port_open", port_open)
    old, new = deploy("dev"), deploy("dev", {"timeouts": {"boot": 900}})
    assert changes(old, new) == {}
    for deployment in (old, new):
        asyncio.run(deployment.resource_hooks["server-1-listens"].callback(None))
    host = old["server-1-answers"].input("connection")["host"]
    assert waits == [(host, 22, 600), (host, 22, 900)]


def many(servers: int, agents: int, **more: Any) -> dict[str, Any]:
    return {
        "servers": {"count": servers, **more},
        "agents": {"count": agents},
        **net(range="192.168.122.200-192.168.122.229", addressesPerNode=3),
    }


@pytest.mark.parametrize(("servers", "agents", "more"), [(1, 0, 1), (1, 1, 2), (1, 2, 5), (3, 1, 2)])
def test_another_agent_changes_nothing_on_the_others(deploy: Run, servers: int, agents: int, more: int) -> None:
    """The claim learns the MAC of the new machine, and the image that there is one."""
    old, new = deploy("dev", many(servers, agents)), deploy("dev", many(servers, more))
    assert set(old.resources) <= set(new.resources)
    assert changes(old, new) == {"local-dhcp": U, "local-prepared-image": U}


@pytest.mark.parametrize(("servers", "more"), [(1, 3), (3, 5)])
def test_another_server_changes_nothing_on_the_others(deploy: Run, servers: int, more: int) -> None:
    """The cluster and what runs in it stay the same. With the second server there is one that can take the first out."""
    old, new = deploy("dev", many(servers, 2)), deploy("dev", many(more, 2))
    second = {"k3s-release": U, "server-1-leave": U} if servers == 1 else {}
    assert changes(old, new) == {"local-dhcp": U, "local-prepared-image": U, **second}


def test_an_upgrade_does_not_end_the_daemon_whose_leases_pods_have(deploy: Run) -> None:
    """It does not end while they have; another directory of plugins starts it again. On another machine it is another."""
    dhcp = {"podNetworks": {"lan": {"vlan": 50, "cidr": "192.168.50.0/24", "ipam": "dhcp"}}}
    old = deploy("dev", merged(SCENARIO, dhcp))
    for version, daemon in (("v1.27.9+k3s1", {}), ("v1.28.15+k3s1", {"server-1-dhcp": U})):
        new = deploy("dev", {"k3s": {"version": version}, **dhcp})
        changed = changes(old, new)
        assert changed["server-1-k3s-install"] == U
        assert {name: change for name, change in changed.items() if name == "server-1-dhcp"} == daemon
    machine = deploy("dev", merged(SCENARIO, {**dhcp, "image": {"checksum": "sha256:" + "1" * 64}}))
    assert changes(old, machine)["server-1-dhcp"] == R


@pytest.mark.parametrize("agents", [0, 1])
def test_an_upgrade_of_servers_is_what_agents_wait_for(deploy: Run, agents: int) -> None:
    shape = many(3, agents)
    changed = changes(deploy("dev", merged(shape, SCENARIO)), deploy("dev", merged(shape, {"k3s": {"version": "v1.27.9+k3s1"}})))
    assert changed.get("k3s-servers") == (U if agents else None)


def test_the_guest_agent_is_a_step_of_its_own_on_a_machine_that_stays(deploy: Run) -> None:
    """The machine learns that its channel is relied on, and is not restarted for it."""
    old, new = deploy("dev", many(1, 1)), deploy("dev", {**many(1, 1), "machine": {"guestAgent": True}})
    assert set(new.names) - set(old.names) == {"Command server-1-guest-agent", "Command agent-1-guest-agent"}
    assert changes(old, new) == {"server-1-domain": U, "agent-1-domain": U}
    step = new["server-1-guest-agent"]
    assert "OFFLINE=false" in step.input("create") and "server-1-booted" in new.before(step.name)


def test_the_agents_token_is_deleted_with_its_setting(deploy: Run) -> None:
    old, new = deploy("dev", many(1, 1)), deploy("dev", {**many(1, 1), "k3s": {"separateAgentToken": False}})
    assert set(old.names) - set(new.names) == {"Token k3s-agent-token"}
    assert set(new.names) <= set(old.names)
    assert changes(old, new) == {"k3s-servers": U, "server-1-k3s-install": U, "agent-1-k3s-install": U}


def test_the_size_of_one_node_is_its_own(deploy: Run) -> None:
    old = deploy("dev", many(3, 0))
    new = deploy("dev", many(3, 0, overrides={"server-2": {"memory": 6144}}))
    assert changes(old, new) == {
        "server-2-domain": U,
        "server-2-settled": U,
        "server-2-k3s-install": R,
        "server-2-k3s-ready": R,
    }


def test_two_runs_of_the_modules_differ_in_nothing(deploy: Run) -> None:
    """No clock and no randomness at program time: the modules loaded again request the same."""
    old = deploy("dev")
    importlib.reload(importlib.import_module("components.config.plan"))
    assert changes(old, run(config_of("dev"))) == {}
