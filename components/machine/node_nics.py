"""NodeNics: the further network interfaces of a machine, as they are in the guest."""

from __future__ import annotations

import pulumi
from pulumi import ComponentResource, ResourceOptions

from components.config.nic_plan import NicPlan
from components.machine.virtual_machine import VirtualMachine
from components.node import command

_LIMIT = 120
"""Seconds until the guest has a NIC that was attached."""


class NodeNics(ComponentResource):
    """On one machine: each further NIC has its name, its MTU and the address that it is to have, and no other; undone with the
    component.

    Errors: a NIC that the guest does not get; a name that another interface has; dhcp where no program there requests a lease.
    """

    ready: dict[str, pulumi.Resource]
    """By name of the NIC: the step after which it can be used."""

    def __init__(self, name: str, *, machine: VirtualMachine, opts: ResourceOptions | None = None) -> None:
        super().__init__("k3s-macvlan:machine:NodeNics", name, {}, opts)
        macs = sorted(nic.mac for nic in machine.node.nics)
        self.ready = {nic.name: self._step(machine, nic, [mac for mac in macs if mac != nic.mac]) for nic in machine.node.nics}
        self.register_outputs({})

    def _step(self, machine: VirtualMachine, nic: NicPlan, others: list[str]) -> pulumi.Resource:
        own = nic.settings
        named = {"NAME": nic.name, "MAC": nic.mac}
        wanted = {
            "ADDRESS": str(own.address) if own.address is not None else "dhcp" if own.dhcp else "none",
            "LIMIT_SECONDS": str(_LIMIT),
            **({"MTU": str(own.mtu)} if own.mtu is not None else {}),
            **({"OTHERS": " ".join(others)} if others else {}),
        }
        return machine.run(
            f"{machine.node.name}-nic-{nic.name}",
            command.Script(name="node-nic.sh", environment={"ACTION": "on", **named, **wanted}, limit=2 * _LIMIT + 120),
            on_delete=command.Script(name="node-nic.sh", environment={"ACTION": "off", **named}, limit=_LIMIT + 60),
            # With the domain, because a NIC is attached by a change of it, after the machine has long been ready.
            opts=ResourceOptions(parent=self, depends_on=[machine.ssh_ready, machine.domain]),
        )
