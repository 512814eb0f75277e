"""K3s on one node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
from pulumi import ComponentResource, Output, ResourceOptions

from components.cluster import virtual_address
from components.cluster.cni_plugins import CniPlugins, CniPluginsArgs
from components.cluster.k3s_files import files
from components.config import downloads
from components.config.artifacts import ArtifactSet
from components.config.node_objects import node_objects
from components.config.plan import CniPaths
from components.config.settings import K3s, Plugins, Timeouts
from components.custom.node_certificates import NodeCertificates, NodeCertificatesArgs
from components.machine import install_parameters
from components.machine.virtual_machine import VirtualMachine
from components.node import command


@dataclass(frozen=True, kw_only=True)
class K3sNodeArgs:
    """Inputs of `K3sNode`."""

    machine: VirtualMachine
    """The node's machine."""
    k3s: K3s
    """The setting k3s."""
    config_yaml: Output[str]
    """Content of /etc/rancher/k3s/config.yaml; it holds the token."""
    registries_yaml: str | None
    """Content of /etc/rancher/k3s/registries.yaml; None: no file."""
    server: str
    """Address of the server whose release an agent waits for at an upgrade."""
    interface: str
    """The nodes' interface on their network."""
    plugins: Plugins
    """The setting plugins."""
    plugin_names: Sequence[str]
    """CNI plugins to install."""
    cni: CniPaths
    """CNI directories on the node."""
    depends_on: Sequence[pulumi.Resource]
    """What must be done before K3s is installed or upgraded on this node."""
    timeouts: Timeouts
    """The setting timeouts, in seconds."""
    artifacts: ArtifactSet | None
    """Files on the machine's artifact disk; None: the node downloads."""
    certificates_after: Sequence[pulumi.Resource]
    """Of an agent: the servers' certificates, after which it renews its own."""
    rotate_certificates: bool
    """Whether this run makes new certificates, whatever is left of them."""
    further_files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By path, content and mode of further files that K3s is restarted for."""


class K3sNode(ComponentResource):
    """K3s on one machine: installed, with its CNI plugins, Ready. Errors: what its scripts report."""

    install_depends_on: list[pulumi.Resource]
    """The steps before the installation."""
    k3s_installed: pulumi.Resource
    """The step after which K3s runs and, on a server, its API answers, at the virtual address too if there is one."""
    certificates: NodeCertificates
    """When K3s's certificates end; the step after which they are renewed."""
    plugins_installed: pulumi.Resource
    """The step after which its CNI plugins are there."""
    node_ready_steps: list[pulumi.Resource]
    """The steps after which the node is Ready, has its plugins and has ended its boot, and a server's virtual address answers."""

    def __init__(self, name: str, args: K3sNodeArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("k3s-macvlan:k3s:K3sNode", name, {}, opts)
        machine, node = args.machine, args.machine.node
        self.install_depends_on = [machine.ssh_ready, *machine.mounted, *args.depends_on]
        if args.artifacts is not None:
            artifacts = command.Script(
                name="artifacts.sh",
                environment={"DIGEST": args.artifacts.digest, "LIMIT_SECONDS": str(args.timeouts.k3s)},
                limit=args.timeouts.k3s + 30,
            )
            self.install_depends_on.append(
                machine.run(
                    f"{name}-artifacts",
                    artifacts,
                    opts=ResourceOptions(parent=self, depends_on=[machine.ssh_ready, *machine.mounted]),
                )
            )
        documents = args.config_yaml.apply(lambda text: files(node.role, text, args.registries_yaml, args.further_files))
        # Not what the installation writes itself.
        objects = [one for one in node_objects(args.k3s, node.role) if one.value not in args.further_files]
        installed = machine.run(
            f"{name}-install",
            command.Script(
                name="k3s-install.sh",
                environment={
                    "ROLE": node.role,
                    **install_parameters.release(args.k3s, args.artifacts),
                    "SERVER": args.server,
                    **({"NODE_OBJECTS": "\t".join(part for one in objects for part in one)} if objects else {}),
                    "LIMIT_SECONDS": str(args.timeouts.k3s),
                    "SERVICE_LIMIT": str(args.timeouts.k3s),
                },
                limit=2 * args.timeouts.k3s + 30,
                stdin=documents,
            ),
            machine.hardware,
            opts=ResourceOptions(parent=self, depends_on=self.install_depends_on),
        )
        self.k3s_installed = installed
        if node.role == "server" and args.k3s.virtual_address is not None:
            self.k3s_installed = virtual_address.answering(
                machine,
                args.interface,
                args.k3s,
                installation=Output.concat(machine.hardware, args.k3s.model_dump_json(), documents),
                installed=installed,
                limit=args.timeouts.k3s,
                opts=ResourceOptions(parent=self),
            )
        # In parallel with all other steps, and nothing waits for it. From an artifact disk K3s imports images itself. A machine
        # pulls ahead only when it is created, so another image later is no change of this step.
        if args.artifacts is None:
            machine.run(
                f"{node.name}-images",
                command.Script(
                    name="image-pull.sh",
                    environment={
                        "IMAGES": " ".join(downloads.reference(image) for image in node.images),
                        "LIMIT_SECONDS": str(args.timeouts.k3s),
                        "PULL_SECONDS": "300",
                    },
                    limit=args.timeouts.k3s + 300 * len(node.images),
                ),
                opts=ResourceOptions(parent=self, depends_on=[machine.ssh_ready], ignore_changes=["create", "stdin"]),
            )
        plugins = CniPlugins(
            f"{name}-plugins",
            CniPluginsArgs(
                machine=machine,
                plugins=args.plugins,
                names=args.plugin_names,
                bin_directory=args.cni.bin,
                version=args.k3s.version,
                depends_on=[installed],
                limit=args.timeouts.plugins,
            ),
            ResourceOptions(parent=self),
        )
        ready = machine.run(
            f"{name}-ready",
            command.Script(
                name="k3s-node-ready.sh",
                environment={"NODE_NAME": node.name, "LIMIT_SECONDS": str(args.timeouts.node_ready)},
                limit=args.timeouts.node_ready + 60,
            ),
            machine.hardware,
            args.k3s.version,
            opts=ResourceOptions(parent=self, depends_on=[installed]),
        )
        self.certificates = self._certificates(args)
        self.plugins_installed = plugins.installed
        self.node_ready_steps = [ready, plugins.installed, machine.cloud_init_done, self.certificates]
        if self.k3s_installed is not installed:
            self.node_ready_steps.append(self.k3s_installed)
        if machine.serving_steps:
            machine.serving_steps.steps.extend(self.node_ready_steps)
        self.register_outputs({})

    def _certificates(self, args: K3sNodeArgs) -> NodeCertificates:
        """The first server's are read in parallel with the installation, because the kubeconfig waits for them; other nodes' would
        occupy the provider's process until then."""
        machine, node = args.machine, args.machine.node
        connection = machine.connection
        return NodeCertificates(
            f"{node.name}-certificates",
            NodeCertificatesArgs(
                node=node.name,
                role=node.role,
                machine=machine.disk_id,
                host=connection.host,
                user=connection.user,
                port=connection.port,
                private_key=connection.private_key,
                host_key=connection.host_key,
                limit=args.timeouts.k3s,
                rotate=args.rotate_certificates or None,
            ),
            ResourceOptions.merge(
                machine.child_options,
                ResourceOptions(
                    parent=self,
                    depends_on=self.install_depends_on if node.first else [self.k3s_installed, *args.certificates_after],
                ),
            ),
        )
