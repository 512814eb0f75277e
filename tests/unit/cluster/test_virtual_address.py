"""The static pod of kube-vip."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from components.cluster.virtual_address import static_pod
from components.config.reading import parse

pytestmark = pytest.mark.unit


def pod(**k3s: Any) -> dict[str, Any]:
    configuration = parse("dev", {"k3s": {"virtualAddress": "192.168.122.179", **k3s}})
    document: dict[str, Any] = yaml.safe_load(static_pod("server-2", "enp1s0", configuration.k3s))
    return document


def environment(**k3s: Any) -> dict[str, str]:
    (container,) = pod(**k3s)["spec"]["containers"]
    return {entry["name"]: entry["value"] for entry in container["env"]}


def test_the_address_is_one_host_s_on_the_nodes_interface() -> None:
    values = environment()
    assert (values["address"], values["vip_subnet"], values["vip_interface"]) == ("192.168.122.179", "32", "enp1s0")
    assert (values["vip_arp"], values["cp_enable"], values["port"]) == ("true", "true", "6443")
    assert values["vip_nodename"] == "server-2", "the lease names the node as Kubernetes does"


def test_it_queries_the_api_of_its_own_server_alone() -> None:
    """Else a server whose API has ended would keep the address."""
    spec = pod()["spec"]
    assert environment()["kubernetes_addr"] == "https://127.0.0.1:6443" and spec["hostNetwork"] is True


def test_every_value_is_a_text() -> None:
    """Kubernetes refuses a number or a truth value there."""
    (container,) = pod()["spec"]["containers"]
    assert all(isinstance(entry["value"], str) for entry in container["env"])


def test_settings_reach_it() -> None:
    values = environment(kubeVip={"leaseDuration": 60})
    assert [values[f"vip_{name}"] for name in ("leaseduration", "renewdeadline", "retryperiod")] == ["60", "40", "8"]
    (container,) = pod(kubeVip={"image": "registry.example/kube-vip:v1.0.4"})["spec"]["containers"]
    assert (container["image"], container["imagePullPolicy"]) == ("registry.example/kube-vip:v1.0.4", "IfNotPresent")


def test_it_reads_k3s_s_files_and_changes_none() -> None:
    spec = pod()["spec"]
    mounted = {mount["name"]: mount for mount in spec["containers"][0]["volumeMounts"]}
    assert all(mount["readOnly"] for mount in mounted.values())
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in spec["volumes"]}
    assert paths == {"kubeconfig": "/var/lib/k3s-macvlan/kube-vip.kubeconfig", "tls": "/var/lib/rancher/k3s/server/tls"}
    assert mounted["tls"]["mountPath"] == paths["tls"], "the kubeconfig names the files by the node's own paths"
    assert spec["containers"][0]["securityContext"]["capabilities"] == {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]}
