"""The stack's outputs, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pulumi
from pulumi import Output

from components.cluster.cluster import Cluster
from components.config.disk_plan import DiskPlan
from components.config.network_plan import NetworkPlan
from components.config.settings import Ssh
from components.machine.login_key import ClientKey
from components.machine.virtual_machine import VirtualMachine
from components.network import cni
from components.network.page import Page


def export(
    *,
    pages: Sequence[Page],
    networks: Sequence[NetworkPlan],
    cluster: Cluster,
    machines: Sequence[VirtualMachine],
    key: ClientKey,
    ssh: Ssh,
) -> None:
    """Outputs of the stack: url, address, mac, proof (of the first page), pages, attachments, nodes, sshCommand, and, secret,
    kubeconfig and sshPrivateKey."""
    all_pages = Output.all(*(_page(page) for page in pages)).apply(all_different)
    first = all_pages.apply(lambda known: known[0])
    for name in ("url", "address", "mac"):
        pulumi.export(name, first[name])
    pulumi.export("proof", first)
    pulumi.export("pages", all_pages)
    pulumi.export("attachments", {network.name: cni.book(network) for network in networks})
    pulumi.export("nodes", [_node(machine) for machine in machines])
    pulumi.export("sshCommand", f"ssh -p {ssh.port} {ssh.user}@{machines[0].node.address}")
    pulumi.export("sshPrivateKey", key.private)
    pulumi.export("kubeconfig", cluster.kubeconfig)


def all_different(pages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same pages; RunError when an address is given twice, which nothing on a network reports by itself."""
    for (network, address), count in Counter((page["network"], page["address"]) for page in pages).items():
        if count > 1:
            pods = ", ".join(page["pod"] for page in pages if (page["network"], page["address"]) == (network, address))
            raise pulumi.RunError(f"pods {pods} all have the address {address}: see podNetworks.{network}.addressesPerNode")
    return pages


def _page(page: Page) -> dict[str, Any]:
    pod, proof = page.pod, page.proof
    interface = page.interface
    output: dict[str, Any] = {
        "pod": pod.pod,
        "network": interface.network.name,
        "url": page.url,
        "address": interface.address,
        "mac": interface.mac,
    }
    if pod.node is not None:
        output["node"] = pod.node
    if proof is not None:
        output |= {"status": proof.status, "title": proof.seen, "unseen": proof.unseen}
    return output


def _node(machine: VirtualMachine) -> dict[str, Any]:
    node = machine.node
    return {
        "name": node.name,
        "role": node.role,
        "address": str(node.address),
        "mac": node.mac,
        "domain": node.domain,
        "hypervisor": node.pool.hypervisor,
        "hostKey": machine.host_key.public_key,
        **({"nics": [{"name": nic.name, "mac": nic.mac} for nic in node.nics]} if node.nics else {}),
        **({"disks": [_disk(disk) for disk in node.disks]} if node.disks else {}),
    }


def _disk(disk: DiskPlan) -> dict[str, Any]:
    mounted = {"mount": disk.mount, "fileSystem": disk.file_system} if disk.mount else {}
    return {"name": disk.name, "serial": disk.serial, "gib": disk.size // 2**30, **mounted, "keep": disk.keep}
