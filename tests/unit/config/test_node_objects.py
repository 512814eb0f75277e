"""What K3s's options name on a node."""

from __future__ import annotations

from typing import Any

import pytest

from components.config import k3s_options
from components.config.node_objects import _OPTIONS, NodeObject, node_objects
from components.config.settings import K3s

pytestmark = pytest.mark.unit


def named(role: str = "server", **settings: Any) -> list[NodeObject]:
    return node_objects(K3s(**settings), role)


def test_options_that_name_nothing_need_nothing() -> None:
    config = {
        "debug": True,
        "kubelet-arg": ["max-pods=40", "lock-file=/run/kubelet.lock", "seccomp-default"],
        "log": "/var/log/k3s.log",
    }
    assert named() == named(config=config) == []


@pytest.mark.parametrize("option", sorted(_OPTIONS))
def test_each_option_is_one_that_may_be_set(option: str) -> None:
    assert option in k3s_options.SUPPORTED


def test_each_supported_option_by_whose_name_a_file_is_read_is_known() -> None:
    by_name = {key for key in k3s_options.SUPPORTED if key.endswith(("file", "-ca", "-conf", "-iface", "-dir"))}
    assert by_name - {"etcd-snapshot-dir"} <= _OPTIONS.keys()


def test_interfaces_files_and_directories_with_their_settings() -> None:
    config = {
        "flannel-iface": "enp2s0",
        "image-credential-provider-bin-dir": "/opt/providers",
        "kubelet-arg+": ["--resolv-conf=/run/dns", "tls-cert-file=/etc/kubelet.pem"],
    }
    server = {"datastore-cafile": "/etc/ca.pem", "kube-apiserver-arg": "authentication-config=/etc/authentication.yaml"}
    of_both = [
        ("interface", "k3s.config.flannel-iface", "enp2s0"),
        ("directory", "k3s.config.image-credential-provider-bin-dir", "/opt/providers"),
        ("file", "k3s.config.kubelet-arg+ (resolv-conf)", "/run/dns"),
        ("file", "k3s.config.kubelet-arg+ (tls-cert-file)", "/etc/kubelet.pem"),
    ]
    assert named("agent", config=config, server_config=server) == of_both
    assert named("server", config=config, server_config=server) == [
        *of_both,
        ("file", "k3s.serverConfig.datastore-cafile", "/etc/ca.pem"),
        ("file", "k3s.serverConfig.kube-apiserver-arg (authentication-config)", "/etc/authentication.yaml"),
    ]
