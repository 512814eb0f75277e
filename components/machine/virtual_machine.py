"""VirtualMachine: one node of the cluster as a machine that answers on SSH and has passed its checks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi import ComponentResource, Input, Output, ResourceHookBinding, ResourceOptions

from components.config.plan import NodePlan
from components.config.settings import Settings
from components.custom.credentials import SshKeyPair
from components.custom.server_gate import Failure, Serving, Settled, SettledArgs
from components.libvirt.domain import Domain, DomainArgs
from components.libvirt.overlay_disk import OverlayDisk, OverlayDiskArgs
from components.libvirt.reservation import Reservation, ReservationArgs
from components.libvirt.seed_image import SeedImage, SeedImageArgs
from components.machine import first_boot
from components.machine.boot_report import boot_report
from components.machine.first_boot import static_address
from components.machine.hypervisor import Hypervisor
from components.machine.login_key import ClientKey
from components.machine.network_checks import LAN_CHECK, lan_check, macvlan_check
from components.node import cloud_init, command
from components.node.port_wait import port_open_hook
from components.node.ssh import connection


@dataclass(frozen=True, kw_only=True)
class VirtualMachineArgs:
    """owner: the stack's mark. node: from the plan. hypervisor: where it lives. key: who may log in. failure: the
    run's one. previous_server: the last server before this node, which must serve again before this machine is restarted or
    replaced."""

    owner: str
    node: NodePlan
    hypervisor: Hypervisor
    key: ClientKey
    settings: Settings
    failure: Failure
    previous_server: VirtualMachine | None = None


class VirtualMachine(ComponentResource):
    """DHCP reservation or static address, disk, NoCloud seed and domain of a node, waited for until cloud-init is done; and
    the checks of its addresses on a LAN and of macvlan.

    connection: for commands on the node.
    disk_id: changes whenever the disk is made anew, so whatever lives in the machine has it among its triggers.
    child_options: options for what lives in the machine; it is `deleted_with` the domain, and its failure is told.
    hardware: changes when the machine is restarted for a new size.
    ssh_ready: the machine answers, and has done what the settings' cloudInit asks for; commands depend on it.
    cloud_init_done: cloud-init is done, which it may be after `ready`.
    serving_steps: on a server, the steps after which its K3s serves, for K3sNode to fill.
    server_gate: on a server, the step after which it serves, whatever the run has done to the machine.
    network_checked: its addresses are free and macvlan works on it; pods with macvlan interfaces depend on it. It runs beside the
    installation of K3s.
    """

    def __init__(self, name: str, args: VirtualMachineArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("k3s-macvlan:machine:VirtualMachine", name, {}, opts)
        self.node = node = args.node
        settings, pool = args.settings, node.pool
        own = ResourceOptions(parent=self)
        turn = [args.previous_server.server_gate] if args.previous_server and args.previous_server.server_gate else []

        self.host_key = SshKeyPair(f"{name}-host-key", node.domain, own)
        user_data = Output.all(client=args.key.public, private=self.host_key.private_key, public=self.host_key.public_key).apply(
            lambda keys: first_boot.user_data(node, settings, keys)
        )
        network_config = cloud_init.network_config(
            mac=node.mac,
            interface=settings.network.interface,
            static=static_address(node, settings.network),
            mtu=settings.network.mtu,
        )
        # What the first boot is made from: another value is another machine. The address is part of it, because etcd does
        # not survive its change (k3s issue 9879).
        generation = Output.all(user_data, network_config, args.hypervisor.image.name, str(node.address)).apply(_digest)
        generation = Output.unsecret(generation)

        address: list[pulumi.Resource] = []
        if args.hypervisor.dhcp is not None:
            reservation = Reservation(
                f"{name}-reservation",
                ReservationArgs(
                    uri=pool.uri,
                    network=settings.network.name,
                    mac=node.mac,
                    ip=str(node.address),
                    name=node.domain,
                    owner=args.owner,
                ),
                ResourceOptions.merge(own, ResourceOptions(depends_on=[args.hypervisor.dhcp])),
            )
            address.append(reservation)
        disk = OverlayDisk(
            f"{name}-disk",
            OverlayDiskArgs(
                uri=pool.uri,
                pool=args.hypervisor.pool.name,
                name=f"{node.name}.qcow2",
                path=pool.volume(f"{node.name}.qcow2"),
                backing_path=args.hypervisor.image.path,
                backing_format=args.hypervisor.image.format,
                capacity=node.disk,
                generation=generation,
                domain_uuid=node.uuid,
            ),
            ResourceOptions.merge(own, ResourceOptions(depends_on=turn)),
        )
        seed = SeedImage(
            f"{name}-seed",
            SeedImageArgs(
                uri=pool.uri,
                pool=args.hypervisor.pool.name,
                name=f"{node.name}-seed.iso",
                path=pool.volume(f"{node.name}-seed.iso"),
                user_data=user_data,
                meta_data=generation.apply(lambda text: cloud_init.meta_data(instance_id=text, hostname=node.domain)),
                network_config=network_config,
            ),
            ResourceOptions.merge(own, ResourceOptions(depends_on=turn)),
        )
        console = f"{node.name}-console.log"
        self.domain = Domain(
            f"{name}-domain",
            DomainArgs(
                uri=pool.uri,
                name=node.domain,
                uuid=node.uuid,
                owner=args.owner,
                node=node.name,
                memory_mib=node.memory,
                cpus=node.cpus,
                mac=node.mac,
                network=settings.network.libvirt_name,
                bridge=settings.network.bridge_name,
                disk_path=disk.path,
                disk_serial=disk.serial,
                seed_path=seed.path,
                extra_disks=[args.hypervisor.artifacts.path] if args.hypervisor.artifacts else (),
                pool=args.hypervisor.pool.name,
                console_log=pool.volume(console),
                virt_type=settings.machine.virt_type,
                cpu_mode=settings.machine.cpu_mode,
                cpu_model=settings.machine.cpu_model,
                disk_cache=settings.machine.disk_cache,
                machine=settings.machine.machine_type,
                autostart=settings.machine.autostart,
                stop_timeout=settings.timeouts.shutdown,
            ),
            ResourceOptions.merge(own, ResourceOptions(depends_on=[*address, *turn])),
        )
        self.disk_id: Output[str] = disk.serial
        self.connection = connection(
            host=str(node.address),
            user=settings.ssh.user,
            port=settings.ssh.port,
            private_key=args.key.private,
            host_key=self.host_key.public_key,
        )
        self.serving_steps = Serving(node.name, args.failure) if node.role == "server" else None
        self.child_options = ResourceOptions(parent=self, deleted_with=self.domain, hooks=args.failure.hooks)
        report = ResourceHookBinding(on_error=[boot_report(name, node, settings, console)])
        listens = port_open_hook(f"{name}-listens", str(node.address), settings.ssh.port, settings.timeouts.boot)
        answers = command.ssh_login(
            f"{name}-answers",
            connection=self.connection,
            triggers=[self.disk_id],
            dial=min(settings.timeouts.boot, command.DIAL_SECONDS),
            opts=ResourceOptions.merge(
                self.child_options,
                ResourceOptions(
                    depends_on=[self.domain],
                    hooks=ResourceHookBinding.merge(report, ResourceHookBinding(before_create=[listens])),
                ),
            ),
        )
        self.cloud_init_done = command.run(
            f"{name}-booted",
            command.Script(
                name="node-ready.sh",
                environment={"LIMIT_SECONDS": str(settings.timeouts.cloud_init)},
                limit=settings.timeouts.cloud_init + 30,
            ),
            connection=self.connection,
            triggers=[self.disk_id],
            opts=ResourceOptions.merge(self.child_options, ResourceOptions(depends_on=[answers], hooks=report)),
        )
        # cloud-init makes the user and the host key before sshd starts. What it does afterwards concerns only what somebody
        # has asked of it: packages, files, commands.
        self.ssh_ready: pulumi.Resource = self.cloud_init_done if settings.cloud_init else answers
        # A new size restarts the machine; what runs in it is waited for again.
        shape = settings.machine
        self.hardware = (
            f"{node.cpus} CPUs ({shape.virt_type} {shape.cpu_mode} {shape.cpu_model}), {node.memory} MiB, {shape.disk_cache}"
        )
        limits = settings.timeouts
        self.server_gate: pulumi.Resource | None = None
        if self.serving_steps:
            self.server_gate = Settled(
                f"{name}-settled",
                SettledArgs(
                    machine=Output.concat(self.disk_id, " ", self.hardware),
                    serving=self.serving_steps,
                    limit=limits.boot + limits.cloud_init + 2 * limits.k3s + limits.node_ready + limits.plugins,
                ),
                ResourceOptions.merge(own, ResourceOptions(depends_on=[self.domain])),
            )
        command.run(
            f"{name}-disk-grow",
            command.Script(name="disk-grow.sh", limit=300),
            connection=self.connection,
            triggers=[self.disk_id, str(node.disk)],
            opts=ResourceOptions.merge(self.child_options, ResourceOptions(depends_on=[self.cloud_init_done, disk])),
        )
        self.network_checked: pulumi.Resource = self.ssh_ready
        if settings.network.kind == "bridge":
            self.network_checked = command.run(
                f"{name}-lan-check",
                command.Script(name=LAN_CHECK, environment=lan_check(node, settings, pods=True), limit=60),
                connection=self.connection,
                triggers=[self.disk_id],
                opts=ResourceOptions.merge(self.child_options, ResourceOptions(depends_on=[self.ssh_ready])),
            )
        if node.check_address is not None:
            self.network_checked = command.run(
                f"{name}-macvlan-check",
                command.Script(
                    name="macvlan-check.sh",
                    environment=macvlan_check(node, node.check_address, settings),
                    limit=90,
                ),
                connection=self.connection,
                triggers=[self.disk_id],
                # Later the address may be one of the pods' (seen: of an agent that was about to leave).
                run_once_per_machine=True,
                opts=ResourceOptions.merge(self.child_options, ResourceOptions(depends_on=[self.network_checked])),
            )
        self.register_outputs({"address": str(node.address), "mac": node.mac, "serial": self.disk_id})

    def sync(self, after: Sequence[Input[str]]) -> None:
        """What was installed, pulled and started until now survives a power cut. after: identities of the last of it."""
        command.run(
            f"{self.node.name}-sync",
            command.Script(name="node-sync.sh", limit=120),
            connection=self.connection,
            triggers=[self.disk_id, *after],
            opts=ResourceOptions.merge(self.child_options, ResourceOptions(depends_on=[self.ssh_ready])),
        )


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
