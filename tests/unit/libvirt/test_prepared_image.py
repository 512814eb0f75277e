"""The image that nodes' disks are over: which one a stack has, and what is made of its machine's words."""

from __future__ import annotations

import uuid
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from pulumi.output import UNKNOWN

from components.config import pool_plan
from components.libvirt import base_image, domain_spec, image_lock, prepared_image, storage_xml, volume_provider, volume_store
from components.libvirt import pool as pool_module
from components.libvirt.base_image import BaseImageProvider
from components.libvirt.connection import HypervisorError
from components.libvirt.prepared_image import PreparedImageProvider

pytestmark = pytest.mark.unit

FORMER, NOW = "0" * 20, "1" * 20


def image(digest: str = FORMER, **changes: Any) -> dict[str, Any]:
    return {
        "uri": "qemu:///system", "pool": "images", "pool_uuid": "u", "pool_path": "/images", "digest": digest,
        "name": f"prepared-{digest}.qcow2", "base": f"base-{digest}.qcow2", "source": "s", "checksum": "sha256:" + "0" * 64,
        "format": "qcow2", "firmware": None, "capacity": 10.0, "user_data": f"of {digest}", "machines": {"a": "1", "b": "2"},
        "required": False, "memory_mib": 4096.0, "cpus": 2.0, "network": "default", "bridge": None, "nic_port": None,
        "extra_disks": [], "virt_type": "auto", "cpu_mode": "auto", "cpu_model": "", "machine": "q35", "limit": 60.0,
        "path": None, "backing_format": None, "prepared": None, **changes,
    }  # fmt: skip


PROVIDER = PreparedImageProvider()


def checked(olds: dict[str, Any], news: dict[str, Any]) -> dict[str, Any]:
    """The inputs of now, which a second preview leaves as they are."""
    result = PROVIDER.check(olds, news)
    assert not result.failures
    assert PROVIDER.check(result.inputs, news).inputs == result.inputs
    return dict(result.inputs)


@pytest.mark.parametrize("machines", [{"a": "1", "b": "2"}, {"a": "1"}, {}])
def test_the_image_stays_while_no_machine_is_new(machines: dict[str, str]) -> None:
    """Also with fewer: of another K3s release nobody would use an image."""
    old = checked({}, image())
    new = checked(old, image(NOW, machines=machines, required=True, capacity=20.0, limit=90.0, network="other"))
    assert {**new, "machines": old["machines"]} == old
    assert new["machines"] == machines
    change = PROVIDER.diff("id", old, new)
    assert (change.changes, change.replaces) == (machines != old["machines"], [])


def test_a_second_preview_has_no_change() -> None:
    old = checked({}, image())
    for news in (image(), image(NOW)):
        assert not PROVIDER.diff("id", old, checked(old, news)).changes


@pytest.mark.parametrize("machines", [{"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "other"}, {"c": "3"}])
def test_a_new_machine_takes_the_image_of_now(machines: dict[str, str]) -> None:
    old = checked({}, image())
    new = checked(old, image(NOW, machines=machines))
    assert (new["digest"], new["name"], new["user_data"]) == (NOW, f"prepared-{NOW}.qcow2", f"of {NOW}")
    change = PROVIDER.diff("id", old, new)
    assert (change.changes, change.replaces) == (True, [])


def test_a_new_machine_of_the_same_image_is_an_update_that_finds_it() -> None:
    old = checked({}, image())
    new = checked(old, image(machines={**old["machines"], "c": "3"}))
    change = PROVIDER.diff("id", old, new)
    assert (change.changes, change.replaces, new["digest"]) == (True, [], FORMER)


@pytest.mark.parametrize("machines", [UNKNOWN, {"a": UNKNOWN, "b": "2"}])
def test_machines_that_are_not_known_take_the_image_of_now(machines: Any) -> None:
    old = checked({}, image())
    new = PROVIDER.check(old, image(NOW, machines=machines)).inputs
    assert new["digest"] == NOW
    assert PROVIDER.diff("id", old, new).changes


@pytest.mark.parametrize("change", [{"uri": "qemu+ssh://far/system"}, {"pool": "p"}, {"pool_uuid": "v"}, {"pool_path": "/p"}])
def test_another_place_is_another_image(change: dict[str, Any]) -> None:
    old = checked({}, image())
    new = checked(old, image(NOW, **change))
    assert new["digest"] == NOW
    result = PROVIDER.diff("id", old, new)
    assert (result.replaces, result.delete_before_replace) == (list(change), True)


def test_another_way_to_the_same_host_is_no_other_place() -> None:
    old = checked({}, image(uri="qemu+ssh://far/system"))
    new = checked(old, image(NOW, uri="qemu+ssh://root@far/system?keyfile=/k"))
    assert new["digest"] == FORMER, "no machine is new"
    change = PROVIDER.diff("id", old, new)
    assert (change.changes, change.replaces) == (True, [])


def test_an_input_that_was_none_stays_none() -> None:
    """The engine leaves it out of the state."""
    old = {name: value for name, value in checked({}, image()).items() if value is not None}
    new = checked(old, image(NOW, firmware="efi", nic_port={"queues": 2}))
    assert new.get("firmware") is None and new.get("nic_port") is None and new["digest"] == FORMER


def test_whole_numbers_are_whole_and_the_engine_s_own_entries_are_not_kept() -> None:
    old = checked({}, image())
    assert [type(old[name]) for name in ("capacity", "memory_mib", "cpus", "limit")] == [int] * 4
    new = PROVIDER.check({**old, "__provider": "former"}, {**image(NOW), "__provider": "now"}).inputs
    assert new["__provider"] == "now"


def test_deleting_the_resource_leaves_the_image_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    PROVIDER.delete("id", {**image(), "path": "/images/prepared.qcow2"})
    said = capsys.readouterr().out
    assert "/images/prepared.qcow2 stays" in said and "./lab image --remove" in said


# --- what its machine says


CONSOLE = """SeaBIOS
[    0.000000] Linux version 6.1
k3s-macvlan image: installing v1.36.4+k3s1
k3s-macvlan image: installing v1.36.4+k3s1, 10 s
"""


@pytest.mark.parametrize(
    ("console", "word"),
    [
        ("", ""),
        ("Linux version 6.1\n", ""),
        (CONSOLE, "installing v1.36.4+k3s1, 10 s"),
        (f"{CONSOLE}[   12.0] eth0: up\n", "installing v1.36.4+k3s1, 10 s"),
        (f"[   12.0] k3s-macvlan image: complete {FORMER}  \n", f"complete {FORMER}"),
    ],
)
def test_the_last_word(console: str, word: str) -> None:
    assert prepared_image.last_word(console) == word


def test_only_the_whole_last_word_makes_an_image() -> None:
    prepared_image._require_complete(f"{CONSOLE}k3s-macvlan image: complete {FORMER}\nreboot: Power down\n", FORMER)


@pytest.mark.parametrize(
    ("console", "words"),
    [
        (f"{CONSOLE}k3s-macvlan image: failed: no network\n", "installing v1.36.4+k3s1, 10 s; failed: no network"),
        (f"k3s-macvlan image: complete {NOW}\n", f"complete {NOW}"),
        (f"k3s-macvlan image: complete {FORMER}\nk3s-macvlan image: failed: late\n", "failed: late"),
        (f"k3s-macvlan image: complete {FORMER[:-1]}\n", "complete"),
        ("one\n\ntwo\nthree\nfour\n", "its script has not run. The end of its console: two | three | four"),
        ("", "its script has not run. The end of its console: nothing"),
    ],
)
def test_anything_else_is_a_failure_with_its_words(console: str, words: str) -> None:
    with pytest.raises(HypervisorError) as failed:
        prepared_image._require_complete(console, FORMER)
    assert "the machine that was to make it has ended without it" in str(failed.value) and words in str(failed.value)


# --- machines that are deleted


@pytest.mark.parametrize(("change", "made"), [({"machines": {"a": "1"}}, False), ({"machines": {"c": "3"}}, True)])
def test_nothing_is_made_when_machines_only_go(change: dict[str, Any], made: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def connect(uri: str) -> Any:
        done.append(uri)
        return nullcontext()

    monkeypatch.setattr(prepared_image, "connect", connect)
    monkeypatch.setattr(prepared_image, "_ensure", lambda *_: {"path": "/now", "backing_format": "qcow2", "prepared": True})
    old = {**checked({}, image()), "path": "/former", "backing_format": "raw", "prepared": False}
    outs = PROVIDER.update("id", old, checked(old, image(**change))).outs or {}
    assert (outs["path"], bool(done)) == (("/now", True) if made else ("/former", False))
    assert outs["machines"] == change["machines"]


# --- its machine


def test_a_machine_that_libvirt_stopped_for_its_disk_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    libvirt = pytest.importorskip("libvirt")
    stopped = [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR]
    domain = SimpleNamespace(isActive=lambda: 1, state=lambda: stopped)
    monkeypatch.setattr(prepared_image, "_console", lambda *_: "")
    spec = SimpleNamespace(node="prepared-0", disk_path="/images/prepared-0.qcow2")
    with pytest.raises(HypervisorError, match=r"prepared-0\.qcow2: the file system is full\?.*--remove"):
        prepared_image._watch(None, None, domain, spec, 60)  # type: ignore[arg-type]


@pytest.mark.parametrize("other", [{"digest": NOW}, {"pool_uuid": str(uuid.UUID(int=2 << 120))}])
def test_of_each_pool_there_may_be_one_at_once(other: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain_spec, "virt_type_used", lambda *_: "qemu")
    first, second = (
        prepared_image._machine(None, image(**{"pool_uuid": str(uuid.UUID(int=1)), **change}), seed="/s", log="/l")
        for change in ({}, other)
    )
    assert first.name != second.name and first.uuid != second.uuid


# --- made, or the base image in its place


class Connection:
    def __init__(self, alive: bool = True) -> None:
        self.alive = alive

    def isAlive(self) -> int:  # noqa: N802 - libvirt's own name
        return int(self.alive)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done, in place of doing it."""
    pytest.importorskip("libvirt")
    done: list[str] = []

    def alone(_connection: Any, name: str, **_limits: Any) -> Any:
        done.append(f"lock {name}")
        return nullcontext()

    monkeypatch.setattr(image_lock, "alone", alone)
    monkeypatch.setattr(pool_module, "ensure", lambda _connection, place: done.append(f"pool {place['path']}"))
    monkeypatch.setattr(volume_store, "pool_named", lambda *_names, **_fresh: None)
    monkeypatch.setattr(base_image, "ensure", lambda _connection, _pool, inputs: done.append(f"base {inputs['path']}"))
    monkeypatch.setattr(prepared_image, "_make", lambda *_arguments: done.append("make"))
    monkeypatch.setattr(prepared_image, "_is_there", lambda *_arguments: False)
    return done


def fails(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def make(*_arguments: Any) -> None:
        raise error

    monkeypatch.setattr(prepared_image, "_make", make)


PREPARED = {"path": f"/images/prepared-{FORMER}.qcow2", "backing_format": "qcow2", "prepared": True}
BASE = {"path": f"/images/base-{FORMER}.qcow2", "backing_format": "raw", "prepared": False}


def test_one_that_is_there_is_taken_without_the_lock(steps: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared_image, "_is_there", lambda *_arguments: True)
    assert prepared_image._ensure(Connection(), image()) == PREPARED and steps == []


def test_one_that_another_run_has_made_meanwhile_is_taken(steps: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared_image, "_is_there", lambda *_arguments: "lock images" in steps)
    assert prepared_image._ensure(Connection(), image()) == PREPARED and steps == ["lock images", "pool /images"]


def test_else_it_is_made_by_one_run_at_a_time(steps: list[str]) -> None:
    assert prepared_image._ensure(Connection(), image()) == PREPARED
    assert steps == ["lock images", "pool /images", f"base /images/base-{FORMER}.qcow2", "make"]


@pytest.mark.parametrize("by", ["machine", "libvirt"])
def test_where_it_cannot_be_made_the_base_image_is_used(
    by: str, steps: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    libvirt = pytest.importorskip("libvirt")
    fails(monkeypatch, HypervisorError("no room") if by == "machine" else libvirt.libvirtError("no room"))
    assert prepared_image._ensure(Connection(), image(format="raw")) == BASE
    assert "no prepared image: " in (said := capsys.readouterr().out) and "no room" in said and "image.prepare: auto" in said
    with pytest.raises((HypervisorError, libvirt.libvirtError), match="no room"):
        prepared_image._ensure(Connection(), image(required=True))


def test_a_lost_connection_is_no_reason_for_the_base_image(steps: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    libvirt = pytest.importorskip("libvirt")
    fails(monkeypatch, libvirt.libvirtError("End of file while reading data"))
    with pytest.raises(libvirt.libvirtError):
        prepared_image._ensure(Connection(alive=False), image())


# --- the base image below disks


class Pool:
    """A pool with these volumes: by name, what each is over."""

    def __init__(self, **over: str) -> None:
        self.over = over

    def listAllVolumes(self, _flags: int) -> list[Any]:  # noqa: N802 - libvirt's own name
        return [
            SimpleNamespace(XMLDesc=lambda _flags, name=name, below=below: volume(name, below)) for name, below in self.over.items()
        ]


def volume(name: str, below: str) -> str:
    if not below:
        return storage_xml.volume(name, 1, format="qcow2")
    return storage_xml.volume(name, 1, format="qcow2", backing_path=below, backing_format="qcow2")


@pytest.mark.parametrize(
    ("pool", "above"),
    [
        (Pool(base="", a="/p/base", b="/p/base", c="/p/other"), ["a", "b"]),
        (Pool(base="", a="/p/other"), []),
        (Pool(), []),
    ],
)
def test_a_base_image_that_disks_are_over_stays(
    pool: Pool, above: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("libvirt")
    removed: list[str] = []
    monkeypatch.setattr(volume_provider, "connect", lambda _uri: nullcontext(object()))
    monkeypatch.setattr(volume_store, "pool_to_clear", lambda _connection, _name: pool)
    monkeypatch.setattr(volume_store, "remove", lambda _pool, name: removed.append(name))
    BaseImageProvider().delete("id", {"uri": "u", "pool": "p", "name": "base", "path": "/p/base"})
    assert removed == ([] if above else ["base"])
    said = capsys.readouterr().out
    assert said == (f"image base stays while disks are over it: {', '.join(above)}\n" if above else "")


def test_of_a_pool_that_is_deleted_no_image_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume_provider, "connect", lambda _uri: nullcontext(object()))
    monkeypatch.setattr(volume_store, "pool_to_clear", lambda _connection, _name: None)
    BaseImageProvider().delete("id", {"uri": "u", "pool": "p", "name": "base", "path": "/p/base"})


# --- the pool of images


def of_stack(project: str, stack: str, directory: str, hypervisor: str = "local") -> pool_plan.PoolPlan:
    return pool_plan.main_pool(project, stack, hypervisor, uri="qemu:///system", directory=directory)


def test_stacks_with_the_same_directory_have_one_pool_of_images() -> None:
    usual = "/var/lib/libvirt/images"
    one = pool_plan.image_pool(of_stack("k3s-macvlan", "dev", usual))
    for other in (of_stack("k3s-macvlan", "prod", usual), of_stack("mine", "dev", f"{usual}/", "far")):
        pool = pool_plan.image_pool(other)
        assert (pool.name, pool.uuid, pool.path, pool.hypervisor) == (one.name, one.uuid, one.path, other.hypervisor)
    assert one.path == f"{usual}/{one.name}"


def test_another_directory_is_another_pool() -> None:
    pools = [
        pool_plan.image_pool(of_stack("p", "dev", directory))
        for directory in ("/var/lib/libvirt/images", "/srv/vms", "/srv/others")
    ]
    for name in ("name", "uuid", "path"):
        assert len({getattr(pool, name) for pool in pools}) == 3
    assert pools[1].path.startswith("/srv/vms/")


@pytest.mark.parametrize("directory", ["/var/lib/libvirt/images", "/srv/vms"])
def test_no_stack_s_pool_has_the_name_of_the_images(directory: str) -> None:
    """A stack's pool is PROJECT-STACK, and what bears a stack's mark, project/stack, is deleted with its pool."""
    name = pool_plan.image_pool(of_stack("p", "dev", directory)).name
    assert "-" not in name and name != of_stack("k3s-macvlan", "images", directory).name
    assert "/" not in prepared_image.OWNER
