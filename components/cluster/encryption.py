"""Secrets that K3s encrypts in etcd (`secrets-encryption`), by k3s.hardened or by K3s's own option: one key for all servers.

With the option alone each server of a cluster that is there already would make a key of its own, which neither another server nor a
snapshot has.
"""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
from pulumi import ComponentResource, ResourceOptions
from pulumi_command.remote import Command

from components.machine.virtual_machine import VirtualMachine
from components.node import command


def prepare_encryption(name: str, first: VirtualMachine, limit: int, opts: ResourceOptions) -> Command:
    """The step on the first server before its K3s gets secrets-encryption: a cluster that is there already is prepared for it."""
    return first.run(
        name,
        command.Script(name="k3s-encryption-prepare.sh", environment={"LIMIT_SECONDS": str(limit)}, limit=limit + 150),
        opts=ResourceOptions.merge(opts, ResourceOptions(depends_on=[first.ssh_ready, *first.mounted])),
    )


class Encryption(ComponentResource):
    """All Secrets are encrypted, once all servers run with the option: by the first one, whose key the others take one after
    another.

    servers: the first one first, and the steps after which each is Ready. limit: seconds for each step. Errors: what the scripts
    report.
    """

    def __init__(
        self,
        name: str,
        servers: Sequence[tuple[VirtualMachine, Sequence[pulumi.Resource]]],
        limit: int,
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("k3s-macvlan:k3s:Encryption", name, {}, opts)
        own = ResourceOptions(parent=self)
        (first, _), *others = servers
        ready = [step for _, steps in servers for step in steps]
        encrypted = first.run(
            f"{name}-secrets",
            command.Script(name="k3s-secrets-encrypt.sh", environment={"LIMIT_SECONDS": str(limit)}, limit=limit + 360),
            opts=ResourceOptions.merge(own, ResourceOptions(depends_on=ready)),
        )
        before: pulumi.Resource = encrypted
        for machine, _ in others:
            before = machine.run(
                f"{machine.node.name}-encryption-key",
                command.Script(
                    name="k3s-encryption-key.sh",
                    environment={"LIMIT_SECONDS": str(limit)},
                    limit=limit + 720,
                    stdin=pulumi.Output.concat(encrypted.stdout, "\n"),
                ),
                opts=ResourceOptions.merge(own, ResourceOptions(depends_on=[before])),
            )
        self.register_outputs({})
