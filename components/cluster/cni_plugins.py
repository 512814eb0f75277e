"""CNI plugins that K3s does not ship, installed where this K3s release searches them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi import ComponentResource, ResourceOptions

from components.config.settings import Plugins
from components.machine import install_parameters
from components.machine.virtual_machine import VirtualMachine
from components.node import command


@dataclass(frozen=True, kw_only=True)
class CniPluginsArgs:
    """Inputs of `CniPlugins`."""

    machine: VirtualMachine
    """The node's machine."""
    plugins: Plugins
    """The setting plugins."""
    names: Sequence[str]
    """Plugins to install."""
    bin_directory: str
    """Where containerd searches plugins on the node."""
    version: str
    """K3s's release, v1.27.8+k3s2. A trigger: with the old layout each release has a directory of its own."""
    depends_on: Sequence[pulumi.Resource]
    """The step that starts K3s, which creates the directory."""
    limit: int
    """Seconds for download and installation."""


class CniPlugins(ComponentResource):
    """The plugins of a release archive on one node, downloaded by the node (or on it already) and verified."""

    installed: pulumi.Resource
    """The step after which they are there. After an upgrade of K3s it also puts back a Multus that had been in the former
    directory, so that the node is whole before the next one is upgraded."""

    def __init__(self, name: str, args: CniPluginsArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("k3s-macvlan:plugins:CniPlugins", name, {}, opts)
        self.installed = args.machine.run(
            f"{name}-install",
            command.Script(
                name="plugins-install.sh",
                environment={
                    **install_parameters.plugins(args.plugins, args.names, args.bin_directory),
                    "LIMIT_SECONDS": str(args.limit),
                },
                limit=args.limit + 30,
            ),
            args.version,
            opts=ResourceOptions(parent=self, depends_on=list(args.depends_on)),
        )
        self.register_outputs({})
