"""VirtualMachine: one node of the cluster as a machine that answers on SSH and has passed its checks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

import pulumi
from pulumi import ComponentResource, ErrorHook, Input, Output, ResourceHookBinding, ResourceOptions

from components import remote
from components.addresses import AddressRange
from components.answers import until_it_listens
from components.credentials import SshKeyPair
from components.hypervisor import Hypervisor
from components.libvirt import documents
from components.libvirt.domain import Domain, DomainArgs
from components.libvirt.guest_report import diagnose
from components.libvirt.network import Reservation, ReservationArgs
from components.libvirt.volume import OverlayDisk, OverlayDiskArgs, SeedImage, SeedImageArgs
from components.plan import NodePlan, with_prefix
from components.settings import Network, Settings
from components.settled import Failure, Serving, Settled, SettledArgs
from components.ssh import ClientKey, connection


@dataclass(frozen=True, kw_only=True)
class VirtualMachineArgs:
    """owner: the stack's mark. node: from the plan. hypervisor: where it lives. key: who may log in. failure: the
    run's one. before: the last server before this node, which must serve again before this machine is restarted or made anew."""

    owner: str
    node: NodePlan
    hypervisor: Hypervisor
    key: ClientKey
    settings: Settings
    failure: Failure
    before: VirtualMachine | None = None


class VirtualMachine(ComponentResource):
    """DHCP reservation or static address, disk, NoCloud seed and domain of a node, waited for until cloud-init is done; and
    the checks of its addresses on a LAN and of macvlan.

    connection: for commands on the node.
    serial: changes whenever the disk is made anew, so whatever lives in the machine has it among its triggers.
    inside: options for what lives in the machine; it is `deleted_with` the domain, and its failure is told.
    size: changes when the machine is restarted for a new size.
    ready: the machine answers, and has done what the settings' cloudInit asks for; commands depend on it.
    booted: cloud-init is done, which it may be after `ready`.
    serving: on a server, the steps after which its K3s serves, for K3sNode to fill.
    settled: on a server, the step after which it serves, whatever the run has done to the machine.
    checked: its addresses are free and macvlan works on it; pods with macvlan interfaces depend on it. It runs beside the
    installation of K3s.
    """

    def __init__(self, name: str, args: VirtualMachineArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("k3s-macvlan:machine:VirtualMachine", name, {}, opts)
        self.node = node = args.node
        settings, pool = args.settings, node.pool
        own = ResourceOptions(parent=self)
        turn = [args.before.settled] if args.before and args.before.settled else []

        self.host_key = SshKeyPair(f"{name}-host-key", node.domain, own)
        user_data = Output.all(client=args.key.public, private=self.host_key.private_key, public=self.host_key.public_key).apply(
            lambda keys: _user_data(node, settings, keys)
        )
        network_config = documents.network_config(
            mac=node.mac,
            interface=settings.network.interface,
            static=_static(node, settings.network),
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
                meta_data=generation.apply(lambda text: documents.meta_data(instance_id=text, hostname=node.domain)),
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
                network=_on(settings.network, "libvirt"),
                bridge=_on(settings.network, "bridge"),
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
        self.serial: Output[str] = disk.serial
        self.connection = connection(
            host=str(node.address),
            user=settings.ssh.user,
            port=settings.ssh.port,
            private_key=args.key.private,
            host_key=self.host_key.public_key,
        )
        self.serving = Serving(node.name, args.failure) if node.role == "server" else None
        self.inside = ResourceOptions(parent=self, deleted_with=self.domain, hooks=args.failure.hooks)
        report = ResourceHookBinding(on_error=[_boot_report(name, node, settings, console)])
        listens = until_it_listens(f"{name}-listens", str(node.address), settings.ssh.port, settings.timeouts.boot)
        answers = remote.answers(
            f"{name}-answers",
            connection=self.connection,
            triggers=[self.serial],
            dial=min(settings.timeouts.boot, remote.DIAL_SECONDS),
            opts=ResourceOptions.merge(
                self.inside,
                ResourceOptions(
                    depends_on=[self.domain],
                    hooks=ResourceHookBinding.merge(report, ResourceHookBinding(before_create=[listens])),
                ),
            ),
        )
        self.booted = remote.run(
            f"{name}-booted",
            remote.Script(
                name="node-ready.sh",
                environment={"LIMIT_SECONDS": str(settings.timeouts.cloud_init)},
                limit=settings.timeouts.cloud_init + 30,
            ),
            connection=self.connection,
            triggers=[self.serial],
            opts=ResourceOptions.merge(self.inside, ResourceOptions(depends_on=[answers], hooks=report)),
        )
        # cloud-init makes the user and the host key before sshd starts. What it does afterwards concerns only what somebody
        # has asked of it: packages, files, commands.
        self.ready: pulumi.Resource = self.booted if settings.cloud_init else answers
        # A new size restarts the machine; what runs in it is waited for again.
        shape = settings.machine
        self.size = (
            f"{node.cpus} CPUs ({shape.virt_type} {shape.cpu_mode} {shape.cpu_model}), {node.memory} MiB, {shape.disk_cache}"
        )
        limits = settings.timeouts
        self.settled: pulumi.Resource | None = None
        if self.serving:
            self.settled = Settled(
                f"{name}-settled",
                SettledArgs(
                    machine=Output.concat(self.serial, " ", self.size),
                    serving=self.serving,
                    limit=limits.boot + limits.cloud_init + 2 * limits.k3s + limits.node_ready + limits.plugins,
                ),
                ResourceOptions.merge(own, ResourceOptions(depends_on=[self.domain])),
            )
        remote.run(
            f"{name}-disk-grow",
            remote.Script(name="disk-grow.sh", limit=300),
            connection=self.connection,
            triggers=[self.serial, str(node.disk)],
            opts=ResourceOptions.merge(self.inside, ResourceOptions(depends_on=[self.booted, disk])),
        )
        self.checked: pulumi.Resource = self.ready
        if settings.network.kind == "bridge":
            self.checked = remote.run(
                f"{name}-lan-check",
                remote.Script(name=LAN_CHECK, environment=_lan_check(node, settings, pods=True), limit=60),
                connection=self.connection,
                triggers=[self.serial],
                opts=ResourceOptions.merge(self.inside, ResourceOptions(depends_on=[self.ready])),
            )
        if node.check_address is not None:
            self.checked = remote.run(
                f"{name}-macvlan-check",
                remote.Script(
                    name="macvlan-check.sh",
                    environment=_macvlan_check(node, node.check_address, settings),
                    limit=90,
                ),
                connection=self.connection,
                triggers=[self.serial],
                # Later the address may be one of the pods' (seen: of an agent that was about to leave).
                once=True,
                opts=ResourceOptions.merge(self.inside, ResourceOptions(depends_on=[self.checked])),
            )
        self.register_outputs({"address": str(node.address), "mac": node.mac, "serial": self.serial})

    def sync(self, after: Sequence[Input[str]]) -> None:
        """What was installed, pulled and started until now survives a power cut. after: identities of the last of it."""
        remote.run(
            f"{self.node.name}-sync",
            remote.Script(name="node-sync.sh", limit=120),
            connection=self.connection,
            triggers=[self.serial, *after],
            opts=ResourceOptions.merge(self.inside, ResourceOptions(depends_on=[self.ready])),
        )


def _user_data(node: NodePlan, settings: Settings, keys: dict[str, Any]) -> str:
    return documents.user_data(
        hostname=node.domain,
        user=settings.ssh.user,
        authorized_keys=[keys["client"], *settings.ssh.authorized_keys],
        host_private_key=keys["private"],
        host_public_key=keys["public"],
        at_boot=_at_boot(node, settings),
        extra=settings.cloud_init,
    )


LAN_CHECK = "lan-check.sh"
SSH_PORT = 22
"""Where an SSH server listens by itself."""


def _lan_check(node: NodePlan, settings: Settings, *, pods: bool) -> dict[str, str]:
    """Parameters of lan-check.sh.

    pods: also the addresses that nobody but this node's pods can have. Those hear nothing that the node's NIC sends, so what
    answers is a stranger even when the node is asked again later.
    """
    found: list[AddressRange] = []
    if pods and (settings.macvlan.addresses_per_node is not None or settings.servers.count + settings.agents.count == 1):
        single = [address for address in (node.access_address, settings.workload.address) if address is not None]
        found = [node.slice, *(AddressRange.single(address) for address in single if address not in node.slice)]
    return {"MAC": node.mac, "ADDRESS": str(node.address), "RANGES": ",".join(str(each) for each in found)}


def _macvlan_check(node: NodePlan, address: IPv4Address, settings: Settings) -> dict[str, str]:
    """Parameters of macvlan-check.sh."""
    macvlan, network = settings.macvlan, settings.network
    return {
        "MAC": node.mac,
        **({"PARENT": macvlan.master} if macvlan.master not in ("", network.interface) else {}),
        **({"MTU": str(macvlan.mtu)} if macvlan.mtu is not None else {}),
        "TEST_ADDRESS": with_prefix(network.cidr, address),
        "GATEWAY": str(network.gateway),
        "MODE": "bridge",
        "PING": "true" if settings.macvlan_check.ping else "false",
        "LIMIT_SECONDS": "30",
    }


def _at_boot(node: NodePlan, settings: Settings) -> list[list[str]]:
    """Scripts of each boot, before sshd starts. What they say is on the node's console, where it is read when SSH does not answer,
    and the boot goes on whatever becomes of them.

    On a bridge the node asks whether its address is another's: when the other machine is gone, nothing has to be done here.
    """
    found = []
    if settings.ssh.port != SSH_PORT:
        found.append(_booting("sshd-port.sh", {"PORT": str(settings.ssh.port)}))
    if settings.network.kind == "bridge":
        found.append(_booting(LAN_CHECK, _lan_check(node, settings, pods=False)))
    return found


def _booting(name: str, environment: Mapping[str, str]) -> list[str]:
    variables = [f"{key}={value}" for key, value in environment.items()]
    return ["sh", "-c", '"$@" 2>&1 || true', "sh", "env", *variables, "bash", "-c", remote.text(name), name]


def _static(node: NodePlan, network: Network) -> documents.StaticAddress | None:
    """The node's address where no DHCP server tells it."""
    if network.kind == "libvirt":
        return None
    return documents.StaticAddress(
        with_prefix(network.cidr, node.address), str(network.gateway), [str(server) for server in network.dns]
    )


def _on(network: Network, kind: str) -> str | None:
    """The network's name if it is of this kind."""
    return network.name if network.kind == kind else None


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _boot_report(name: str, node: NodePlan, settings: Settings, console: str) -> ErrorHook:
    """Says what can be seen from outside when a machine does not answer; the command itself only knows that it did not."""

    def report(args: pulumi.ErrorHookArgs) -> bool:
        if any(remote.NO_SUDO in error for error in args.errors):
            return False  # it boots and answers, and the error says what it lacks
        seen = diagnose(
            node.pool.uri,
            node.uuid,
            console_pool=node.pool.name,
            console_name=console,
            network=_on(settings.network, "libvirt"),
            mac=node.mac,
            port=settings.ssh.port,
        )
        pulumi.log.error(
            f"{node.name} did not become ready at {node.address} within timeouts.boot = {settings.timeouts.boot} s and "
            f"timeouts.cloudInit = {settings.timeouts.cloud_init} s. Seen from the hypervisor:\n{seen}"
        )
        return False

    return ErrorHook(f"{name}-boot-report", report)
