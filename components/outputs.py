"""What a stack tells: its outputs, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
from pulumi import Output

from components.k3s import Cluster
from components.machine import VirtualMachine
from components.macvlan import MacvlanPod
from components.proof import HttpProof
from components.settings import Ssh
from components.ssh import ClientKey


def page_url(address: Output[str], port: int, path: str) -> Output[str]:
    """http://192.168.122.200/ from the pod's address."""
    return address.apply(lambda found: f"http://{found}{'' if port == 80 else f':{port}'}{path}")


def export(
    *,
    url: Output[str],
    pod: MacvlanPod,
    proof: HttpProof | None,
    cluster: Cluster,
    machines: Sequence[VirtualMachine],
    key: ClientKey,
    ssh: Ssh,
) -> None:
    """Outputs of the stack: url, address, mac, proof, nodes, sshCommand, and, secret, kubeconfig and sshPrivateKey."""
    pulumi.export("url", url)
    pulumi.export("address", pod.address)
    pulumi.export("mac", pod.mac)
    if proof is not None:
        pulumi.export(
            "proof", {"url": proof.url, "status": proof.status, "title": proof.seen, "address": pod.address, "mac": pod.mac}
        )
    pulumi.export(
        "nodes",
        [
            {
                "name": machine.node.name,
                "role": machine.node.role,
                "address": str(machine.node.address),
                "mac": machine.node.mac,
                "domain": machine.node.domain,
                "hypervisor": machine.node.pool.hypervisor,
                "hostKey": machine.host_key.public_key,
            }
            for machine in machines
        ],
    )
    pulumi.export("sshCommand", f"ssh -p {ssh.port} {ssh.user}@{machines[0].node.address}")
    pulumi.export("sshPrivateKey", key.private)
    pulumi.export("kubeconfig", cluster.kubeconfig)
