"""What K3s's CIS hardening guide (k3s.hardened) takes in the cluster: network policies, service accounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import ComponentResource, ResourceOptions
from pulumi_kubernetes.core.v1 import ServiceAccountPatch
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.networking import v1 as networking

_SYSTEM = "kube-system"

# Those of the guide: no pod in them needs the account that it has where it names none. Those of other namespaces are their owners'.
_ACCOUNTS = ("default", "kube-node-lease", "kube-public")


@dataclass(frozen=True, kw_only=True)
class HardeningArgs:
    """Inputs of `Hardening`."""

    ready: Sequence[pulumi.Resource]
    """Steps after which the first server is Ready."""
    kubernetes: ResourceOptions
    """Of Kubernetes resources."""


class Hardening(ComponentResource):
    """Network policies for K3s's own namespaces, no token for pods that name no account."""

    def __init__(self, name: str, args: HardeningArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("k3s-macvlan:k3s:Hardening", name, {}, opts)
        own = ResourceOptions(parent=self)
        kubernetes = ResourceOptions.merge(args.kubernetes, own)
        for policy, namespace, spec in _policies():
            networking.NetworkPolicy(
                f"{name}-{namespace}-{policy}",
                metadata=meta.ObjectMetaArgs(name=policy, namespace=namespace),
                spec=networking.NetworkPolicySpecArgs(**spec),
                opts=kubernetes,
            )
        for namespace in _ACCOUNTS:
            ServiceAccountPatch(
                f"{name}-{namespace}-account",
                metadata=meta.ObjectMetaPatchArgs(
                    name="default",
                    namespace=namespace,
                    # As for the labels of nodes: without a name of its own a run that was killed leaves another owner of the field.
                    annotations={"pulumi.com/patchFieldManager": "k3s-macvlan-hardening"},
                ),
                automount_service_account_token=False,
                # Kubernetes makes the account after the namespace.
                opts=ResourceOptions.merge(kubernetes, ResourceOptions(depends_on=list(args.ready))),
            )
        self.register_outputs({})


def _policies() -> list[tuple[str, str, dict[str, Any]]]:
    """(name, namespace, spec): the guide's, for the namespaces that K3s itself fills.

    Within kube-system all is allowed; from outside of it what serves others: DNS, metrics, Traefik. Where the guide names the
    load balancer of Traefik, all of K3s's are allowed, since those of other Services are pods of kube-system too.
    """
    selector, requirement = meta.LabelSelectorArgs, meta.LabelSelectorRequirementArgs
    peer, rule, port = networking.NetworkPolicyPeerArgs, networking.NetworkPolicyIngressRuleArgs, networking.NetworkPolicyPortArgs

    def within(namespace: str) -> dict[str, Any]:
        same = peer(namespace_selector=selector(match_labels={"kubernetes.io/metadata.name": namespace}))
        return {"pod_selector": selector(), "ingress": [rule(from_=[same])], "policy_types": ["Ingress"]}

    def open_to_all(pods: meta.LabelSelectorArgs, *ports: networking.NetworkPolicyPortArgs) -> dict[str, Any]:
        return {"pod_selector": pods, "ingress": [rule(ports=list(ports) or None)], "policy_types": ["Ingress"]}

    dns = [port(port=53, protocol="TCP"), port(port=53, protocol="UDP")]
    balancers = selector(match_expressions=[requirement(key="svccontroller.k3s.cattle.io/svcname", operator="Exists")])
    return [
        ("intra-namespace", _SYSTEM, within(_SYSTEM)),
        ("intra-namespace", "kube-public", within("kube-public")),
        ("default-network-dns-policy", _SYSTEM, open_to_all(selector(match_labels={"k8s-app": "kube-dns"}), *dns)),
        ("allow-all-metrics-server", _SYSTEM, open_to_all(selector(match_labels={"k8s-app": "metrics-server"}))),
        ("allow-all-svclb-ingress", _SYSTEM, open_to_all(balancers)),
        ("allow-all-traefik-ingress", _SYSTEM, open_to_all(selector(match_labels={"app.kubernetes.io/name": "traefik"}))),
    ]
