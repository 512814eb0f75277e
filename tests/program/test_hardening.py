"""k3s.hardened in the graph: which steps come before and after K3s, what the pod is, and that nothing changes without it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from .conftest import Run
from .engine import Deployment, merged, opened
from .test_changes import C, U, changes, many
from .test_graph import MODES, expected

pytestmark = pytest.mark.program

HARDENED: dict[str, Any] = {"k3s": {"hardened": True}}
OWN = {
    "Command k3s-encryption-prepared",
    "Command k3s-encryption-secrets",
    "Encryption k3s-encryption",
    "Hardening k3s-hardening",
    *(f"NetworkPolicy k3s-hardening-kube-system-{name}" for name in (
        "intra-namespace", "default-network-dns-policy", "allow-all-metrics-server", "allow-all-svclb-ingress",
        "allow-all-traefik-ingress",
    )),
    "NetworkPolicy k3s-hardening-kube-public-intra-namespace",
    *(f"ServiceAccountPatch k3s-hardening-{name}-account" for name in ("default", "kube-node-lease", "kube-public")),
}  # fmt: skip


def installed(deployment: Deployment, node: str) -> dict[str, dict[str, str]]:
    """What the installation of K3s on a node gets as files."""
    sent = opened(deployment[f"{node}-k3s-install"].inputs)["stdin"]
    files: dict[str, dict[str, str]] = json.loads(sent[sent.index('{"/etc/rancher') :])
    return files


@pytest.mark.parametrize("mode", MODES)
def test_the_resources_of_it(deploy: Run, mode: str) -> None:
    deployment = deploy("dev", HARDENED, mode)
    assert deployment.names == sorted({*expected(["server-1"], False), *OWN})
    assert len(deployment.sorted()) == len(deployment.resources)
    domain = deployment["server-1-domain"].urn
    for name in OWN:
        resource = deployment[name.rpartition(" ")[2]]
        assert not resource.custom or resource.deleted_with == domain, name


@pytest.mark.parametrize("where", ["config", "serverConfig"])
def test_k3s_s_own_option_is_prepared_and_followed_by_one_key_too(deploy: Run, where: str) -> None:
    """With the option alone each server of a running cluster makes a key of its own, which is in no snapshot."""
    three = merged(many(3, 0), {"k3s": {where: {"secrets-encryption": True}}})
    deployment = deploy("dev", three)
    assert "k3s-encryption-prepared" in deployment.before("server-1-k3s-install")
    for name in ("server-2-encryption-key", "server-3-encryption-key"):
        assert "k3s-encryption-secrets" in deployment.before(name)
    assert "NetworkPolicy" not in {resource.kind for resource in deployment.custom}
    off = deploy("dev", merged(many(3, 0), {"k3s": {where: {"secrets-encryption": False}}}))
    assert not [resource.name for resource in off.custom if "encryption" in resource.name]


def test_without_it_nothing_is_another(deploy: Run) -> None:
    deployment = deploy("dev")
    assert changes(deployment, deploy("dev", {"k3s": {"hardened": False}})) == {}
    (pod,) = deployment.of("Pod")
    spec = pod.input("spec")
    assert spec.keys() == {"automountServiceAccountToken", "containers"}
    (container,) = spec["containers"]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False} and "volumeMounts" not in container


@pytest.mark.parametrize("mode", ["up", "again"])
def test_it_is_switched_on_and_off_where_a_stack_is_up(deploy: Run, mode: str) -> None:
    """No machine is restarted; K3s is, and the pod is another."""
    old, new = deploy("dev", {}, mode), deploy("dev", HARDENED, mode)
    assert set(new.names) - set(old.names) == OWN and set(old.names) <= set(new.names)
    assert changes(old, new) == {"server-1-k3s-install": U, "nginx-macvlan": C}
    assert changes(new, old) == {"server-1-k3s-install": U, "nginx-macvlan": C}


def test_secrets_are_prepared_before_the_option_and_encrypted_when_all_servers_have_it(deploy: Run) -> None:
    deployment = deploy("dev", merged(many(3, 1), HARDENED))
    assert "k3s-encryption-prepared" in deployment.before("server-1-k3s-install")
    assert "k3s-encryption-prepared" in deployment.before("server-3-k3s-install"), "servers come one after another"
    secrets = deployment["k3s-encryption-secrets"]
    assert {f"server-{number}-k3s-ready" for number in (1, 2, 3)} <= deployment.before(secrets.name)
    assert deployment["server-1-domain"].urn == secrets.deleted_with
    keys = [f"server-{number}-encryption-key" for number in (2, 3)]
    assert secrets.name in deployment.before(keys[0]) and keys[0] in deployment.before(keys[1])
    assert "Command server-1-encryption-key" not in deployment.names
    assert deployment[keys[1]].deleted_with == deployment["server-3-domain"].urn


def test_files_of_servers_and_agents(deploy: Run) -> None:
    deployment = deploy("dev", merged(many(1, 1), merged(HARDENED, {"multus": {"namespace": "multus"}})))
    server, agent = installed(deployment, "server-1"), installed(deployment, "agent-1")
    admission = yaml.safe_load(server["/etc/rancher/k3s/psa.yaml"]["content"])
    exempt = [plugin["configuration"].get("exemptions") for plugin in admission["plugins"] if plugin["name"] == "PodSecurity"]
    assert exempt == [{"namespaces": ["kube-system", "multus"], "runtimeClasses": [], "usernames": []}]
    assert yaml.safe_load(server["/etc/rancher/k3s/config.yaml"]["content"])["secrets-encryption"] is True
    assert "/etc/sysctl.d/90-kubelet.conf" in server and "/etc/sysctl.d/90-kubelet.conf" in agent
    assert "/etc/systemd/system/k3s-agent.service.d/20-hardening.conf" in agent
    assert not {"/etc/rancher/k3s/psa.yaml", "/etc/rancher/k3s/audit.yaml"} & agent.keys()
    assert not [path for path in installed(deploy("dev"), "server-1") if "hardening" in path or "sysctl" in path]


def test_the_pod_is_what_restricted_requires(deploy: Run) -> None:
    (pod,) = deploy("dev", HARDENED).of("Pod")
    spec = pod.input("spec")
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 101,
        "seccompProfile": {"type": "RuntimeDefault"},
        "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}],
    }
    (container,) = spec["containers"]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert [mounts[volume["name"]] for volume in spec["volumes"]] == ["/run", "/var/cache/nginx", "/var/lib/nginx"]
    assert all(volume["emptyDir"] == {} for volume in spec["volumes"])


def test_a_pod_of_another_user_and_one_as_the_image_says(deploy: Run) -> None:
    (pod,) = deploy("dev", merged(HARDENED, {"workload": {"user": 1000, "emptyDirs": [], "port": 8080}})).of("Pod")
    assert pod.input("spec")["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert "volumes" not in pod.input("spec")
    deployment = deploy("dev", merged(HARDENED, {"workload": {"user": 0, "namespace": "web"}}))
    (pod,) = deployment.of("Pod")
    assert "securityContext" not in pod.input("spec")
    assert "- web\n" in installed(deployment, "server-1")["/etc/rancher/k3s/psa.yaml"]["content"]


def test_policies_let_in_what_k3s_serves(deploy: Run) -> None:
    policies = {policy.name: policy for policy in deploy("dev", HARDENED).of("NetworkPolicy")}
    system = {
        name.removeprefix("k3s-hardening-kube-system-"): policy.input("spec")
        for name, policy in policies.items()
        if policy.input("metadata")["namespace"] == "kube-system"
    }
    same = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
    assert system["intra-namespace"] == {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [same]}]}
    dns = system["default-network-dns-policy"]
    assert dns["ingress"] == [{"ports": [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}]
    assert dns["podSelector"] == {"matchLabels": {"k8s-app": "kube-dns"}}
    for name in ("allow-all-metrics-server", "allow-all-svclb-ingress", "allow-all-traefik-ingress"):
        assert system[name]["ingress"] == [{}] and system[name]["podSelector"], name


def test_accounts_give_no_token_to_pods_that_name_none(deploy: Run) -> None:
    deployment = deploy("dev", HARDENED)
    for patch in deployment.of("ServiceAccountPatch"):
        assert patch.input("automountServiceAccountToken") is False
        assert patch.input("metadata")["name"] == "default"
        assert "server-1-k3s-ready" in deployment.before(patch.name), "Kubernetes makes the account after the namespace"
