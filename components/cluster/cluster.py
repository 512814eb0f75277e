"""Cluster: K3s on all machines, its kubeconfig and a Kubernetes provider for it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi import ComponentResource, Output, ResourceOptions
from pulumi_kubernetes.core.v1 import Namespace, NodePatch
from pulumi_kubernetes.meta import v1 as meta

from components.cluster import hardened_files
from components.cluster.encryption import Encryption, prepare_encryption
from components.cluster.hardening import Hardening, HardeningArgs
from components.cluster.k3s_files import config, encrypts, kubeconfig, registries_yaml
from components.cluster.k3s_node import K3sNode, K3sNodeArgs
from components.cluster.kubernetes_api import SCHEMA_SECONDS, ApiRetry, once_it_answers
from components.config.artifacts import ArtifactSet
from components.config.plan import API_PORT, CniPaths, NodePlan
from components.config.settings import K3s, Plugins, Timeouts
from components.custom.cluster_identity import ReachedRelease, ReachedReleaseArgs, Release, ReleaseArgs
from components.custom.credentials import DataToken, Token
from components.custom.server_gate import Failure, Serving, Settled, SettledArgs
from components.machine.virtual_machine import VirtualMachine
from components.node import command, yaml_text


@dataclass(frozen=True, kw_only=True)
class ClusterArgs:
    """Inputs of `Cluster`."""

    owner: str
    """project/stack, the mark on what this program manages."""
    machines: Sequence[VirtualMachine]
    """All nodes, the first server first."""
    api_address: str
    """Address or name where clients reach the API."""
    join_address: str
    """Address or name where the servers after the first and the agents join."""
    interface: str
    """The nodes' interface on their network."""
    api_names: Sequence[str]
    """Addresses and names in the servers' certificates (tls-san)."""
    namespaces: Sequence[str]
    """Namespaces that are created before what is in them."""
    k3s: K3s
    """The setting k3s."""
    plugins: Plugins
    """The setting plugins."""
    plugin_names: Sequence[str]
    """CNI plugins to install."""
    cni: CniPaths
    """CNI directories on the nodes."""
    timeouts: Timeouts
    """The setting timeouts, in seconds."""
    failure: Failure
    """Of this run; set when a Kubernetes resource fails."""
    artifacts: ArtifactSet | None = None
    """Files on the machines' artifact disk; None: the nodes download."""
    rotate: str = ""
    """What this run rotates, of `rotation.KINDS`."""
    exempt_namespaces: Sequence[str] = ()
    """With k3s.hardened: namespaces that PodSecurity has no say in."""


@dataclass(frozen=True)
class Tokens:
    """What nodes join with."""

    servers: str
    agents: str | None
    """None: agents join with the servers'."""

    def or_of(self, disk: str) -> Tokens:
        """Those of a cluster that was not begun with these, as k3s-data-token.sh prints them. At its first start on such data K3s
        must have its agents' token too, also where `k3s.separateAgentToken` is another."""
        parts = disk.split()
        return Tokens(parts[0], parts[1] if len(parts) > 1 else None) if parts and parts[0] != self.servers else self


class Cluster(ComponentResource):
    """K3s on all machines: servers one after another, agents in parallel once the API of the first server answers.

    Errors: an upgrade that K3s does not support, in the preview; what the scripts on the nodes report.
    """

    kubeconfig: Output[str]
    """Secret. Its server is `k3s.apiAddress`, `k3s.virtualAddress`, or the first server's address."""
    provider: kubernetes.Provider
    """Configured with the kubeconfig, once the API answers."""
    child_options: ResourceOptions
    """For Kubernetes resources of the stack: provider, namespaces first, deletion with the cluster, retry when K3s restarts."""
    nodes: dict[str, K3sNode]
    """By node name."""

    def __init__(self, name: str, args: ClusterArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("k3s-macvlan:k3s:Cluster", name, {}, opts)
        own = ResourceOptions(parent=self)
        first = args.machines[0]
        servers = [machine for machine in args.machines if machine.node.role == "server"]
        rotate_tokens = args.rotate == "token"
        token = Token(f"{name}-token", opts=own, rotate=rotate_tokens)
        # Created without agents too: the first agent that is added must change nothing on the servers.
        agent_token = Token(f"{name}-agent-token", opts=own, rotate=rotate_tokens) if args.k3s.separate_agent_token else None
        # What the cluster's objects are deleted with. The data of a single server are the cluster's, and are lost with its disk.
        single_server = len(servers) == 1
        data_disk = first.data_disks[first.node.k3s_disk.name] if first.node.k3s_disk else None
        lifetime_owner: pulumi.Resource = (data_disk or first.domain) if single_server else token
        release = Release(
            f"{name}-release",
            ReleaseArgs(
                version=args.k3s.version,
                serial=first.disk_id,
                alone=single_server,
                data=data_disk.disk_id if data_disk else None,
            ),
            own,
        )
        tokens = self._tokens(name, first, token, agent_token, lifetime_owner, rotate=rotate_tokens)

        limits = args.timeouts
        serving = Serving(args.failure)
        servers_first = (
            [self._servers_first(name, args, tokens, serving, len(servers))] if len(servers) < len(args.machines) else []
        )
        self.nodes = {}
        self._left: list[pulumi.Resource] = []
        encrypted = encrypts(args.k3s)
        prepared = [prepare_encryption(f"{name}-encryption-prepared", first, args.timeouts.k3s, own)] if encrypted else []
        for machine in args.machines:
            node = machine.node
            join = _join_url(release, servers, args) if node.first else Output.from_input(f"https://{args.join_address}:{API_PORT}")
            self.nodes[node.name] = K3sNode(
                f"{node.name}-k3s",
                K3sNodeArgs(
                    machine=machine,
                    k3s=args.k3s,
                    config_yaml=_config_yaml(tokens, node, join, args),
                    registries_yaml=registries_yaml(args.k3s),
                    server=args.join_address,
                    interface=args.interface,
                    plugins=args.plugins,
                    plugin_names=args.plugin_names,
                    cni=args.cni,
                    depends_on=[
                        release,
                        self._leave(args, machine, lifetime_owner),
                        *self._turn(node, args.k3s.agents_at_once),
                        *(prepared if node.first else []),
                        *(servers_first if node.role == "agent" else []),
                    ],
                    timeouts=args.timeouts,
                    artifacts=args.artifacts,
                    certificates_after=[self.nodes[server.node.name].certificates for server in servers]
                    if node.role == "agent"
                    else [],
                    rotate_certificates=args.rotate == "certificates",
                    further_files=hardened_files.files(node.role, args.exempt_namespaces) if args.k3s.hardened else {},
                ),
                own,
            )

        serving.steps.extend(step for server in servers for step in self.nodes[server.node.name].node_ready_steps)

        # Read in parallel with the installation, because K3s writes it long before its API answers. Both begin together, so that
        # its limit does not include the steps before the installation.
        founder = self.nodes[first.node.name]
        written = command.run(
            f"{name}-kubeconfig",
            command.Script(
                name="k3s-kubeconfig.sh",
                environment={"LIMIT_SECONDS": str(2 * args.timeouts.k3s)},
                limit=2 * args.timeouts.k3s + 30,
            ),
            connection=first.connection,
            # Its client certificate is one of those that are renewed.
            triggers=[Output.all(first.disk_id, founder.certificates.renewed).apply(lambda known: " ".join(filter(None, known)))],
            secret_output=True,
            opts=ResourceOptions.merge(first.child_options, ResourceOptions(parent=self, depends_on=founder.install_depends_on)),
        )
        self.kubeconfig = Output.secret(written.stdout.apply(lambda text: kubeconfig(text, args.api_address, args.owner)))
        self.provider = kubernetes.Provider(
            f"{name}-kubernetes",
            kubeconfig=once_it_answers(self.kubeconfig, founder.k3s_installed, limits.k3s, args.failure),
            # It decides whether this is the same cluster. The kubeconfig cannot, because K3s renews its certificates.
            cluster_identifier=Output.concat(args.owner, "/", release.cluster),
            enable_server_side_apply=True,
            kube_client_settings=kubernetes.KubeClientSettingsArgs(timeout=SCHEMA_SECONDS),
            # A run that was killed before it wrote its state may have created objects. Fields that others have set still conflict.
            upsert_existing_objects=True,
            opts=ResourceOptions.merge(own, ResourceOptions(depends_on=[founder.k3s_installed])),
        )
        api = ApiRetry(self.kubeconfig, args.failure, args.timeouts.k3s)
        self.child_options = ResourceOptions(provider=self.provider, deleted_with=lifetime_owner, hooks=api.hooks)
        namespaces = [
            Namespace(
                f"{name}-namespace-{namespace}",
                metadata=meta.ObjectMetaArgs(name=namespace),
                # Others may have put objects into it; they stay as long as the cluster.
                opts=ResourceOptions.merge(self.child_options, ResourceOptions(parent=self, retain_on_delete=True)),
            )
            for namespace in args.namespaces
        ]
        self.child_options = ResourceOptions.merge(self.child_options, ResourceOptions(depends_on=namespaces))
        for machine in args.machines:
            self._label(machine)
        if args.k3s.hardened:
            Hardening(
                f"{name}-hardening",
                HardeningArgs(ready=self.nodes[first.node.name].node_ready_steps, kubernetes=self.child_options),
                own,
            )
        ReachedRelease(
            f"{name}-reached",
            ReachedReleaseArgs(version=args.k3s.version, cluster=release.cluster),
            ResourceOptions.merge(own, ResourceOptions(depends_on=serving.steps)),
        )
        if encrypted:
            with_steps = [(machine, self.nodes[machine.node.name].node_ready_steps) for machine in servers]
            Encryption(f"{name}-encryption", with_steps, args.timeouts.k3s, own)
        self.register_outputs({"kubeconfig": self.kubeconfig})

    def _tokens(
        self,
        name: str,
        first: VirtualMachine,
        token: Token,
        agent_token: Token | None,
        lifetime_owner: pulumi.Resource,
        *,
        rotate: bool,
    ) -> Output[Tokens]:
        """Those of the cluster on the first server's data disk, if there is one, else the stack's own. Once these were rotated,
        they are the disk's too."""
        own = Output.all(token.value, agent_token.value if agent_token else None).apply(lambda known: Tokens(*known))
        if not first.node.k3s_disk:
            return own
        on_disk = command.run(
            f"{name}-data-token",
            command.Script(name="k3s-data-token.sh", limit=60),
            connection=first.connection,
            # Not the machine: a rebuilt one has the same disk.
            triggers=[first.data_id],
            secret_output=True,
            opts=ResourceOptions.merge(
                first.child_options,
                ResourceOptions(parent=self, deleted_with=lifetime_owner, depends_on=[first.ssh_ready, *first.mounted]),
            ),
        )
        data = DataToken(
            f"{name}-data-token-used", disk=first.data_id, own=token.value, rotate=rotate, opts=ResourceOptions(parent=self)
        )
        return Output.secret(
            Output.all(on_disk.stdout, own, data.rotated).apply(lambda known: known[1] if known[2] else known[1].or_of(known[0]))
        )

    def _servers_first(self, name: str, args: ClusterArgs, tokens: Output[Tokens], serving: Serving, servers: int) -> Settled:
        """What is changed on agents with the servers waits for these: after an upgrade, with another token or at another address
        they would not get on with a former server. When it is created, nothing waits."""
        limits = args.timeouts
        digest = tokens.apply(lambda known: hashlib.sha256(f"{known.servers} {known.agents}".encode()).hexdigest())
        return Settled(
            f"{name}-servers",
            SettledArgs(
                of=Output.concat(args.k3s.version, " ", args.join_address, " ", digest),
                serving=serving,
                limit=servers * (2 * limits.k3s + limits.node_ready + limits.plugins),
                refusal=(
                    "a server's step of this run failed or did not end, so the agents are left as they are. See the error next to "
                    "this one; then run `up` again"
                ),
            ),
            ResourceOptions(parent=self),
        )

    def _label(self, machine: VirtualMachine) -> None:
        """The labels that a kubelet may not set on its node, once the node is Ready, until its machine is deleted."""
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
        same_role = [other for other in self.nodes if other.startswith(node.role)]
        if node.role == "server":
            return self.nodes[same_role[-1]].node_ready_steps if same_role else []
        first = next(iter(self.nodes.values())).k3s_installed
        if at_once is None or len(same_role) < at_once:
            return [first]
        return [first, *self.nodes[same_role[-at_once]].node_ready_steps]

    def _leave(self, args: ClusterArgs, machine: VirtualMachine, lifetime_owner: pulumi.Resource) -> pulumi.Resource:
        """The node leaves the cluster before its machine is deleted, one after another, the last first; K3s on a recreated machine
        of its name is installed after that.

        The first server removes the other nodes from the cluster, the second server the first. The step of a single server does
        nothing: it exists so that going back from several servers to one does not remove the first.
        """
        servers = [server for server in args.machines if server.node.role == "server"]
        node, first = machine.node, servers[0]
        other = servers[1 if len(servers) > 1 else 0] if node.first else first
        member, api = max(90, args.timeouts.drain), max(120, args.timeouts.drain)
        leave_script = command.Script(
            name="node-leave.sh",
            environment={
                "NODE_NAME": node.name,
                "ROLE": node.role,
                "DRAIN_SECONDS": str(args.timeouts.drain),
                "MEMBER_SECONDS": str(member),
                "API_SECONDS": str(api),
            },
            limit=args.timeouts.drain + member + 4 * (api + 120),
        )
        # The first server's step cannot wait for the second server's machine, which waits for the first's.
        needed = [machine.domain] if node.first else [machine.domain, self.nodes[first.node.name].k3s_installed, *self._left]
        leave = command.run(
            f"{node.name}-leave",
            None,
            on_delete=None if other is machine else leave_script,
            connection=other.connection,
            # With its data on a disk of their own, a rebuilt node is the same member of the cluster.
            triggers=[machine.data_id],
            opts=ResourceOptions.merge(
                machine.child_options,
                ResourceOptions(parent=self, deleted_with=lifetime_owner, delete_before_replace=True, depends_on=needed),
            ),
        )
        self._left = [] if node.first else [leave]
        return leave


def _join_url(release: Release, servers: Sequence[VirtualMachine], args: ClusterArgs) -> Output[str]:
    """URL of the server that the first one joins: "", or, when it is recreated, one of the others, which have kept the cluster."""
    if len(servers) == 1:
        return Output.from_input("")
    other = args.k3s.virtual_address or servers[1].node.address
    founded = Output.all(release.founder, servers[0].data_id)
    return founded.apply(lambda serials: "" if serials[0] == serials[1] else f"https://{other}:{API_PORT}")


def _config_yaml(tokens: Output[Tokens], node: NodePlan, join: Output[str], args: ClusterArgs) -> Output[str]:
    return Output.all(tokens, join).apply(
        lambda known: yaml_text.dump(
            config(node, known[1], args.api_names, args.k3s, known[0].servers, agent_token=known[0].agents)
        )
    )
