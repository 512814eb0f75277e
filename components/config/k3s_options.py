"""Every key of K3s's config.yaml: which may be set, which another setting gives, which this program's clusters cannot have. Pure.

Taken from K3s's own flags (pkg/cli/cmds: server.go, agent.go, log.go, root.go, config.go of 2026-07, and of v1.27).
https://docs.k3s.io/cli/server, https://docs.k3s.io/cli/agent
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

# --- The keys ---------------------------------------------------------------------------------------------------------

# K3s's server ignores a key that it does not know; its agent ends.
_BOTH = """
airgap-extra-registry alsologtostderr bind-address config container-runtime-endpoint data-dir debug default-runtime
disable-default-registry-endpoint docker enable-pprof flannel-cni-conf flannel-conf flannel-iface image-credential-provider-bin-dir
image-credential-provider-config image-service-endpoint kube-proxy-arg kubelet-arg lb-server-port log node-external-dns
node-external-ip node-internal-dns node-ip node-label node-name node-taint nonroot-devices pause-image prefer-bundled-bin
private-registry protect-kernel-defaults resolv-conf rootless selinux server snapshotter token token-file v vmodule vpn-auth
vpn-auth-file with-node-id
"""
_SERVERS = """
advertise-address advertise-port agent-token agent-token-file apiserver-bind-address apiserver-port cluster-cidr cluster-dns
cluster-domain cluster-init cluster-reset cluster-reset-restore-path datastore-cafile datastore-certfile datastore-endpoint
datastore-keyfile default-local-storage-path disable disable-agent disable-apiserver disable-cloud-controller
disable-controller-manager disable-etcd disable-helm-controller disable-kube-proxy disable-network-policy disable-scheduler
egress-selector-mode embedded-registry etcd-arg etcd-disable-snapshots etcd-expose-metrics etcd-s3 etcd-s3-access-key etcd-s3-bucket
etcd-s3-bucket-lookup-type etcd-s3-config-secret etcd-s3-endpoint etcd-s3-endpoint-ca etcd-s3-folder etcd-s3-insecure etcd-s3-proxy
etcd-s3-region etcd-s3-retention etcd-s3-secret-key etcd-s3-session-token etcd-s3-skip-ssl-verify etcd-s3-timeout
etcd-snapshot-compress etcd-snapshot-dir etcd-snapshot-name etcd-snapshot-reconcile-interval etcd-snapshot-retention
etcd-snapshot-schedule-cron flannel-backend flannel-external-ip flannel-ipv6-masq helm-controller-arg helm-job-image
https-listen-port kine-tls kube-apiserver-arg kube-cloud-controller-arg kube-cloud-controller-manager-arg kube-controller-arg
kube-controller-manager-arg kube-scheduler-arg multi-cluster-cidr secrets-encryption secrets-encryption-provider
service-cidr service-node-port-range servicelb-namespace supervisor-metrics supervisor-port system-default-registry tls-san
tls-san-security write-kubeconfig write-kubeconfig-group write-kubeconfig-mode write-kubeconfig-name
"""
_AGENTS = "disable-apiserver-lb"

SERVER = frozenset(_BOTH.split()) | frozenset(_SERVERS.split())
AGENT = frozenset(_BOTH.split()) | frozenset(_AGENTS.split())
KNOWN = SERVER | AGENT

# K3s takes these as keys too.
ALIASES = {"c": "config", "d": "data-dir", "i": "node-ip", "l": "log", "o": "write-kubeconfig", "s": "server", "t": "token"}

# What the program writes, and where that comes from.
OURS = {
    "agent-token": "k3s.separateAgentToken, with a token that the program makes",
    "agent-token-file": "k3s.separateAgentToken, with a token that the program makes",
    "cluster-cidr": "k3s.podCidr",
    "cluster-init": "the plan, for the server that begins the cluster",
    "node-ip": "network.nodes and overrides.NAME.address",
    "node-label": "servers.labels, agents.labels",
    "node-name": "the plan: server-1, agent-1, …",
    "node-taint": "servers.taints, agents.taints",
    "private-registry": "k3s.registries",
    "server": "the plan, k3s.virtualAddress or k3s.apiAddress",
    "service-cidr": "k3s.serviceCidr",
    "system-default-registry": "k3s.systemDefaultRegistry",
    "tls-san": "the plan, k3s.virtualAddress and k3s.apiAddress",
    "token": "a token that the program makes",
    "token-file": "a token that the program makes",
    "write-kubeconfig": "the program, which reads the kubeconfig where K3s writes it by default",
}

_ONE_FOR_ALL = "it would give all nodes one and the same value; K3s takes each node's own from network.nodes"
_PORT = "the nodes join, and the kubeconfig reaches the API, at the port 6443"
_ONCE = "it is for one start by hand, after which K3s ends, so no service can run with it"
_RUNTIME = "images are brought and CNI is configured for the containerd that K3s runs itself"
_WHOLE = "each server of this program runs the whole control plane and is a node"

REFUSED = {
    "advertise-address": _ONE_FOR_ALL,
    "advertise-port": _PORT,
    "apiserver-bind-address": _PORT,
    "apiserver-port": _PORT,
    "bind-address": "K3s would listen on one address alone, the same on all nodes; it listens on all of a node's",
    "cluster-reset": _ONCE,
    "cluster-reset-restore-path": _ONCE,
    "config": "it is the file that this key is written to",
    "container-runtime-endpoint": _RUNTIME,
    "data-dir": "plugins, images and Multus are put where K3s keeps its data by default, /var/lib/rancher/k3s",
    "disable-agent": _WHOLE,
    "disable-apiserver": _WHOLE,
    "disable-controller-manager": _WHOLE,
    "disable-etcd": _WHOLE,
    "disable-kube-proxy": "Multus queries the API at its ClusterIP, which kube-proxy serves",
    "disable-scheduler": "nothing else places Multus and the pods on nodes",
    "docker": _RUNTIME,
    "flannel-external-ip": "it uses node-external-ip, which this program gives no node",
    "https-listen-port": _PORT,
    "image-service-endpoint": _RUNTIME,
    "node-external-dns": _ONE_FOR_ALL,
    "node-external-ip": _ONE_FOR_ALL,
    "node-internal-dns": _ONE_FOR_ALL,
    "rootless": "K3s runs as a system service, and macvlan needs the node's own network",
    "supervisor-port": _PORT,
    "vpn-auth": "nodes would get addresses of the VPN in place of those of network.nodes",
    "vpn-auth-file": "nodes would get addresses of the VPN in place of those of network.nodes",
    "with-node-id": "nodes would get other names than the plan's, by which the program waits for them",
}

SUPPORTED = KNOWN - OURS.keys() - REFUSED.keys()

# tailscale comes with vpn-auth alone.
_BACKENDS = ("vxlan", "host-gw", "wireguard-native")

# Arguments of Kubernetes's own programs that say the same as one of OURS or REFUSED, by key of K3s.
_NODE_NAME = "the plan: server-1, agent-1, …"
_ARGUMENTS: dict[str, dict[str, str]] = {
    "kubelet-arg": {
        "hostname-override": _NODE_NAME,
        "node-ip": "network.nodes and overrides.NAME.address",
        "node-labels": "servers.labels, agents.labels",
        "register-with-taints": "servers.taints, agents.taints",
    },
    "kube-proxy-arg": {"hostname-override": _NODE_NAME, "cluster-cidr": "k3s.podCidr"},
    "kube-apiserver-arg": {"service-cluster-ip-range": "k3s.serviceCidr", "secure-port": "K3s, behind the port 6443"},
    "kube-controller-manager-arg": {"cluster-cidr": "k3s.podCidr", "service-cluster-ip-range": "k3s.serviceCidr"},
}
_ARGUMENTS["kube-controller-arg"] = _ARGUMENTS["kube-controller-manager-arg"]


# --- What is wrong with them ------------------------------------------------------------------------------------------


def name(key: str) -> str:
    """The option of a key of config.yaml, which may be an alias and may end in "+" (add to a list)."""
    plain = key.removesuffix("+")
    return ALIASES.get(plain, plain)


def refusals(config: Mapping[str, Any], *, servers_only: bool) -> Iterator[tuple[str, str]]:
    """(key, why it cannot be set and what to do) of k3s.serverConfig (`servers_only`) or k3s.config; no value is repeated but
    those of flannel-backend."""
    for key, value in config.items():
        option = name(key)
        if option in OURS:
            yield key, f"is written by the program itself, from other settings ({OURS[option]}); remove it"
        elif option in REFUSED:
            yield key, f"is not supported: {REFUSED[option]}; remove it"
        elif option not in KNOWN:
            near = difflib.get_close_matches(option, sorted(SUPPORTED), 1)
            hint = f"; {near[0]} is near" if near else ""
            yield key, f"is no option of K3s's config.yaml; correct or remove it{hint} (docs.k3s.io/cli/server)"
        elif servers_only and option not in SERVER:
            yield key, "is an option of K3s's agents, which no server reads; set it in k3s.config"
        elif problem := _form(option, value):
            yield key, problem
        elif option == "flannel-backend":
            yield from _backend(key, value)
        else:
            yield from _arguments(key, option, value)


def by_value(key: str) -> bool:
    """Whether a key may be refused for its value."""
    return name(key) in {"flannel-backend", "write-kubeconfig-mode"} or name(key) in _ARGUMENTS


def servers_only(config: Mapping[str, Any]) -> list[str]:
    """Keys with which K3s's agent does not start."""
    return [key for key in config if name(key) in SERVER - AGENT]


def _form(option: str, value: Any) -> str:
    """Why K3s cannot read the value, or ""."""
    if value is None:
        return "has no value; write one, or remove it"
    elements = value if isinstance(value, list | tuple) else ()
    if isinstance(value, Mapping) or any(isinstance(element, Mapping | list) for element in elements):
        return "is a mapping or holds one, and K3s reads texts, numbers, true, false and lists of them; write a list of name=value"
    if option == "write-kubeconfig-mode" and not (isinstance(value, str) and re.fullmatch("0?[0-7]{3}", value)):
        return 'is a number in YAML, which K3s would read as another mode; write three octal digits as a text, such as "0600"'
    return ""


def _backend(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if value == "none":
        yield (
            key,
            "none leaves the nodes without a CNI configuration, and Multus waits for the one that K3s writes for flannel; use "
            f"{', '.join(_BACKENDS)}, or remove it",
        )
    elif value not in _BACKENDS:
        yield key, f"names no backend that K3s has for these nodes; use {', '.join(_BACKENDS)}, or remove it"


def _arguments(key: str, option: str, value: Any) -> Iterator[tuple[str, str]]:
    taken = _ARGUMENTS.get(option, {})
    for argument in map(argument_name, arguments(value)):
        if argument in taken:
            yield key, f"gives {argument}, which comes from other settings ({taken[argument]}); remove it"


def arguments(value: Any) -> list[str]:
    """The arguments that an option such as kubelet-arg gives to a program of Kubernetes."""
    return [str(element) for element in (value if isinstance(value, list | tuple) else [value])]


def argument_name(argument: str) -> str:
    """Name of an argument, which may begin with --."""
    return argument.lstrip("-").partition("=")[0].strip()
