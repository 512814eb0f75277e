"""Data disks in the settings: models, what each node has of them, and what contradicts itself."""

from __future__ import annotations

from typing import Any

import pytest

from components.config import conflicts, disk_conflicts, plan
from components.config.disk_plan import DiskPlan, serial
from components.config.problems import SettingsError
from components.config.reading import parse
from components.config.settings import Settings

pytestmark = pytest.mark.unit

DATA = {"size": 10, "mount": "/srv/data"}


def settings(servers: dict[str, Any] | None = None, agents: dict[str, Any] | None = None, **more: Any) -> Settings:
    return Settings.model_validate({"servers": servers or {}, "agents": agents or {}, **more})


def disks(config: Settings, node: str = "server-1") -> dict[str, DiskPlan]:
    nodes = plan.make("k3s-macvlan", "dev", config).nodes
    return {disk.name: disk for disk in next(candidate for candidate in nodes if candidate.name == node).disks}


def problems(config: Settings) -> list[str]:
    return [str(problem) for problem in disk_conflicts.conflicts(plan.make("k3s-macvlan", "dev", config), config)]


def test_a_node_without_disks_has_none() -> None:
    made = plan.make("k3s-macvlan", "dev", Settings())
    assert [(node.disks, node.k3s_disk) for node in made.nodes] == [((), None)]
    assert made.data_pools == ()


def test_the_plan_of_a_disk() -> None:
    config = settings({"disks": {"data": DATA}})
    assert disks(config) == {
        "data": DiskPlan(
            name="data",
            serial="server-1-data",
            own_pool=plan.make("k3s-macvlan", "dev", config).pools[0],
            pool="k3s-macvlan-dev",
            path="/var/lib/libvirt/images/k3s-macvlan-dev/k3s-macvlan-dev-server-1-data.qcow2",
            volume="k3s-macvlan-dev-server-1-data.qcow2",
            size=10 * 2**30,
            mount="/srv/data",
            file_system="ext4",
            cache="writeback",
            bus="virtio",
            keep=False,
        )
    }


def test_an_override_changes_the_fields_that_it_has() -> None:
    group = {"data": {**DATA, "directory": "/srv/slow", "keep": True}, "raw": {"size": 5}}
    override = {"data": {"size": 20, "pool": "fast"}, "own": {"size": 1}}
    config = settings({"disks": group, "overrides": {"server-1": {"disks": override}}})
    own = disks(config)
    assert sorted(own) == ["data", "own", "raw"]
    data = own["data"]
    assert (data.size, data.mount, data.keep) == (20 * 2**30, "/srv/data", True)
    assert (data.pool, data.path) == ("fast", ""), "libvirt knows the directory of a pool that is there"
    assert own["raw"].mount == ""


def test_a_directory_is_a_pool_of_the_stack_s_own_made_once() -> None:
    group = {name: {"size": 1, "directory": "/srv/fast"} for name in ("a", "b")}
    config = settings({"disks": group}, {"count": 1, "disks": {"c": {"size": 1, "directory": "/srv/fast/"}}})
    made = plan.make("k3s-macvlan", "dev", config)
    (pool,) = made.data_pools
    assert pool.path == "/srv/fast/k3s-macvlan-dev"
    assert pool.name.startswith("k3s-macvlan-dev-") and pool.uuid != made.pools[0].uuid
    assert {disk.pool for node in made.nodes for disk in node.disks} == {pool.name}
    assert disks(config, "agent-1")["c"].path == "/srv/fast/k3s-macvlan-dev/k3s-macvlan-dev-agent-1-c.qcow2"


def test_the_directory_of_the_stack_s_pool_is_that_pool() -> None:
    config = settings({"disks": {"a": {"size": 1, "directory": "/var/lib/libvirt/images"}}})
    assert plan.make("k3s-macvlan", "dev", config).data_pools == ()
    assert disks(config)["a"].pool == "k3s-macvlan-dev"


def test_a_serial_fits_every_bus_and_distinguishes_disks() -> None:
    assert serial("server-1", "data") == "server-1-data"
    long = [serial("agent-100", name) for name in ("longhorn-data-1", "longhorn-data-2")]
    assert [len(text) for text in long] == [20, 20] and long[0] != long[1]


def test_the_disk_of_k3s() -> None:
    config = settings({"disks": {"k3s": {"size": 5}}}, {"count": 1}, k3s={"dataDisk": "k3s"})
    assert problems(config) == []
    server, agent = plan.make("k3s-macvlan", "dev", config).nodes
    assert server.k3s_disk is not None and server.k3s_disk.mount == "/var/lib/rancher"
    assert agent.k3s_disk is None


@pytest.mark.parametrize(
    ("disk", "setting", "words"),
    [
        ({}, "size", "is missing"),
        ({"size": 0}, "size", "too small"),
        ({"size": 1, "mount": "data"}, "mount", "absolute path"),
        ({"size": 1, "mount": "/usr/local"}, "mount", "a directory of the system"),
        ({"size": 1, "mount": "/"}, "mount", "a directory of the system"),
        ({"size": 1, "mount": "/var"}, "mount", "a directory of the system"),
        ({"size": 1, "mount": "/srv//a"}, "mount", "without '//'"),
        ({"size": 1, "mount": "/var/lib/rancher"}, "mount", "name the disk in k3s.dataDisk"),
        ({"size": 1, "pool": "a", "directory": "/b"}, "pool", "is set next to directory"),
        ({"size": 1, "fileSystem": "btrfs"}, "fileSystem", "ext4"),
        ({"size": 1, "bus": "ide"}, "bus", "virtio"),
    ],
)
def test_an_impossible_disk_is_refused(disk: dict[str, Any], setting: str, words: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse("dev", {"servers": {"disks": {"data": disk}}})
    (problem,) = error.value.problems
    assert problem.setting == f"servers.disks.data.{setting}" and words in problem.conflict


@pytest.mark.parametrize("mount", ["/var/lib/longhorn", "/srv/a", "/mnt/a-b", "/var/lib/rancher/k3s/storage"])
def test_usual_mount_points(mount: str) -> None:
    assert disks(settings({"disks": {"a": {"size": 1, "mount": mount}}}))["a"].mount == mount


@pytest.mark.parametrize("name", ["A", "a_b", "", "-a", "a" * 33])
def test_a_name_is_refused(name: str) -> None:
    with pytest.raises(SettingsError):
        parse("dev", {"servers": {"disks": {name: {"size": 1}}}})


@pytest.mark.parametrize(
    ("servers", "k3s", "expected"),
    [
        (
            {"overrides": {"server-1": {"disks": {"a": {"mount": "/a"}}}}},
            {},
            ["servers.overrides.server-1.disks.a: has no size, and servers.disks has no disk of this name to take it from"],
        ),
        (
            {"disks": {"a": {"size": 1, "pool": "k3s-macvlan-dev"}}},
            {},
            ["servers.disks.a.pool = 'k3s-macvlan-dev': is the stack's own pool"],
        ),
        (
            {"disks": {"a": DATA, "b": DATA}},
            {},
            ["servers.disks.b.mount = /srv/data: is where server-1 mounts its disk a too"],
        ),
        (
            {"disks": {"a": {**DATA, "mount": "/srv/data/b"}, "b": DATA}},
            {},
            ["servers.disks.b.mount = /srv/data: and /srv/data/b, where server-1 mounts its disk a, lie one in the other"],
        ),
        (
            {"disks": {"k": {"size": 1}, "b": {"size": 1, "mount": "/var/lib/rancher/k3s/storage"}}},
            {"dataDisk": "k"},
            ["servers.disks.b.mount = /var/lib/rancher/k3s/storage: and /var/lib/rancher, where server-1 mounts its disk k, lie"],
        ),
        (
            {"disks": {"k": DATA}},
            {"dataDisk": "k"},
            ["servers.disks.k.mount: contradicts k3s.dataDisk"],
        ),
        (
            {"disks": {"a": {"size": 1, "fileSystem": "xfs"}}},
            {},
            ["servers.disks.a.fileSystem = 'xfs': goes with mount"],
        ),
        ({"count": 3}, {"dataDisk": "k"}, ["k3s.dataDisk = 'k': names no data disk of server-1, server-2, server-3"]),
    ],
)
def test_what_contradicts_itself(servers: dict[str, Any], k3s: dict[str, Any], expected: list[str]) -> None:
    texts = problems(settings(servers, k3s=k3s))
    assert len(texts) == len(expected), texts
    for text, begins in zip(texts, expected, strict=True):
        assert text.startswith(begins)


def test_they_are_reported_with_all_other_mistakes() -> None:
    config = settings({"count": 3, "disks": {"a": {"size": 1, "fileSystem": "xfs"}}})
    texts = {str(problem) for problem in conflicts.conflicts(plan.make("k3s-macvlan", "dev", config), config)}
    assert set(problems(config)) <= texts and len(problems(config)) == 3


def test_equal_serials_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.config.disk_plan.serial", lambda *_: "same")
    (text,) = problems(settings({"disks": {"a": {"size": 1}, "b": {"size": 1}}}))
    assert text.startswith("servers.disks.b: gets the serial same on server-1, as a does")


def test_what_a_kept_cluster_does_not_come_back_with() -> None:
    def warned(servers: dict[str, Any], agents: dict[str, Any] | None = None) -> list[str]:
        config = settings(servers, agents, k3s={"dataDisk": "k"}, network={"nodes": "192.168.122.170-192.168.122.199"})
        return list(disk_conflicts.warnings(plan.make("k3s-macvlan", "dev", config), config))

    kept = {"k": {"size": 5, "keep": True}}
    assert warned({"disks": {"k": {"size": 5}}}, {"count": 1}) == []
    assert warned({"disks": kept}) == []
    assert warned({"disks": kept}, {"count": 1, "disks": kept}) == []
    (several,) = warned({"count": 3, "disks": kept})
    assert "each waits for a majority" in several
    (lost,) = warned({"disks": kept}, {"count": 1})
    assert "still knows agent-1 by passwords" in lost
