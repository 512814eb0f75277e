"""What K3s needs of a node's kernel, by its settings."""

from __future__ import annotations

from typing import Any

import pytest

from components.config import kernel_modules, reading, settings

pytestmark = pytest.mark.unit


def k3s(**given: Any) -> settings.K3s:
    return reading.parse("dev", {"k3s": given}).k3s


def test_the_default_needs_overlay_vxlan_and_iptables_of_either_kind() -> None:
    modules = kernel_modules.modules(k3s())
    assert {"overlay", "vxlan", "br_netfilter", "nf_conntrack", "nft_compat|iptable_nat", "xt_comment", "?xt_set"} <= set(modules)
    assert len(modules) == len(set(modules))


@pytest.mark.parametrize(
    ("server", "removed", "added"),
    [
        ({"snapshotter": "native"}, {"overlay"}, set()),
        ({"flannel-backend": "host-gw"}, {"vxlan"}, set()),
        ({"flannel-backend": "wireguard-native"}, {"vxlan"}, {"wireguard"}),
        ({"disable-network-policy": True}, {"?ip_set", "?ip_set_hash_ip", "?ip_set_hash_net", "?xt_set"}, set()),
    ],
)
def test_options_change_what_is_needed(server: dict[str, Any], removed: set[str], added: set[str]) -> None:
    """On agents as well: they take the network's from the servers."""
    before = set(kernel_modules.modules(k3s()))
    after = set(kernel_modules.modules(k3s().model_copy(update={"server_config": server})))
    assert (before - after, after - before) == (removed, added)


@pytest.mark.parametrize(
    ("version", "argument", "starts"),
    [
        ("v1.34.9+k3s1", [], True),
        ("v1.35.0+k3s1", [], False),
        ("v1.36.4+k3s1", ["max-pods=50"], False),
        ("v1.36.4+k3s1", ["--fail-cgroupv1=false"], True),
        ("v1.36.4+k3s1", "fail-cgroupv1=false", True),
    ],
)
def test_cgroups_of_version_1(version: str, argument: Any, starts: bool) -> None:
    assert (
        kernel_modules.starts_on_cgroup_v1(k3s(version=version).model_copy(update={"config": {"kubelet-arg": argument}})) == starts
    )
