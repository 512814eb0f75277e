"""What nodes get for K3s's CIS hardening guide."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from components.cluster.hardened_files import files
from components.cluster.k3s_files import files as k3s_files

from ..scripts.fake_node import accepted_by_systemd

pytestmark = pytest.mark.unit
EXEMPT = ("kube-system", "multus")


def test_kernel_parameters_are_set_before_each_start_of_k3s() -> None:
    """With protect-kernel-defaults the kubelet compares them, and ends where they differ."""
    for role, unit in (("server", "k3s"), ("agent", "k3s-agent")):
        documents = files(role, EXEMPT)
        parameters = dict(line.split("=") for line in documents["/etc/sysctl.d/90-kubelet.conf"]["content"].splitlines())
        # kubernetes/pkg/util/sysctl.
        assert parameters == {
            "vm.overcommit_memory": "1",
            "vm.panic_on_oom": "0",
            "kernel.panic": "10",
            "kernel.panic_on_oops": "1",
            "kernel.keys.root_maxkeys": "1000000",
            "kernel.keys.root_maxbytes": "25000000",
        }
        drop_in = documents[f"/etc/systemd/system/{unit}.service.d/20-hardening.conf"]["content"]
        assert "ExecStartPre=-/usr/lib/systemd/systemd-sysctl /etc/sysctl.d/90-kubelet.conf\n" in drop_in
        assert ("server/tls" in drop_in) == (role == "server")


@pytest.mark.parametrize("role", ["server", "agent"])
def test_the_drop_in_is_one_of_systemd_s(role: str, tmp_path: Path) -> None:
    path, document = next((path, text) for path, text in files(role, EXEMPT).items() if path.endswith("20-hardening.conf"))
    unit = tmp_path / Path(path).parent.name.removesuffix(".d")
    unit.write_text("[Service]\nType=notify\nExecStart=/usr/bin/true\n")
    drop_in = tmp_path / Path(path).parent.name / Path(path).name
    drop_in.parent.mkdir()
    drop_in.write_text(document["content"])
    assert accepted_by_systemd(unit)


def test_pods_are_restricted_where_they_are_not_exempt() -> None:
    admission = yaml.safe_load(files("server", EXEMPT)["/etc/rancher/k3s/psa.yaml"]["content"])
    assert (admission["apiVersion"], admission["kind"]) == ("apiserver.config.k8s.io/v1", "AdmissionConfiguration")
    plugins = {plugin["name"]: plugin["configuration"] for plugin in admission["plugins"]}
    assert plugins.keys() == {"PodSecurity", "EventRateLimit"}
    security = plugins["PodSecurity"]
    assert {security["defaults"][mode] for mode in ("enforce", "audit", "warn")} == {"restricted"}
    assert {security["defaults"][f"{mode}-version"] for mode in ("enforce", "audit", "warn")} == {"latest"}
    assert security["exemptions"] == {"namespaces": ["kube-system", "multus"], "runtimeClasses": [], "usernames": []}
    limits = {limit["type"]: limit for limit in plugins["EventRateLimit"]["limits"]}
    assert all(limit["qps"] > 0 and limit["burst"] >= limit["qps"] for limit in limits.values())
    # Of one kind of limit Kubernetes takes one.
    assert len(limits) == len(plugins["EventRateLimit"]["limits"])


def test_each_request_is_logged_once_and_without_contents() -> None:
    policy = yaml.safe_load(files("server", EXEMPT)["/etc/rancher/k3s/audit.yaml"]["content"])
    assert (policy["apiVersion"], policy["kind"]) == ("audit.k8s.io/v1", "Policy")
    assert (policy["rules"], policy["omitStages"]) == ([{"level": "Metadata"}], ["RequestReceived"])


def test_nobody_but_root_reads_what_the_api_server_is_given() -> None:
    documents = files("server", EXEMPT)
    assert {path for path, document in documents.items() if document["mode"] == "0600"} == {
        "/etc/rancher/k3s/psa.yaml",
        "/etc/rancher/k3s/audit.yaml",
    }
    assert not any(path.startswith("/etc/rancher") for path in files("agent", EXEMPT))


def test_they_are_written_by_the_installation_which_restarts_k3s_for_them() -> None:
    plain = k3s_files("server", "x: 1\n", None)
    assert k3s_files("server", "x: 1\n", None, {}) == plain
    written = yaml.safe_load(k3s_files("server", "x: 1\n", None, files("server", EXEMPT)))
    assert written.keys() == yaml.safe_load(plain).keys() | files("server", EXEMPT).keys()
