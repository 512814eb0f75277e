"""The prepared image: made by the first `up`, taken by another node and the next `up`, left by `destroy`, deleted on request."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from builds import Build
from conftest import Checkout
from host import host_state
from test_life import page

pytestmark = [pytest.mark.e2e, pytest.mark.nodes, pytest.mark.chapters]


@pytest.fixture(scope="module")
def before(build: Build, checkout: Checkout) -> dict[str, Any]:
    """The host before the story, without an image of another run. build: skips where there is nothing to tell it on."""
    checkout.set("image", prepare="always")
    checkout.network(addressesPerNode=5)
    checkout.lab("image", "--remove")
    return host_state()


def images(checkout: Checkout) -> dict[str, str]:
    """What `./lab image --list` says of each prepared image, by its path."""
    lines = [line for line in checkout.lab("image", "--list").splitlines() if "/prepared-" in line]
    return {line.split("  ")[1]: line.split("  ")[3] for line in lines}


def below(disk: str) -> list[str]:
    """The files that a disk is over, the nearest first."""
    command = ["qemu-img", "info", "--force-share", "--backing-chain", "--output=json", disk]
    chain = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return [image["filename"] for image in chain[1:]]


def disk_of(checkout: Checkout, node: str) -> str:
    return f"/var/lib/libvirt/images/k3s-macvlan-{checkout.stack}/{node}.qcow2"


def identity(checkout: Checkout, node: str) -> tuple[str, str]:
    """ID of the machine, and key of its SSH server."""
    machine, key = checkout.node("cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub", node).splitlines()
    return machine, key.split()[1]


def test_the_first_up_makes_it_and_serves_the_page(checkout: Checkout, before: dict[str, Any]) -> None:
    checkout.lab("-y", "up", limit=1800)
    assert "Welcome to nginx!" in page(checkout.outputs()["url"])
    ((path, users),) = images(checkout).items()
    assert (below(disk_of(checkout, "server-1"))[0], users) == (path, "1 over it")
    assert checkout.preview() == ({}, [])


def test_nothing_was_installed_or_pulled_on_the_node(checkout: Checkout) -> None:
    assert checkout.node("cat /var/log/k3s-install.log 2>/dev/null || true") == ""
    listed = checkout.node("cat /var/lib/rancher/k3s/agent/prepared-images")
    assert "nginx" in listed and "multus-cni" in listed


def test_a_further_node_takes_it_and_is_another_machine(checkout: Checkout) -> None:
    made = images(checkout)
    checkout.set("agents", count=1, cpus=1, memory=1536)
    checkout.lab("-y", "up", limit=1800)
    assert images(checkout) == dict.fromkeys(made, "2 over it")
    first, second = identity(checkout, "server-1"), identity(checkout, "agent-1")
    assert first[0] != second[0] and first[1] != second[1]
    assert checkout.preview() == ({}, [])


def test_destroy_leaves_it_and_the_next_up_takes_it(checkout: Checkout, before: dict[str, Any]) -> None:
    checkout.set("agents", count=0)
    made = images(checkout)
    checkout.lab("-y", "destroy")
    assert host_state() == before
    assert images(checkout) == dict.fromkeys(made, "nothing is over it")
    said = checkout.lab("-y", "up", limit=1800)
    assert "the machine boots" not in said
    assert images(checkout) == dict.fromkeys(made, "1 over it")
    assert "Welcome to nginx!" in page(checkout.outputs()["url"])


def test_it_is_deleted_when_no_disk_is_over_it(checkout: Checkout) -> None:
    (path,) = images(checkout)
    assert f"{path} stays" in checkout.lab("image", "--remove")
    checkout.lab("-y", "destroy")
    checkout.lab("image", "--remove")
    assert images(checkout) == {}
