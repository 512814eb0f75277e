"""VirtualMachine: one node of the cluster as a machine that answers on SSH and has passed its checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import ComponentResource, Input, Output, ResourceHook, ResourceHookBinding, ResourceOptions
from pulumi_command.remote import Command

from components.config.plan import NodePlan
from components.config.pool_plan import root_volume
from components.config.settings import Machine as MachineSettings
from components.config.settings import Network, Ssh, Timeouts
from components.custom.credentials import SshKeyPair
from components.custom.server_gate import Failure, Serving, Settled, SettledArgs
from components.libvirt.data_disk import DataDisk
from components.libvirt.domain import Domain, DomainArgs
from components.libvirt.host_device import HostDevice
from components.libvirt.overlay_disk import OverlayDisk, OverlayDiskArgs
from components.libvirt.reservation import Reservation, ReservationArgs
from components.libvirt.seed_image import SeedImage, SeedImageArgs
from components.machine import data_disks, first_boot, host_devices
from components.machine.boot_report import boot_report, console_log
from components.machine.hypervisor import Hypervisor
from components.machine.login_key import ClientKey
from components.machine.network_checks import LAN_CHECK, lan_check
from components.machine.nic_inputs import first_nic_port, further_nic
from components.node import cloud_init, command
from components.node.port_wait import port_open_hook
from components.node.ssh import Connection, connection


@dataclass(frozen=True)
class FirstBoot:
    """What a machine's first boot is made from. generation: 16 hex digits; another value is another machine."""

    user_data: Output[str]
    network_config: str
    generation: Output[str]


@dataclass(frozen=True, kw_only=True)
class VirtualMachineArgs:
    """Inputs of `VirtualMachine`."""

    owner: str
    """project/stack, the mark on what this program manages."""
    node: NodePlan
    """The node's name, addresses, size and pool."""
    hypervisor: Hypervisor
    """Where it runs; a node's pool is on it."""
    key: ClientKey
    """Who may log in."""
    key_arrival: ResourceHook
    """Gives the machine another key by the former one."""
    ssh: Ssh
    """The setting ssh."""
    network: Network
    """The setting network."""
    machine: MachineSettings
    """The setting machine."""
    cloud_init: Mapping[str, Any]
    """The setting cloudInit."""
    timeouts: Timeouts
    """The setting timeouts, in seconds."""
    failure: Failure
    """Of this run; shared by all machines."""
    devices: Sequence[HostDevice] = ()
    """The node's devices of the hypervisor, in the order of the plan."""
    previous_server: VirtualMachine | None = None
    """The server declared before this node. It must serve again before this machine is restarted or replaced."""


class VirtualMachine(ComponentResource):
    """A node's machine, booted and checked: DHCP reservation or static address, disk, NoCloud seed, domain; the wait for SSH and
    cloud-init; and the check of its address on a LAN.

    Errors: what libvirt refuses; a machine that does not answer within `timeouts.boot`, with what the hypervisor shows of it; an
    address that another machine has.
    """

    node: NodePlan
    """The plan it is made from."""
    domain: Domain
    """The libvirt domain. What lives in the machine is `deleted_with` it."""
    disk_id: Output[str]
    """16 hex digits, others whenever the disk is replaced. A trigger of every command on the node."""
    hardware: str
    """CPUs, memory, disk cache, what is set of the NIC, UEFI, PCI devices and data disks as text; another text means that the
    machine was restarted, or may have been."""
    data_disks: dict[str, DataDisk]
    """By name. They outlive the machine."""
    data_id: Output[str]
    """What identifies K3s's data: the `disk_id` of the data disk that has them (k3s.dataDisk), else of the machine."""
    mounted: list[pulumi.Resource]
    """The steps after which its data disks are mounted. K3s is installed after them: pods would write where a mount hides it."""
    connection: Connection
    """For commands on the node, with its host key."""
    child_options: ResourceOptions
    """For what lives in the machine: its parent, its deletion with the domain, and the report of its failure."""
    cloud_init_done: pulumi.Resource
    """cloud-init has ended, which may be after `ssh_ready`."""
    ssh_ready: pulumi.Resource
    """The machine lets commands in, and has done what the setting cloudInit requests. Commands depend on it."""
    network_checked: pulumi.Resource
    """Nobody else has the node's address. Checks of networks for pods depend on it; K3s is installed in parallel."""
    serving_steps: Serving | None
    """On a server, the steps after which its K3s serves; K3sNode adds them."""
    server_gate: pulumi.Resource | None
    """On a server, the step after which it serves, whatever this run has done to the machine."""

    def __init__(self, name: str, args: VirtualMachineArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("k3s-macvlan:machine:VirtualMachine", name, {}, opts)
        self._name, self._args, self._limits = name, args, args.timeouts
        self.node = args.node
        self._own = ResourceOptions(parent=self)
        gate = args.previous_server.server_gate if args.previous_server else None
        self._previous_gate = [gate] if gate else []

        self.host_key = SshKeyPair(f"{name}-host-key", self.node.domain, self._own)
        boot = self._first_boot()
        reservation = self._reservation()
        disk, seed = self._disk(boot), self._seed(boot)
        self.data_disks = data_disks.data_disks(name, self.node, args.hypervisor, self._own)
        self.domain = self._domain(disk, seed, reservation)

        self.disk_id = disk.serial
        self.hardware = self._hardware()
        self.data_id = data_disks.data_id(self.node, self.data_disks, self.disk_id)
        self.connection = connection(
            host=str(self.node.address),
            user=args.ssh.user,
            port=args.ssh.port,
            private_key=args.key.private,
            host_key=self.host_key.public_key,
        )
        self.child_options = ResourceOptions(parent=self, deleted_with=self.domain, hooks=args.failure.hooks)
        self.cloud_init_done, self.ssh_ready = self._booted()
        self.serving_steps = Serving(args.failure) if self.node.role == "server" else None
        self.server_gate = self._server_gate(self.serving_steps)
        self._grow_file_system(disk)
        self._install_guest_agent()
        self.mounted = data_disks.mounts(name, self.node, self.data_disks, self.run, [self.ssh_ready, self.domain])
        self.network_checked = self._checked_network()
        self.register_outputs({"address": str(self.node.address), "mac": self.node.mac, "serial": self.disk_id})

    def _hardware(self) -> str:
        """Without a word of what a machine has not, which machines of former releases have no word of either."""
        node, machine = self.node, self._args.machine
        parts = [
            f"{node.cpus} CPUs ({machine.virt_type} {machine.cpu_mode} {machine.cpu_model})",
            f"{node.memory} MiB",
            machine.disk_cache,
            *(f"{name} {value}" for name, value in first_nic_port(self._args.network).items()),
        ]
        if self._args.hypervisor.firmware != "bios":
            parts.append("efi, secure boot" if machine.secure_boot else "efi")
        return f"{', '.join(parts)}{host_devices.hardware(node)}{data_disks.hardware(node)}"

    def _first_boot(self) -> FirstBoot:
        node, args = self.node, self._args
        host = {"private": self.host_key.private_key, "public": self.host_key.public_key}

        def user_data(client: Output[str]) -> Output[str]:
            return Output.all(client=client, **host).apply(
                lambda known: first_boot.user_data(node, args.ssh, args.network, args.cloud_init, known)
            )

        network_config = first_boot.network_config(node, args.network)
        # The address is part of it, because etcd does not survive its change (k3s issue 9879).
        parts = Output.all(user_data(args.key.first), network_config, args.hypervisor.image_name, str(node.address))
        return FirstBoot(user_data(args.key.public), network_config, Output.unsecret(parts.apply(first_boot.digest)))

    def _reservation(self) -> Reservation | None:
        """The node's DHCP reservation; None on a bridge, where its address is static. The claim removes those of all nodes."""
        node, claim = self.node, self._args.hypervisor.dhcp
        if claim is None:
            return None
        return Reservation(
            f"{self._name}-reservation",
            ReservationArgs(
                uri=node.pool.uri,
                network=self._args.network.name,
                mac=node.mac,
                ip=str(node.address),
                name=node.domain,
                owner=self._args.owner,
            ),
            ResourceOptions.merge(self._own, ResourceOptions(depends_on=[claim], deleted_with=claim)),
        )

    def _disk(self, boot: FirstBoot) -> OverlayDisk:
        node, hypervisor = self.node, self._args.hypervisor
        volume = root_volume(node.name)
        return OverlayDisk(
            f"{self._name}-disk",
            OverlayDiskArgs(
                uri=node.pool.uri,
                pool=hypervisor.pool.name,
                name=volume,
                path=node.pool.volume(volume),
                backing_path=hypervisor.backing_path,
                backing_format=hypervisor.backing_format,
                capacity=node.disk,
                generation=boot.generation,
                domain_uuid=node.uuid,
            ),
            ResourceOptions.merge(self._own, ResourceOptions(depends_on=self._previous_gate, deleted_with=hypervisor.pool)),
        )

    def _seed(self, boot: FirstBoot) -> SeedImage:
        node, hypervisor = self.node, self._args.hypervisor
        volume = f"{node.name}-seed.iso"
        return SeedImage(
            f"{self._name}-seed",
            SeedImageArgs(
                uri=node.pool.uri,
                pool=hypervisor.pool.name,
                name=volume,
                path=node.pool.volume(volume),
                user_data=boot.user_data,
                meta_data=boot.generation.apply(lambda text: cloud_init.meta_data(instance_id=text, hostname=node.domain)),
                network_config=boot.network_config,
            ),
            ResourceOptions.merge(self._own, ResourceOptions(depends_on=self._previous_gate, deleted_with=hypervisor.pool)),
        )

    def _domain(self, disk: OverlayDisk, seed: SeedImage, reservation: Reservation | None) -> Domain:
        node, hypervisor, machine, network = self.node, self._args.hypervisor, self._args.machine, self._args.network
        return Domain(
            f"{self._name}-domain",
            DomainArgs(
                uri=node.pool.uri,
                name=node.domain,
                uuid=node.uuid,
                owner=self._args.owner,
                node=node.name,
                memory_mib=node.memory,
                cpus=node.cpus,
                mac=node.mac,
                network=network.libvirt_name,
                bridge=network.bridge_name,
                nic_port=first_nic_port(network) or None,
                nics=[further_nic(nic) for nic in node.nics] or None,
                disk_path=disk.path,
                disk_serial=disk.serial,
                seed_path=seed.path,
                extra_disks=[hypervisor.artifacts.path] if hypervisor.artifacts else (),
                data_disks=data_disks.of_domain(node, self.data_disks),
                pool=hypervisor.pool.name,
                console_log=node.pool.volume(console_log(node)),
                virt_type=machine.virt_type,
                cpu_mode=machine.cpu_mode,
                cpu_model=machine.cpu_model,
                disk_cache=machine.disk_cache,
                machine=machine.machine_type,
                firmware=hypervisor.firmware if hypervisor.firmware == "efi" else None,
                secure_boot=machine.secure_boot or None,
                guest_agent=machine.guest_agent or None,
                autostart=machine.autostart,
                stop_timeout=self._limits.shutdown,
                host_devices=host_devices.inputs(node, self._args.devices),
            ),
            ResourceOptions.merge(
                self._own, ResourceOptions(depends_on=[*([reservation] if reservation else []), *self._previous_gate])
            ),
        )

    def _booted(self) -> tuple[pulumi.Resource, pulumi.Resource]:
        """The steps after which cloud-init is done, and after which commands may run."""
        name, node, port = self._name, self.node, self._args.ssh.port
        report = ResourceHookBinding(on_error=[boot_report(name, node, self._args.network, port, self._limits)])
        port_open = port_open_hook(f"{name}-listens", str(node.address), port, self._limits.boot)
        ssh_login = command.ssh_login(
            f"{name}-answers",
            connection=self.connection,
            triggers=[self.disk_id],
            dial=min(self._limits.boot, command.DIAL_SECONDS),
            opts=ResourceOptions.merge(
                self.child_options,
                ResourceOptions(
                    depends_on=[self.domain],
                    hooks=ResourceHookBinding.merge(
                        report, ResourceHookBinding(before_create=[port_open], before_update=[self._args.key_arrival])
                    ),
                ),
            ),
        )
        cloud_init_done = self.run(
            f"{self._name}-booted",
            command.Script(
                name="node-ready.sh",
                environment={"LIMIT_SECONDS": str(self._limits.cloud_init)},
                limit=self._limits.cloud_init + 30,
            ),
            opts=ResourceOptions(depends_on=[ssh_login], hooks=report),
        )
        # cloud-init makes the user and the host key before sshd starts. What it does afterwards concerns only what somebody
        # has put into the setting cloudInit: packages, files, commands.
        return cloud_init_done, cloud_init_done if self._args.cloud_init else ssh_login

    def _server_gate(self, serving: Serving | None) -> Settled | None:
        if serving is None:
            return None
        limits = self._limits
        return Settled(
            f"{self._name}-settled",
            SettledArgs(
                of=Output.concat(self.disk_id, " ", self.hardware),
                serving=serving,
                refusal=(
                    f"{self._name} was restarted or replaced and does not serve again, so the machines after it are left as they "
                    f"are. See the error next to this one and ./lab logs {self._name}; then run `up` again"
                ),
                limit=limits.boot + limits.cloud_init + 2 * limits.k3s + limits.node_ready + limits.plugins,
            ),
            ResourceOptions.merge(self._own, ResourceOptions(depends_on=[self.domain])),
        )

    def _grow_file_system(self, disk: OverlayDisk) -> None:
        self.run(
            f"{self._name}-disk-grow",
            command.Script(name="disk-grow.sh", limit=300),
            str(self.node.disk),
            opts=ResourceOptions(depends_on=[self.cloud_init_done, disk]),
        )

    def _install_guest_agent(self) -> None:
        if not self._args.machine.guest_agent:
            return
        offline = self._args.hypervisor.artifacts is not None
        script = command.Script(
            name="guest-agent.sh",
            environment={"OFFLINE": str(offline).lower(), "LIMIT_SECONDS": str(self._limits.packages)},
            limit=self._limits.packages + 30,
        )
        self.run(f"{self._name}-guest-agent", script, opts=ResourceOptions(depends_on=[self.cloud_init_done]))

    def _checked_network(self) -> pulumi.Resource:
        """The check of the node's address on a LAN, or `ssh_ready` where the network's DHCP server answers for it."""
        if self._args.network.kind == "libvirt":
            return self.ssh_ready
        script = command.Script(name=LAN_CHECK, environment=lan_check(self.node), limit=60)
        return self.run(f"{self._name}-lan-check", script, opts=ResourceOptions(depends_on=[self.ssh_ready]))

    def sync(self, after: Sequence[Input[str]]) -> None:
        """What was installed, pulled and started until now survives a power cut. after: identities of the last of it."""
        script = command.Script(name="node-sync.sh", limit=120)
        self.run(f"{self._name}-sync", script, *after, opts=ResourceOptions(depends_on=[self.ssh_ready]))

    def run(
        self,
        name: str,
        script: command.Script | None,
        *triggers: Input[str],
        opts: ResourceOptions,
        on_delete: command.Script | None = None,
        run_once_per_machine: bool = False,
        secret_output: bool = False,
    ) -> Command:
        """`command.run` on this node, deleted with its domain.

        triggers: what runs the script again, besides a replaced disk. opts: those of the step; its parent is the machine unless
        they name one.
        """
        return command.run(
            name,
            script,
            connection=self.connection,
            triggers=[self.disk_id, *triggers],
            on_delete=on_delete,
            run_once_per_machine=run_once_per_machine,
            secret_output=secret_output,
            opts=ResourceOptions.merge(self.child_options, opts),
        )
