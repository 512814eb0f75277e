"""The nodes that the tests of scripts run on."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from namespaces import ip, namespaces

from .fake_node import MAC, K3s, Lan, Node


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.fixture
def k3s(node: Node, tmp_path: Path) -> Iterator[K3s]:
    installed = K3s(node, tmp_path)
    with installed.listening:
        yield installed


@pytest.fixture
def lan(tmp_path: Path, own_namespaces: None) -> Iterator[Lan]:
    if os.geteuid() != 0:
        pytest.skip("needs root for network namespaces")
    if not shutil.which("ip") or not shutil.which("nsenter"):
        pytest.skip("needs iproute2 and nsenter")

    commands = (
        f"-n mvtest-node link add nic0 address {MAC} type veth peer name port0 netns mvtest-lan",
        "-n mvtest-node address add 192.168.222.21/24 dev nic0",
        "-n mvtest-node link set nic0 up",
        "-n mvtest-lan address add 192.168.222.1/24 dev port0",
        "-n mvtest-lan link set port0 up",
    )
    with namespaces(("mvtest-node", "mvtest-lan"), commands, leftovers=("network-check",)):
        if ip("-n mvtest-node link add link nic0 name mvtry type macvlan mode bridge").returncode:
            pytest.skip("this kernel has no macvlan")
        ip("-n mvtest-node link delete mvtry")
        machine = Lan(tmp_path)
        machine.command("modprobe", "#!/bin/sh\n")
        yield machine
