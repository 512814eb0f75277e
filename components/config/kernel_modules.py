"""What K3s needs of a node's kernel, by its settings. Pure.

From K3s's own sources: contrib/util/check-config.sh ("Generally Necessary"), pkg/agent/syssetup/setup.go (what it loads),
pkg/agent/flannel (backends), pkg/agent/netpol/netpol.go (network policies are skipped without ipset), and Kubernetes KEP-5573 (the
kubelet does not start on cgroup v1 from 1.35 on). Names as in depmod's files; `A|B`: either will do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.config.plan import k3s_release
from components.config.settings import K3s

_ALWAYS = (
    "bridge",
    "br_netfilter",
    "veth",
    "nf_conntrack",
    "nf_nat",
    # iptables by nf_tables, or the older kind. A kernel has one of them whole.
    "nf_tables|ip_tables",
    "nft_compat|iptable_nat",
    "nft_chain_nat|iptable_filter",
    "xt_comment",
    "xt_conntrack",
    "xt_addrtype",
    "xt_multiport",
    "xt_statistic",
    "xt_mark",
    "xt_nat",
    "xt_MASQUERADE|ipt_MASQUERADE",
    "ipt_REJECT",
)
_POLICIES = ("ip_set", "ip_set_hash_ip", "ip_set_hash_net", "xt_set")
_BACKENDS = {"vxlan": "vxlan", "wireguard-native": "wireguard"}
_NO_CGROUP_V1 = 35


def modules(k3s: K3s) -> list[str]:
    """Kernel modules that K3s needs on a node; ? before a name: useful and not needed."""
    options = _options(k3s)
    names = list(_ALWAYS)
    if options.get("snapshotter", "overlayfs") == "overlayfs":
        names.append("overlay")
    backend = _BACKENDS.get(str(options.get("flannel-backend", "vxlan")))
    if backend is not None:
        names.append(backend)
    if not options.get("disable-network-policy"):
        names += [f"?{name}" for name in _POLICIES]
    return names


def starts_on_cgroup_v1(k3s: K3s) -> bool:
    """Whether the kubelet of this release, with these options, starts where cgroups are those of version 1."""
    given = _options(k3s).get("kubelet-arg", ())
    arguments = [given] if isinstance(given, str) else list(given) if isinstance(given, list | tuple) else []
    return k3s_release(k3s.version)[0] < _NO_CGROUP_V1 or "fail-cgroupv1=false" in [str(flag).lstrip("-") for flag in arguments]


def _options(k3s: K3s) -> Mapping[str, Any]:
    """K3s's options as the first server has them; agents take the network's from it."""
    return {**k3s.config, **k3s.server_config}
