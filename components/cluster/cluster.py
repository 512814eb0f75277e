"""Cluster: K3s on all machines, its kubeconfig and a Kubernetes provider for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes
import yaml
from pulumi import ComponentResource, Output, ResourceOptions
from pulumi_kubernetes.core.v1 import Namespace, NodePatch
from pulumi_kubernetes.meta import v1 as meta

from components.cluster.k3s_files import config, kubeconfig, registries_yaml
from components.cluster.k3s_node import K3sNode, K3sNodeArgs
from components.cluster.kubernetes_api import ApiRetry
from components.config.artifacts import ArtifactSet
from components.config.plan import API_PORT, CniPaths, NodePlan
from components.config.settings import K3s, Plugins, Timeouts
from components.custom.cluster_identity import Release, ReleaseArgs
from components.custom.credentials import Token
from components.custom.server_gate import Failure
from components.machine.virtual_machine import VirtualMachine
from components.node import command


@dataclass(frozen=True, kw_only=True)
class ClusterArgs:
    """owner: the stack's mark. machines: all nodes, the first server first. api_names: what the servers' certificates hold.
    images: to be pulled ahead, by node. namespaces: to be created before all that is in them. failure: the run's one.
    stock: files on the machines' artifact disk, if any."""

    owner: str
    machines: Sequence[VirtualMachine]
    api_names: Sequence[str]
    images: Mapping[str, Sequence[str]]
    namespaces: Sequence[str]
    k3s: K3s
    plugins: Plugins
    cni: CniPaths
    timeouts: Timeouts
    failure: Failure
    stock: ArtifactSet | None = None


class Cluster(ComponentResource):
    """K3s on all machines: servers one after another, agents in parallel once the first server answers.

    kubeconfig: secret, with the address of the first server or `k3s.apiAddress`.
    provider: for Kubernetes resources, which can be made as soon as the API answers. child_options: options for them.
    nodes: K3sNode by name.
    """

    def __init__(self, name: str, args: ClusterArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("k3s-macvlan:k3s:Cluster", name, {}, opts)
        own = ResourceOptions(parent=self)
        first = args.machines[0]
        servers = [machine for machine in args.machines if machine.node.role == "server"]
        token = Token(f"{name}-token", opts=own)
        # Made without agents too: the first one to come must change nothing on the servers.
        agent_token = Token(f"{name}-agent-token", opts=own) if args.k3s.separate_agent_token else None
        # What the cluster's objects live and die with. Alone, a server takes them with its disk; among others it does not.
        alone = len(servers) == 1
        anchor: pulumi.Resource = first.domain if alone else token
        release = Release(
            f"{name}-release",
            ReleaseArgs(version=args.k3s.version, serial=first.disk_id, alone=alone),
            own,
        )

        self.nodes: dict[str, K3sNode] = {}
        self._left: list[pulumi.Resource] = []
        for machine in args.machines:
            node = machine.node
            join = _join_url(release, servers, args.k3s) if node.first else Output.from_input(_server_url(servers[0], args.k3s))
            self.nodes[node.name] = K3sNode(
                f"{node.name}-k3s",
                K3sNodeArgs(
                    machine=machine,
                    k3s=args.k3s,
                    config_yaml=_config_yaml(token, agent_token, node, join, args),
                    registries_yaml=registries_yaml(args.k3s),
                    server=args.k3s.api_address or str(first.node.address),
                    images=args.images[node.name],
                    plugins=args.plugins,
                    cni=args.cni,
                    depends_on=[release, self._leave(args, machine, anchor), *self._turn(node, args.k3s.agents_at_once)],
                    timeouts=args.timeouts,
                    stock=args.stock,
                ),
                own,
            )

        # Read beside the installation, since K3s writes it long before its API answers. It begins with it, so that the time of
        # what comes before, a node's leaving for one, is not its own.
        founder = self.nodes[first.node.name]
        written = command.run(
            f"{name}-kubeconfig",
            command.Script(
                name="k3s-kubeconfig.sh",
                environment={"LIMIT_SECONDS": str(2 * args.timeouts.k3s)},
                limit=2 * args.timeouts.k3s + 30,
            ),
            connection=first.connection,
            triggers=[first.disk_id],
            secret_output=True,
            opts=ResourceOptions.merge(first.child_options, ResourceOptions(parent=self, depends_on=founder.install_depends_on)),
        )
        address = args.k3s.api_address or str(first.node.address)
        self.kubeconfig: Output[str] = Output.secret(written.stdout.apply(lambda found: kubeconfig(found, address, args.owner)))
        self.provider = kubernetes.Provider(
            f"{name}-kubernetes",
            kubeconfig=self.kubeconfig,
            # What decides whether it is the same cluster: not the kubeconfig, whose certificates K3s renews.
            cluster_identifier=Output.concat(args.owner, "/", release.cluster),
            enable_server_side_apply=True,
            # Seconds for each request. Without it client-go gives the API's schema 32 s, in which a busy emulated server does not
            # always send it, and the provider then calls the cluster unreachable (seen).
            kube_client_settings=kubernetes.KubeClientSettingsArgs(timeout=120),
            # What a run made that was killed before it wrote its state; fields that another has set are conflicts all the same.
            upsert_existing_objects=True,
            opts=ResourceOptions.merge(own, ResourceOptions(depends_on=[founder.k3s_installed])),
        )
        api = ApiRetry(self.kubeconfig, args.failure, args.timeouts.k3s)
        self.child_options = ResourceOptions(provider=self.provider, deleted_with=anchor, hooks=api.hooks)
        namespaces = [
            Namespace(
                f"{name}-namespace-{each}",
                metadata=meta.ObjectMetaArgs(name=each),
                # What others have put into it stays while the cluster does.
                opts=ResourceOptions.merge(self.child_options, ResourceOptions(parent=self, retain_on_delete=True)),
            )
            for each in args.namespaces
        ]
        self.child_options = ResourceOptions.merge(self.child_options, ResourceOptions(depends_on=namespaces))
        for machine in args.machines:
            self._label(machine)
        self.register_outputs({"kubeconfig": self.kubeconfig})

    def _label(self, machine: VirtualMachine) -> None:
        """The node's labels that its kubelet may not set, once it is Ready. They go with its machine, as its node object does."""
        node = machine.node
        if not node.api_labels:
            return
        NodePatch(
            f"{node.name}-labels",
            metadata=meta.ObjectMetaPatchArgs(
                name=node.name,
                labels=dict(node.api_labels),
                # The API keeps who set a field. Without a name of its own a run that was killed leaves another such owner, and with
                # it the labels, when they are taken out of the settings. (Measured on Kubernetes 1.36: set, changed and removed,
                # with other labels untouched, and nothing to change afterwards.)
                annotations={"pulumi.com/patchFieldManager": "k3s-macvlan-labels"},
            ),
            opts=ResourceOptions.merge(
                self.child_options,
                ResourceOptions(parent=self, deleted_with=machine.domain, depends_on=self.nodes[node.name].node_ready_steps),
            ),
        )

    def _turn(self, node: NodePlan, at_once: int | None) -> list[pulumi.Resource]:
        """What must be complete before this node is installed or upgraded. The nodes before it are in self.nodes.

        Servers one by one, because etcd adds one member at a time and an upgrade must leave a majority. Agents need the first
        server to join; for an upgrade their script waits until all servers have the new release.
        """
        before = [other for other in self.nodes if other.startswith(node.role)]
        if node.role == "server":
            return self.nodes[before[-1]].node_ready_steps if before else []
        first = next(iter(self.nodes.values())).k3s_installed
        if at_once is None or len(before) < at_once:
            return [first]
        return [first, *self.nodes[before[-at_once]].node_ready_steps]

    def _leave(self, args: ClusterArgs, machine: VirtualMachine, anchor: pulumi.Resource) -> pulumi.Resource:
        """The node leaves the cluster before its machine goes, one after another, the last first; K3s on a machine made anew
        under its name is installed after that.

        The first server tells the others out, the second the first. Alone it has nobody, and its step does nothing: it is
        there so that going back to one server is not the first one's leaving.
        """
        servers = [each for each in args.machines if each.node.role == "server"]
        node, first = machine.node, servers[0]
        other = servers[1 if len(servers) > 1 else 0] if node.first else first
        undo = command.Script(
            name="node-leave.sh",
            environment={
                "NODE_NAME": node.name,
                "ROLE": node.role,
                "NODE_ADDRESS": str(node.address),
                "DRAIN_SECONDS": str(args.timeouts.drain),
            },
            limit=args.timeouts.drain + 300,
        )
        # The first server's cannot wait for the second's machine, which waits for the first's.
        needed = [machine.domain] if node.first else [machine.domain, self.nodes[first.node.name].k3s_installed, *self._left]
        leave = command.run(
            f"{node.name}-leave",
            None,
            on_delete=None if other is machine else undo,
            connection=other.connection,
            triggers=[machine.disk_id],
            opts=ResourceOptions.merge(
                machine.child_options,
                ResourceOptions(parent=self, deleted_with=anchor, delete_before_replace=True, depends_on=needed),
            ),
        )
        self._left = [] if node.first else [leave]
        return leave


def _server_url(server: VirtualMachine, k3s: K3s) -> str:
    return f"https://{k3s.api_address or server.node.address}:{API_PORT}"


def _join_url(release: Release, servers: Sequence[VirtualMachine], k3s: K3s) -> Output[str]:
    """Whom the first server joins: nobody, or, made anew, the others, who have kept the cluster."""
    if len(servers) == 1:
        return Output.from_input("")
    founded = Output.all(release.founder, servers[0].disk_id)
    return founded.apply(lambda serials: "" if serials[0] == serials[1] else f"https://{servers[1].node.address}:{API_PORT}")


def _config_yaml(token: Token, agent_token: Token | None, node: NodePlan, join: Output[str], args: ClusterArgs) -> Output[str]:
    agents = agent_token.value if agent_token else None
    return Output.all(token=token.value, agents=agents, join=join).apply(
        lambda found: yaml.safe_dump(
            config(node, found["join"], args.api_names, args.k3s, found["token"], agent_token=found["agents"]), sort_keys=True
        )
    )
