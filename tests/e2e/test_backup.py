"""Backup and restore: on the running stack, after the loss of its only disk, and on an empty hypervisor."""

from __future__ import annotations

import stat
import subprocess
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builds import Build
from conftest import Checkout, environment
from host import host_state, virsh
from kubectl import kubectl, refused
from test_networks import networks

pytestmark = [pytest.mark.e2e, pytest.mark.nodes, pytest.mark.chapters, pytest.mark.once, pytest.mark.k3s_own]

BOOKED_ADDRESS = "192.168.122.207"
BOOKED = {
    "ipam": "static",
    "range": "192.168.122.200-192.168.122.210",
    "addresses": {"nginx-macvlan": {"ip": BOOKED_ADDRESS, "mac": "02:00:00:00:02:07"}},
}
FILE = ".lab/kept.k3s-backup"


@pytest.fixture(scope="module")
def before(build: Build) -> dict[str, Any]:
    """The host before the story. build: skips where there is nothing to tell it on."""
    return host_state()


def restored(checkout: Checkout, *, what: str) -> None:
    """The objects of the backup are there, and none that came after; the page is served at the address of the book."""
    assert kubectl(checkout, "get secret kept -o jsonpath='{.data.word}'") == "c2VjcmV0", what
    assert kubectl(checkout, "get configmap kept -o jsonpath='{.data.since}'") == "before", what
    assert "NotFound" in refused(checkout, "get configmap after"), what
    outputs = checkout.outputs()
    assert outputs["address"] == BOOKED_ADDRESS and outputs["proof"]["status"] == 200
    with urllib.request.urlopen(outputs["url"], timeout=10) as answer:
        assert "Welcome to nginx!" in answer.read().decode()
    assert kubectl(checkout, "get nodes -o jsonpath='{.items[*].metadata.name}'") == "server-1"
    assert checkout.preview() == ({}, []), what


def test_a_backup_is_one_encrypted_file(checkout: Checkout, before: dict[str, Any]) -> None:
    networks(checkout, macvlan_conf=BOOKED)
    checkout.lab("-y", "up")
    kubectl(checkout, "create configmap kept --from-literal=since=before")
    kubectl(checkout, "create secret generic kept --from-literal=word=secret")
    path = Path(checkout.path, FILE)
    assert str(path) in checkout.lab("backup", FILE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = path.read_bytes()
    token = checkout.node("sed 's/.*:://' /var/lib/rancher/k3s/server/token").strip()
    assert token.encode() not in content and b"c2VjcmV0" not in content and b"kube-system" not in content
    assert "k3s-macvlan-backup" not in checkout.node("ls /var/lib/rancher/k3s/server/db/snapshots")
    assert "etcd-snapshot" not in checkout.node("k3s etcd-snapshot ls 2> /dev/null | grep k3s-macvlan-backup || true")
    assert "is there already" in checkout.lab("backup", FILE, ok=False)
    assert token not in "".join(checkout.said)


def test_what_is_not_to_be_restored_is_refused_before_anything_is_touched(checkout: Checkout, before: dict[str, Any]) -> None:
    began = checkout.node("systemctl show --property=InvocationID --value k3s")
    whole = Path(checkout.path, FILE).read_bytes()
    Path(checkout.path, ".lab/damaged").write_bytes(whole[: len(whole) // 2])
    assert "is damaged" in checkout.lab("-y", "restore", ".lab/damaged", ok=False)
    Path(checkout.path, ".lab/altered").write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    assert "is damaged" in checkout.lab("-y", "restore", ".lab/altered", ok=False)
    version = checkout.setting("k3s").get("version")
    checkout.set("k3s", version="v1.36.1+k3s1")  # older than what the file was made with
    assert "is older, which cannot read its data" in " ".join(checkout.lab("-y", "restore", FILE, ok=False).split())
    checkout.set("k3s", version=version)
    checkout.set("k3s", serviceCidr="10.99.0.0/16")
    assert "a cluster keeps what it began with" in " ".join(checkout.lab("-y", "restore", FILE, ok=False).split())
    checkout.set("k3s", serviceCidr="10.43.0.0/16")
    other = Path(checkout.path, "Pulumi.another.yaml")
    other.write_text(Path(checkout.path, f"Pulumi.{checkout.stack}.yaml").read_text())
    try:
        assert "it is of the stack" in replace(checkout, stack="another").lab("-y", "restore", FILE, ok=False)
    finally:
        other.unlink()
    assert checkout.node("systemctl show --property=InvocationID --value k3s") == began


def test_the_running_stack_becomes_what_it_was(checkout: Checkout, before: dict[str, Any]) -> None:
    kubectl(checkout, "create configmap after --from-literal=since=after")
    kubectl(checkout, "delete secret kept --ignore-not-found")
    said = checkout.lab("-y", "restore", FILE, limit=2400)
    assert "every object of its API" in " ".join(said.split())
    restored(checkout, what="on the running stack")
    assert checkout.node("ls /etc/rancher/k3s/config.yaml.d | wc -l").strip() == "0"


def test_the_cluster_outlives_the_loss_of_its_only_disk(checkout: Checkout, before: dict[str, Any]) -> None:
    node, pool = checkout.outputs()["nodes"][0], f"k3s-macvlan-{checkout.stack}"
    kubectl(checkout, "create configmap after --from-literal=since=after")
    virsh("destroy", node["domain"])
    virsh("undefine", node["domain"])
    virsh("vol-delete", "server-1.qcow2", "--pool", pool)
    checkout.lab("-y", "restore", FILE, limit=4800)
    restored(checkout, what="after the loss of the disk")


def test_a_replacement_of_the_only_disk_says_that_the_cluster_is_deleted(checkout: Checkout, before: dict[str, Any]) -> None:
    done = subprocess.run(
        ["./lab", "-s", checkout.stack, "preview", "--replace", "**::server-1-disk"],
        cwd=checkout.path, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "./lab backup before" in " ".join((done.stdout + done.stderr).split())


def test_the_cluster_comes_back_on_an_empty_hypervisor(checkout: Checkout, before: dict[str, Any]) -> None:
    """With a state that has nothing, so with another token, other keys and another CA at first."""
    checkout.lab("-y", "destroy")
    checkout.lab("-y", "restore", FILE, limit=4800)
    restored(checkout, what="on an empty hypervisor")
    token = checkout.node("sed -n 's/^token: *//p' /etc/rancher/k3s/config.yaml").strip()
    assert token in checkout.node("cat /var/lib/rancher/k3s/server/token")
    # K3s starts with the stack's token, and a changed setting is applied as ever.
    checkout.set("k3s", snapshots={"schedule": "0 */6 * * *", "retention": 3})
    checkout.lab("-y", "up")
    assert "0 */6 * * *" in checkout.node("cat /etc/rancher/k3s/config.yaml")
    restored(checkout, what="after a restart of K3s by `up`")


def test_destroy_leaves_nothing(checkout: Checkout, before: dict[str, Any]) -> None:
    checkout.lab("-y", "destroy")
    assert host_state() == before
