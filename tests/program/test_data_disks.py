"""Data disks in the graph: no part of the machine, mounted before K3s starts; and a rebuilt machine finds its cluster on one."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from components.cluster.rotation import REQUEST
from components.libvirt.data_disk import DataDiskProvider

from . import engine, test_changes
from .conftest import Run
from .engine import AGENT_TOKEN, TOKEN, config_of, merged, run
from .test_changes import NEW_MACHINE, PROVIDERS, RESIZED, C, K, R, U, changes
from .test_graph import KUBERNETES, MODES, expected

pytestmark = pytest.mark.program

DATA: dict[str, Any] = {"servers": {"disks": {"data": {"size": 10, "mount": "/srv/data"}, "raw": {"size": 5}}}}
OF_K3S: dict[str, Any] = {"servers": {"disks": {"rancher": {"size": 20}}}, "k3s": {"dataDisk": "rancher"}}
REBUILD: dict[str, Any] = {"image": {"checksum": "sha256:" + "1" * 64}}


@pytest.fixture(autouse=True)
def with_data_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROVIDERS, "DataDisk", DataDiskProvider)
    assert test_changes.PROVIDERS is PROVIDERS


@pytest.mark.parametrize("mode", MODES)
def test_the_resources_of_disks(deploy: Run, mode: str) -> None:
    deployment = deploy("dev", DATA, mode)
    own = {"DataDisk server-1-data-data", "DataDisk server-1-raw-data", "Command server-1-data-mount"}
    assert deployment.names == sorted({*expected(["server-1"], False), *own})
    assert len(deployment.sorted()) == len(deployment.resources)
    disk = deployment["server-1-data-data"]
    assert disk.delete_before_replace and disk.deleted_with == "", "its data are none of the machine's"
    assert disk.input("capacity") == 10 * 2**30
    assert {"local-pool", "local-prepared-image"} <= deployment.before("server-1-data-data")
    assert not {"server-1-disk", "server-1-domain"} & deployment.before("server-1-data-data")
    assert {"server-1-data-data", "server-1-raw-data"} <= deployment.before("server-1-domain")
    mount = deployment["server-1-data-mount"]
    assert {"server-1-domain", "server-1-answers", "server-1-data-data"} <= deployment.before(mount.name)
    assert mount.deleted_with == deployment["server-1-domain"].urn and mount.delete_before_replace
    for words in ("ACTION=on", "SERIAL=server-1-data", "MOUNT=/srv/data", "FILE_SYSTEM=ext4"):
        assert words in mount.input("create")
    assert "ACTION=off" in mount.input("delete")
    given = {disk["name"]: disk for disk in deployment["server-1-domain"].input("data_disks")}
    assert given["data"]["path"] == disk.input("path") and given["raw"]["serial"] == "server-1-raw"
    assert "server-1-data-mount" in deployment.before("server-1-k3s-install"), "pods would write to what the mount then hides"


def test_without_disks_a_domain_has_no_such_input(deploy: Run) -> None:
    assert "data_disks" not in deploy("dev")["server-1-domain"].inputs


def test_a_disk_in_a_directory_has_a_pool_of_the_stack_s(deploy: Run) -> None:
    deployment = deploy(
        "dev", merged(DATA, {"servers": {"disks": {"data": {"directory": "/srv/fast"}, "raw": {"pool": "theirs"}}}})
    )
    (pool,) = [resource for resource in deployment.of("StoragePool") if resource.name != "local-pool"]
    assert pool.input("path") == "/srv/fast/k3s-macvlan-dev"
    assert pool.name in deployment.before("server-1-data-data")
    assert deployment["server-1-data-data"].input("pool") == pool.input("name")
    raw = deployment["server-1-raw-data"]
    assert (raw.input("pool"), raw.input("path")) == ("theirs", "")
    assert len(deployment.of("StoragePool")) == 2


@pytest.mark.parametrize(
    ("change", "expected_changes"),
    [
        ({"servers": {"disks": {"data": {"size": 20}}}}, {"server-1-data-data": U, "server-1-data-mount": U}),
        ({"servers": {"disks": {"data": {"mount": "/srv/other"}}}}, {"server-1-data-mount": R}),
        ({"servers": {"disks": {"data": {"keep": True}}}}, {"server-1-data-data": U, "server-1-domain": U}),
        ({"servers": {"disks": {"data": {"cache": "none"}}}}, RESIZED),
        ({"servers": {"disks": {"raw": {"size": 6}}}}, {"server-1-raw-data": U}),
        (REBUILD, {**NEW_MACHINE, "server-1-data-mount": R}),
    ],
    ids=["size", "mount", "keep", "cache", "raw", "a rebuilt machine"],
)
def test_a_change_of_a_disk_changes_what_depends_on_it(
    deploy: Run, change: dict[str, Any], expected_changes: dict[str, str]
) -> None:
    old, new = deploy("dev", DATA), deploy("dev", merged(DATA, change))
    assert new.names == old.names
    assert changes(old, new) == expected_changes


@pytest.mark.parametrize("mode", ["up", "again"])
def test_a_disk_is_added_and_removed_while_the_machine_runs(deploy: Run, mode: str) -> None:
    old, new = deploy("dev", {}, mode), deploy("dev", DATA, mode)
    assert changes(old, new) == {"server-1-domain": U, "local-pool": K}
    assert changes(new, old) == {"server-1-domain": U, "local-pool": K}
    assert set(new.names) - set(old.names) == {
        "DataDisk server-1-data-data",
        "DataDisk server-1-raw-data",
        "Command server-1-data-mount",
    }


def test_a_pool_knows_its_data_disks(deploy: Run) -> None:
    volumes = [f"k3s-macvlan-dev-server-1-{name}.qcow2" for name in ("data", "raw")]
    assert deploy("dev", DATA)["local-pool"].input("data_disks") == volumes
    assert deploy("dev")["local-pool"].input("data_disks") == []
    elsewhere = {"servers": {"disks": {"data": {"size": 10, "directory": "/srv/disks"}}}}
    deployment = deploy("dev", elsewhere)
    pools = {pool.name: pool.input("data_disks") for pool in deployment.of("StoragePool")}
    assert pools.pop("local-pool") == [] and list(pools.values()) == [volumes[:1]]


# --- K3s's data on a disk


@pytest.mark.parametrize("mode", MODES)
def test_the_disk_is_mounted_before_anything_of_k3s_is_written(deploy: Run, mode: str) -> None:
    deployment = deploy("dev", OF_K3S, mode)
    assert len(deployment.sorted()) == len(deployment.resources)
    for step in ("server-1-k3s-install", "k3s-kubeconfig", "k3s-data-token"):
        assert "server-1-rancher-mount" in deployment.before(step)
    assert "k3s-data-token" in deployment.before("server-1-k3s-install")
    assert "MOUNT=/var/lib/rancher" in deployment["server-1-rancher-mount"].input("create")


def test_the_cluster_lives_as_long_as_its_disk(deploy: Run) -> None:
    deployment = deploy("dev", OF_K3S)
    disk = deployment["server-1-rancher-data"].urn
    for name in (*KUBERNETES, "nginx-macvlan", "server-1-leave", "k3s-data-token"):
        assert deployment[name].deleted_with == disk, name
    token = deployment["k3s-data-token"]
    assert "stdout" in token.secret_outputs and token.input("logging") == "stderr"
    assert token.input("triggers") == ["of-server-1-rancher-data"], "a rebuilt machine has the same disk"


@pytest.mark.parametrize("mode", ["up", "again"])
def test_a_rebuilt_only_server_finds_its_cluster_again(deploy: Run, mode: str) -> None:
    """Without the disk the provider learns that it is another cluster, and recreates everything in it."""
    old, new = deploy("dev", OF_K3S, mode), deploy("dev", merged(OF_K3S, REBUILD), mode)
    of_another_cluster = {"k3s-kubernetes", "k3s-reached", "server-1-leave"}
    same_cluster = {name: how for name, how in NEW_MACHINE.items() if name not in of_another_cluster}
    assert changes(old, new) == {**same_cluster, "server-1-rancher-mount": R, "nginx-macvlan": C}
    assert changes(deploy("dev", {}, mode), deploy("dev", REBUILD, mode))["k3s-kubernetes"] == C


def test_a_rebuilt_server_among_others_is_the_same_member(deploy: Run) -> None:
    """It would leave, and etcd would not take it back with the data of a former member."""
    three = merged(OF_K3S, {"servers": {"count": 3}, "podNetworks": {"macvlan-conf": {"addressesPerNode": 2}}})
    old, new = deploy("dev", three), deploy("dev", merged(three, REBUILD))
    changed = changes(old, new)
    for node in ("server-1", "server-2", "server-3"):
        assert changed[f"{node}-disk"] == R and f"{node}-leave" not in changed and f"{node}-rancher-data" not in changed
    assert "k3s-kubernetes" not in changed
    assert "cluster-init" in new["server-1-k3s-install"].document(), "it does not join as a new member"


def test_agents_without_the_disk_are_as_before(deploy: Run) -> None:
    both = merged(OF_K3S, {"agents": {"count": 1}, "podNetworks": {"macvlan-conf": {"addressesPerNode": 2}}})
    deployment = deploy("dev", both)
    assert "agent-1-rancher-mount" not in {resource.name for resource in deployment.custom}
    own = deploy("dev", merged(both, {"agents": {"disks": {"rancher": {"size": 20}}}}))
    assert "agent-1-rancher-mount" in own.before("agent-1-k3s-install")


@pytest.mark.parametrize(
    ("printed", "rotate", "tokens"),
    [
        ("", "", (TOKEN, AGENT_TOKEN)),
        (f"{TOKEN}\nchanged", "", (TOKEN, AGENT_TOKEN)),
        ("kept\nkept-agents\n", "", ("kept", "kept-agents")),
        ("kept\n", "", ("kept", None)),
        ("kept\nkept-agents\n", "token", (TOKEN, AGENT_TOKEN)),
    ],
    ids=["an empty disk", "its own cluster", "a kept one", "a kept one without a token of the agents", "a kept one, rotated"],
)
def test_the_tokens_are_those_of_the_cluster_on_the_disk(
    printed: str, rotate: str, tokens: tuple[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "data_tokens", lambda: printed)
    if rotate:
        monkeypatch.setenv(REQUEST, rotate)
    files = json.loads(run(config_of("dev", OF_K3S))["server-1-k3s-install"].document())
    config = yaml.safe_load(files["/etc/rancher/k3s/config.yaml"]["content"])
    assert (config["token"], config.get("agent-token")) == tokens
