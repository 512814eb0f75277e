"""Cluster: K3s on all machines, its kubeconfig and a Kubernetes provider for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
import yaml
from pulumi import ComponentResource, Output, ResourceOptions

from components import remote
from components.credentials import Token
from components.machine import VirtualMachine
from components.plan import NodePlan
from components.settings import K3s, Timeouts

API_PORT = 6443


@dataclass(frozen=True, kw_only=True)
class ClusterArgs:
    """owner: the stack's mark. machines: all nodes, the first server first."""

    owner: str
    machines: Sequence[VirtualMachine]
    k3s: K3s
    timeouts: Timeouts


class Cluster(ComponentResource):
    """K3s installed and running: servers one after another, agents in parallel once the first server answers.

    kubeconfig: secret, with the address of the first server or `k3s.apiAddress`.
    provider, inside: for Kubernetes resources, which can be made as soon as the API answers.
    installed, ready: per node, the step after which K3s runs on it, and the one after which it is Ready.
    """

    def __init__(self, name: str, args: ClusterArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("k3s-macvlan:k3s:Cluster", name, {}, opts)
        own = ResourceOptions(parent=self)
        first = args.machines[0]
        servers = [machine.node for machine in args.machines if machine.node.role == "server"]
        token = Token(f"{name}-token", opts=own)
        registries = registries_yaml(args.k3s)

        self.installed: dict[str, pulumi.Resource] = {}
        self.ready: dict[str, pulumi.Resource] = {}
        last_server: pulumi.Resource | None = None
        for machine in args.machines:
            node = machine.node
            in_node = ResourceOptions(parent=self, deleted_with=machine.domain)
            # Servers join one after another (etcd adds one member at a time); agents only need the first of them.
            turn = last_server if node.role == "server" else self.installed[first.node.name]
            waits_for = [machine.ready, *([turn] if turn else [])]
            install = remote.run(
                f"{node.name}-k3s",
                remote.Script(
                    name="k3s-install.sh",
                    environment={
                        "ROLE": node.role,
                        "K3S_VERSION": args.k3s.version,
                        "INSTALL_URL": args.k3s.install_script.url,
                        "INSTALL_SHA256": args.k3s.install_script.sha256,
                        "INSTALL_ENV": json.dumps(dict(args.k3s.install_script.environment), sort_keys=True),
                        "LIMIT_SECONDS": str(args.timeouts.k3s),
                        "SERVICE_LIMIT": str(args.timeouts.k3s),
                    },
                    limit=2 * args.timeouts.k3s + 30,
                    stdin=token.value.apply(
                        lambda secret, node=node: _files(config(node, servers, args.k3s, secret), registries)  # type: ignore[misc]
                    ),
                ),
                connection=machine.connection,
                triggers=[machine.serial, machine.size],
                opts=ResourceOptions.merge(in_node, ResourceOptions(depends_on=waits_for)),
            )
            ready = remote.run(
                f"{node.name}-ready",
                remote.Script(
                    name="k3s-node-ready.sh",
                    environment={"NODE_NAME": node.name, "LIMIT_SECONDS": str(args.timeouts.node_ready)},
                    limit=args.timeouts.node_ready + 60,
                ),
                connection=machine.connection,
                triggers=[machine.serial, machine.size, args.k3s.version],
                opts=ResourceOptions.merge(in_node, ResourceOptions(depends_on=[install])),
            )
            self.installed[node.name], self.ready[node.name] = install, ready
            if node.role == "server":
                last_server = ready

        text = remote.read_file(
            f"{name}-kubeconfig",
            "/etc/rancher/k3s/k3s.yaml",
            connection=first.connection,
            triggers=[first.serial],
            opts=ResourceOptions(parent=self, deleted_with=first.domain, depends_on=[self.installed[first.node.name]]),
        )
        address = args.k3s.api_address or str(first.node.address)
        self.kubeconfig: Output[str] = Output.secret(text.apply(lambda found: kubeconfig(found, address, args.owner)))
        self.provider = kubernetes.Provider(
            f"{name}-kubernetes",
            kubeconfig=self.kubeconfig,
            # What decides whether it is the same cluster: not the kubeconfig, whose certificates K3s renews.
            cluster_identifier=Output.concat(args.owner, "/", first.serial),
            enable_server_side_apply=True,
            opts=own,
        )
        self.inside = ResourceOptions(provider=self.provider, deleted_with=first.domain)
        self.register_outputs({"kubeconfig": self.kubeconfig})


def config(node: NodePlan, servers: Sequence[NodePlan], k3s: K3s, token: str) -> dict[str, Any]:
    """/etc/rancher/k3s/config.yaml of a node. https://docs.k3s.io/installation/configuration"""
    own: dict[str, Any] = {"node-name": node.name, "node-ip": str(node.address), "token": token}
    if node.labels:
        own["node-label"] = list(node.labels)
    if node.taints:
        own["node-taint"] = list(node.taints)
    if node.first:
        own["cluster-init"] = True
    else:
        own["server"] = f"https://{k3s.api_address or servers[0].address}:{API_PORT}"
    if node.role == "server":
        names = [str(server.address) for server in servers] + ([k3s.api_address] if k3s.api_address else [])
        own |= {"tls-san": names, "cluster-cidr": str(k3s.pod_cidr), "service-cidr": str(k3s.service_cidr)}
        if k3s.system_default_registry:
            own["system-default-registry"] = k3s.system_default_registry
    extra = {**k3s.config, **(k3s.server_config if node.role == "server" else {})}
    return {**extra, **own}


def registries_yaml(k3s: K3s) -> str | None:
    """/etc/rancher/k3s/registries.yaml, or None where nothing is set. https://docs.k3s.io/installation/private-registry"""
    document: dict[str, Any] = {}
    if k3s.registries.mirrors:
        document["mirrors"] = {
            name: {"endpoint": list(mirror.endpoint), **({"rewrite": mirror.rewrite} if mirror.rewrite else {})}
            for name, mirror in k3s.registries.mirrors.items()
        }
    if k3s.registries.configs:
        document["configs"] = {
            name: {key: value for key, value in (("auth", access.auth), ("tls", access.tls)) if value}
            for name, access in k3s.registries.configs.items()
        }
    return yaml.safe_dump(document, sort_keys=True) if document else None


def _files(config_yaml: Mapping[str, Any], registries: str | None) -> str:
    """What k3s-install.sh reads from stdin."""
    files = {"/etc/rancher/k3s/config.yaml": {"content": yaml.safe_dump(dict(config_yaml), sort_keys=True), "mode": "0600"}}
    if registries is not None:
        files["/etc/rancher/k3s/registries.yaml"] = {"content": registries, "mode": "0600"}
    return json.dumps(files, sort_keys=True)


def kubeconfig(text: str, address: str, name: str) -> str:
    """K3s's own kubeconfig with the API's address as others reach it, and the stack's name for cluster, user and context."""
    document = yaml.safe_load(text)
    label = name.replace("/", "-")
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    cluster["server"] = f"https://{address}:{API_PORT}"
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": label, "cluster": cluster}],
            "users": [{"name": label, "user": user}],
            "contexts": [{"name": label, "context": {"cluster": label, "user": label}}],
            "current-context": label,
        },
        sort_keys=True,
    )
