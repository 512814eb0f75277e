"""What K3s's options name on the node: parts/k3s-options.sh."""

from __future__ import annotations

import threading

import pytest

from .fake_node import K3s

pytestmark = pytest.mark.unit

IP = '#!/bin/bash\n[[ "$*" != *" dev enp1s0" ]] || echo "2: enp1s0    inet 192.168.122.10/24 scope global enp1s0"\n'


def objects(*named: str) -> str:
    return "\t".join(part for text in named for part in text.split(" ", 2))


INTERFACE, FILE, DIRECTORY = (
    "interface k3s.config.flannel-iface enp1s0",
    "file k3s.serverConfig.datastore-cafile /etc/with a space.pem",
    "directory k3s.config.image-credential-provider-bin-dir /opt/providers",
)


@pytest.fixture
def node(k3s: K3s) -> K3s:
    k3s.node.command("ip", IP)
    for name in ("lo", "enp1s0", "enp2s0"):
        (k3s.node.root / "sys/class/net" / name).mkdir(parents=True)
    k3s.node.file("etc/with a space.pem", "")
    (k3s.node.root / "opt/providers").mkdir(parents=True)
    return k3s


def test_what_is_there_is_no_obstacle(node: K3s) -> None:
    done = node.run(NODE_OBJECTS=objects(INTERFACE, FILE, DIRECTORY))
    assert done.returncode == 0, done.stderr
    assert node.installs() == 1


def test_all_that_is_missing_is_reported_before_anything_changes(node: K3s) -> None:
    (node.node.root / "etc/with a space.pem").unlink()
    (node.node.root / "opt/providers").rmdir()
    missing = (INTERFACE.replace("enp1s0", "eth9"), FILE, DIRECTORY, INTERFACE.replace("enp1s0", "enp2s0"))
    done = node.run(NODE_OBJECTS=objects(*missing))
    assert done.returncode == 1
    for text in (
        "k3s.config.flannel-iface is eth9, and this node has no such interface, but enp1s0 enp2s0: correct it",
        "k3s.serverConfig.datastore-cafile is /etc/with a space.pem, and this node has no such file: correct it, or have cloudInit",
        "k3s.config.image-credential-provider-bin-dir is /opt/providers, and this node has no such directory",
        "k3s.config.flannel-iface is enp2s0, and this interface has no IPv4 address on this node",
        "nothing was changed",
    ):
        assert text in done.stderr
    assert node.installs() == 0
    assert not (node.node.root / "etc/rancher/k3s/config.yaml").exists()
    assert not (node.node.root / "var/lib/k3s-macvlan").exists()


def test_a_directory_is_no_file_and_a_file_no_directory(node: K3s) -> None:
    done = node.run(NODE_OBJECTS=objects("file a /opt/providers", "directory b /etc/with a space.pem"))
    assert "no such file" in done.stderr and "no such directory" in done.stderr


def test_it_is_checked_on_a_node_that_has_k3s_too(node: K3s) -> None:
    assert node.run().returncode == 0
    (node.node.root / "etc/with a space.pem").unlink()
    assert node.run(NODE_OBJECTS=objects(FILE)).returncode == 1
    assert node.node.restarts() == 1


def test_what_cloud_init_has_yet_to_create_is_waited_for(node: K3s) -> None:
    path = node.node.root / "etc/with a space.pem"
    path.unlink()
    (node.node.root / "run/cloud-init").mkdir(parents=True)
    creation = threading.Timer(2, path.touch)
    creation.start()
    done = node.run(NODE_OBJECTS=objects(FILE))
    creation.join()
    assert done.returncode == 0, done.stderr
    assert "waiting for what K3s's options name on this node" in done.stderr


@pytest.mark.parametrize("end", ["result.json", "disabled"])
def test_a_cloud_init_that_has_ended_creates_nothing_more(node: K3s, end: str) -> None:
    (node.node.root / "etc/with a space.pem").unlink()
    (node.node.root / "run/cloud-init").mkdir(parents=True)
    ending = threading.Timer(2, (node.node.root / "run/cloud-init" / end).touch)
    ending.start()
    done = node.run(NODE_OBJECTS=objects(FILE), LIMIT_SECONDS="60")
    ending.join()
    assert done.returncode == 1 and "no such file" in done.stderr


@pytest.mark.parametrize("state", ["active", "failed"])
def test_a_cloud_init_whose_last_unit_has_ended_without_a_result_creates_nothing_more(node: K3s, state: str) -> None:
    (node.node.root / "etc/with a space.pem").unlink()
    (node.node.root / "run/cloud-init").mkdir(parents=True)
    (node.node.stub / "active").write_text(f"{state}\n")
    done = node.run(NODE_OBJECTS=objects(FILE), LIMIT_SECONDS="600", SECONDS="20")
    assert done.returncode == 1 and "no such file" in done.stderr


def test_a_cloud_init_that_never_ends_is_waited_for_within_the_limit(node: K3s) -> None:
    (node.node.root / "etc/with a space.pem").unlink()
    (node.node.root / "run/cloud-init").mkdir(parents=True)
    assert "no such file" in node.run(NODE_OBJECTS=objects(FILE), LIMIT_SECONDS="3").stderr
