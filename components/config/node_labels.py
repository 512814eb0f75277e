"""Who may set a label of a node: the kubelet itself, only somebody else through the API, or nobody but Kubernetes and K3s. Pure.

A kubelet ends when it is configured to set a label in the namespaces kubernetes.io and k8s.io that it may not set (cmd/kubelet/app/
options/options.go, ValidateKubeletFlags; staging/src/k8s.io/kubelet/pkg/apis/well_known_labels.go), and NodeRestriction lets no
kubelet set those of node-restriction.kubernetes.io.
https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
"""

from __future__ import annotations

from collections.abc import Iterable

_KUBELET_KEYS = frozenset(
    {
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "beta.kubernetes.io/os",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "kubernetes.io/arch",
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
    }
)
_KUBELET_NAMESPACES = ("kubelet.kubernetes.io", "node.kubernetes.io")

# Of the roles K3s, of the others the kubelet writes its own value, again and again.
OWN = {
    **dict.fromkeys(
        ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/etcd", "node-role.kubernetes.io/master"),
        "K3s sets it itself on servers and takes it for their role",
    ),
    **dict.fromkeys(
        ("kubernetes.io/arch", "kubernetes.io/hostname", "kubernetes.io/os", "beta.kubernetes.io/arch", "beta.kubernetes.io/os"),
        "the kubelet sets it itself from what the node is",
    ),
}


def of_kubelet(key: str) -> bool:
    """Whether the kubelet may set this label on its own node."""
    namespace = key.partition("/")[0] if "/" in key else ""
    return not _within(namespace, ("kubernetes.io", "k8s.io")) or key in _KUBELET_KEYS or _within(namespace, _KUBELET_NAMESPACES)


def _within(namespace: str, of: Iterable[str]) -> bool:
    return any(namespace == domain or namespace.endswith(f".{domain}") for domain in of)
