"""What a machine's first boot is made from. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from components.config.plan import NodePlan, with_prefix
from components.config.settings import Network, Ssh
from components.machine.network_checks import LAN_CHECK, lan_check
from components.node import cloud_init, command


def user_data(node: NodePlan, ssh: Ssh, network: Network, extra: Mapping[str, Any], keys: Mapping[str, str]) -> str:
    """cloud-init's user data. extra: the setting cloudInit. keys: `client` (public), `private` and `public` of the host."""
    return cloud_init.user_data(
        hostname=node.domain,
        user=ssh.user,
        authorized_keys=[keys["client"], *ssh.authorized_keys],
        host_private_key=keys["private"],
        host_public_key=keys["public"],
        at_boot=_at_boot(node, ssh.port, network),
        extra=extra,
    )


def identity(node: NodePlan, image: str, ssh: Ssh, network: Network, extra: Mapping[str, Any]) -> str:
    """What the machine is made from, but for keys, as 16 hex digits: with others it is recreated. image: name of the base image."""
    document = user_data(node, ssh, network, extra, {"client": "", "private": "", "public": ""})
    return digest([document, network_config(node, network), image, str(node.address)])


def digest(parts: Sequence[str]) -> str:
    """16 hex digits of what a machine is made from: user data, network configuration, name of the base image, address."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


SSH_PORT = 22
"""Where an SSH server listens by itself."""


def _at_boot(node: NodePlan, ssh_port: int, network: Network) -> list[list[str]]:
    """Scripts that run at each boot before sshd starts. They print to the node's console, which is read when SSH does not answer;
    the boot continues when they fail.

    On a bridge the node probes whether another machine has its address: when that machine is off, nothing has to be done here.
    """
    scripts = []
    if ssh_port != SSH_PORT:
        scripts.append(_booting("sshd-port.sh", {"PORT": str(ssh_port)}))
    if network.kind == "bridge":
        scripts.append(_booting(LAN_CHECK, lan_check(node)))
    return scripts


def _booting(name: str, environment: Mapping[str, str]) -> list[str]:
    variables = [f"{key}={value}" for key, value in environment.items()]
    return ["sh", "-c", '"$@" 2>&1 || true', "sh", "env", *variables, "bash", "-c", command.text(name), name]


def network_config(node: NodePlan, network: Network) -> str:
    """The node's interface, with its address where no DHCP server gives it one."""
    static = None
    if network.kind == "bridge":
        static = cloud_init.StaticAddress(
            with_prefix(network.cidr, node.address), str(network.gateway), [str(server) for server in network.dns]
        )
    return cloud_init.network_config(mac=node.mac, interface=network.interface, static=static, mtu=network.mtu)
