"""Details of the resources that keep known troubles away; docs/known-troubles.md says which."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Run
from .engine import STACK_FILES

pytestmark = pytest.mark.program


def daemon_pod(deployment: Any) -> dict[str, Any]:
    pod_spec = deployment["multus-daemonset"].input("spec")["template"]["spec"]
    assert isinstance(pod_spec, dict)
    return pod_spec


@pytest.mark.parametrize("name", STACK_FILES)
def test_multus_is_installed_in_one_step_and_stays_when_its_pod_is_deleted(deploy: Run, name: str) -> None:
    """Not by `cp` over a running binary; and no pod starts without its network while the daemon is away."""
    pod = daemon_pod(deploy(name))
    (installer,) = pod["initContainers"]
    assert (installer["command"], installer["args"]) == (["/install_multus"], ["--type", "thin"])
    (daemon,) = pod["containers"]
    assert daemon["command"] == ["/thin_entrypoint"]
    assert "--multus-master-cni-file-name=10-flannel.conflist" in daemon["args"]
    assert not [argument for argument in daemon["args"] if "cleanup-config-on-exit" in argument]
    tokens = [mount for mount in daemon["volumeMounts"] if mount["name"] == "token"]
    assert [mount["mountPath"] for mount in tokens] == ["/var/run/secrets/kubernetes.io/serviceaccount"]


def test_isolation_of_namespaces_is_a_setting(deploy: Run) -> None:
    flag = "--namespace-isolation=true"
    assert flag not in daemon_pod(deploy("dev"))["containers"][0]["args"]
    assert flag in daemon_pod(deploy("dev", {"multus": {"namespaceIsolation": True}}))["containers"][0]["args"]


def test_another_release_of_k3s_rolls_multus(deploy: Run) -> None:
    templates = [
        deploy("dev", {"k3s": {"version": version}})["multus-daemonset"].input("spec")["template"]
        for version in ("v1.27.8+k3s2", "v1.27.9+k3s1")
    ]
    assert templates[0]["metadata"]["annotations"] != templates[1]["metadata"]["annotations"]


@pytest.mark.parametrize("name", STACK_FILES)
def test_the_reservation_is_made_before_the_machine_starts(deploy: Run, name: str) -> None:
    deployment = deploy(name)
    for domain in deployment.of("Domain"):
        reservation = deployment[domain.name.removesuffix("-domain") + "-reservation"]
        assert reservation.urn in domain.dependencies
        assert deployment["local-dhcp"].urn in reservation.dependencies
        assert reservation.input("mac") == domain.input("mac")
