"""The pool that is deleted with what is in it: never forgotten while that may still be there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from components.libvirt import pool as pool_module
from components.libvirt.connection import HypervisorError
from components.libvirt.pool import StoragePoolProvider

libvirt = pytest.importorskip("libvirt")
pytestmark = pytest.mark.unit

STATE = {"uri": "qemu:///system", "name": "k3s-macvlan-dev", "uuid": "u", "path": "/images/dev", "owner": "k3s-macvlan/dev"}


class Stopped:
    """A pool that does not start. reason: why libvirt does not remove its directory."""

    def __init__(self, reason: str) -> None:
        self.reason, self.undefined = reason, False

    def isActive(self) -> bool:  # noqa: N802 - libvirt's name
        return False

    def create(self, _flags: int) -> None:
        raise libvirt.libvirtError("cannot open path")

    def delete(self, _flags: int) -> None:
        if self.reason:
            raise libvirt.libvirtError(self.reason)

    def undefine(self) -> None:
        self.undefined = True


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> list[Stopped]:
    """A hypervisor with the pool that is put in the list."""
    pools: list[Stopped] = []

    class Connection:
        def storagePoolLookupByUUIDString(self, _uuid: str) -> Any:  # noqa: N802
            return pools[0]

    @contextlib.contextmanager
    def connect(_uri: str) -> Iterator[Connection]:
        yield Connection()

    monkeypatch.setattr(pool_module, "connect", connect)
    return pools


def test_one_that_does_not_start_is_kept_while_its_directory_holds_files(host: list[Stopped]) -> None:
    host.append(Stopped("failed to remove pool '/images/dev': Directory not empty"))
    with pytest.raises(HypervisorError, match=r"does not start, and its directory /images/dev is not empty.*virsh pool-start"):
        StoragePoolProvider().delete("id", dict(STATE))
    assert not host[0].undefined


@pytest.mark.parametrize("reason", ["", "failed to remove pool '/images/dev': No such file or directory"])
def test_one_whose_directory_is_deleted_is_removed(host: list[Stopped], reason: str) -> None:
    host.append(Stopped(reason))
    StoragePoolProvider().delete("id", dict(STATE))
    assert host[0].undefined


MOVED: list[dict[str, str]] = [{"path": "/images/other"}, {"name": "other"}, {"uri": "qemu+ssh://me@other/system"}]


@pytest.mark.parametrize("change", MOVED, ids=lambda change: next(iter(change)))
def test_a_pool_with_data_disks_does_not_move(change: dict[str, str]) -> None:
    """The engine deletes its disks with it, and checks them as new ones."""
    disks = {"data_disks": ["server-1-data.qcow2"]}
    ((failure),) = StoragePoolProvider().check(STATE, {**STATE, **change, **disks}).failures
    assert "/images/dev on qemu:///system has the data disks server-1-data.qcow2" in failure.reason
    assert StoragePoolProvider().check(STATE, {**STATE, **change, "data_disks": []}).failures == []
    assert StoragePoolProvider().check({}, {**STATE, **change, **disks}).failures == []


def test_a_pool_with_data_disks_is_reached_in_another_way_and_gets_more_of_them() -> None:
    old = {**STATE, "uri": "qemu+ssh://me@host/system", "data_disks": ["a.qcow2"]}
    new = {**old, "uri": "qemu+ssh://me@host/system?keyfile=/k", "data_disks": ["a.qcow2", "b.qcow2"]}
    assert StoragePoolProvider().check(old, new).failures == []
    result = StoragePoolProvider().diff("id", old, {**old, "data_disks": new["data_disks"]})
    assert not result.changes
