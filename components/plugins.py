"""CNI plugins that K3s does not ship, installed where this K3s release searches them."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi import ComponentResource, ResourceOptions

from components import remote
from components.k3s import Cluster
from components.machine import VirtualMachine
from components.settings import Plugins


@dataclass(frozen=True, kw_only=True)
class CniPluginsArgs:
    """bin_directory: on the nodes. limit: seconds for download and installation. version: K3s's."""

    machines: list[VirtualMachine]
    cluster: Cluster
    plugins: Plugins
    bin_directory: str
    version: str
    limit: int


class CniPlugins(ComponentResource):
    """The plugins of a release archive on every node, downloaded by the node and verified.

    installed: per node, the step after which they are there. With the old CNI directory each K3s release has its own, so
    the release is among the triggers.
    """

    def __init__(self, name: str, args: CniPluginsArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("k3s-macvlan:plugins:CniPlugins", name, {}, opts)
        checksum = args.plugins.checksum
        self.installed: dict[str, pulumi.Resource] = {
            machine.node.name: remote.run(
                f"{machine.node.name}-plugins",
                remote.Script(
                    name="plugins-install.sh",
                    environment={
                        "ARCHIVE_URL": args.plugins.url,
                        "ARCHIVE_SHA256": checksum.removeprefix("sha256:") if checksum.startswith("sha256:") else "",
                        "ARCHIVE_SUMS_URL": "" if checksum.startswith("sha256:") else checksum,
                        "PLUGINS": " ".join(args.plugins.names),
                        "BIN_DIR": args.bin_directory,
                        "LIMIT_SECONDS": str(args.limit),
                    },
                    limit=args.limit + 30,
                ),
                connection=machine.connection,
                triggers=[machine.serial, args.version],
                opts=ResourceOptions(
                    parent=self, deleted_with=machine.domain, depends_on=[args.cluster.installed[machine.node.name]]
                ),
            )
            for machine in args.machines
        }
        self.register_outputs({})
