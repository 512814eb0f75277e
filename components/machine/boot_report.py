"""The report of a machine that does not answer, by what the hypervisor shows of it."""

from __future__ import annotations

import pulumi
from pulumi import ErrorHook

from components.config.plan import NodePlan
from components.config.settings import Network, Timeouts
from components.libvirt.guest_report import diagnose
from components.node import command


def console_log(node: NodePlan) -> str:
    """Name of the volume that the node's serial console is written to."""
    return f"{node.name}-console.log"


def boot_report(name: str, node: NodePlan, network: Network, ssh_port: int, timeouts: Timeouts) -> ErrorHook:
    """An error hook that logs what the hypervisor shows of a machine that does not answer."""

    def report(args: pulumi.ErrorHookArgs) -> bool:
        if any(command.NO_SUDO in error for error in args.errors):
            return False  # it boots and answers, and the error says what it lacks
        report_text = diagnose(
            node.pool.uri,
            node.uuid,
            console_pool=node.pool.name,
            console_name=console_log(node),
            network=network.libvirt_name,
            mac=node.mac,
            port=ssh_port,
        )
        pulumi.log.error(
            f"{node.name} did not become ready at {node.address} within timeouts.boot = {timeouts.boot} s and "
            f"timeouts.cloudInit = {timeouts.cloud_init} s. Seen from the hypervisor:\n{report_text}"
        )
        return False

    return ErrorHook(f"{name}-boot-report", report)
