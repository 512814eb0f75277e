"""The images that stacks share, on a real libvirtd: which there are, what is over them, what is deleted, and one as a file."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.libvirt import image_lock, image_store, pool, storage_xml, volume_store
from components.libvirt.connection import HypervisorError
from components.libvirt.domain import DomainProvider
from components.libvirt.overlay_disk import OverlayDiskProvider
from components.libvirt.pool import StoragePoolProvider

from .resource_inputs import domain_inputs, overlay_inputs
from .sandbox import Sandbox

pytestmark = pytest.mark.provider

BASE, PREPARED, UNFINISHED = "base-1.qcow2", "prepared-1.qcow2", "prepared-2.qcow2"
SIZE = 8 << 20


@pytest.fixture
def store(sandbox: Sandbox) -> Iterator[Sandbox]:
    """A pool of images: one prepared over a base image, and one that was not made to its end."""
    images = Sandbox(sandbox.uri)
    with images.libvirt() as connection:
        pool.ensure(connection, images.pool())
        volumes = volume_store.pool_named(connection, images.name)
        for name, below in ((BASE, None), (PREPARED, BASE), (UNFINISHED, BASE)):
            with volume_store.created(volumes, name):
                backing = images.file(below) if below else None
                volumes.createXML(storage_xml.volume(name, SIZE, format="qcow2", backing_path=backing), 0)
                if name != UNFINISHED:
                    volume_store.verify(connection, volumes, name, {"digest": "1"})
    yield images
    images.clean()


@pytest.fixture
def machine(sandbox: Sandbox, store: Sandbox) -> dict[str, Any]:
    """Inputs of a machine of a stack, whose disk is over the prepared image."""
    StoragePoolProvider().create(sandbox.pool())
    over = {"path": store.file(PREPARED), "format": "qcow2"}
    OverlayDiskProvider().create(overlay_inputs(sandbox, over))
    inputs = domain_inputs(sandbox)
    Path(inputs["seed_path"]).touch()
    return inputs


def names(store: Sandbox) -> list[str]:
    with store.libvirt() as connection:
        return [image.name for image in image_store.images(connection, store.name)]


def removed(store: Sandbox) -> list[str]:
    with store.libvirt() as connection:
        return image_store.remove_unused(connection, store.name, store.path, lambda _text: None, virt_type="qemu")


def test_images_are_listed_with_what_is_over_them(sandbox: Sandbox, store: Sandbox, machine: dict[str, Any]) -> None:
    with store.libvirt() as connection:
        found = {image.name: image for image in image_store.images(connection, store.name)}
    assert list(found) == [PREPARED, UNFINISHED, BASE]
    assert found[PREPARED].over == (machine["disk_path"],)
    assert found[BASE].over == (store.file(PREPARED), store.file(UNFINISHED))
    assert (found[PREPARED].whole, found[UNFINISHED].whole) == (True, False)


def test_of_a_pool_that_is_not_there_there_is_none(sandbox: Sandbox) -> None:
    assert names(sandbox) == []


def test_what_a_disk_is_over_stays_and_the_rest_is_deleted(store: Sandbox, machine: dict[str, Any]) -> None:
    assert removed(store) == [UNFINISHED]
    assert names(store) == [PREPARED, BASE]


def test_the_last_image_takes_the_base_image_and_the_pool_with_it(store: Sandbox) -> None:
    assert set(removed(store)) == {UNFINISHED, PREPARED, BASE}
    assert not Path(store.path).exists()
    with store.libvirt() as connection:
        assert store.name not in [each.name() for each in connection.listAllStoragePools(0)]


def test_what_a_run_that_was_killed_has_left_is_removed_too(store: Sandbox) -> None:
    stem = f"prepared-{'0' * 20}"
    for left in (f"{stem}-console.log", f"{stem}-console.log.0", f"{stem}-nvram.fd", f"{stem}.qcow2.owned", "base-2.qcow2.owned"):
        Path(store.file(left)).touch()
    removed(store)
    assert not Path(store.path).exists()


def test_by_another_spelling_of_the_directory_a_disk_keeps_its_images_too(
    sandbox: Sandbox, store: Sandbox, machine: dict[str, Any], tmp_path: Path
) -> None:
    """As where /var/lib/libvirt/images is a link for one stack, and the other names what it leads to."""
    link = tmp_path / "link"
    link.symlink_to(store.path)
    for name, below in ((PREPARED, BASE), (Path(machine["disk_path"]).name, PREPARED)):
        path = machine["disk_path"] if name != PREPARED else store.file(name)
        rebase = ["qemu-img", "rebase", "-u", "-F", "qcow2", "-b", str(link / below), path]
        subprocess.run(rebase, check=True, capture_output=True)
    removed(store)
    assert names(store) == [PREPARED, BASE]


def test_a_file_of_others_keeps_the_pool(store: Sandbox) -> None:
    Path(store.file("notes")).touch()
    removed(store)
    assert Path(store.file("notes")).exists()
    assert not Path(store.file(BASE)).exists()


def test_nothing_is_deleted_while_the_disk_of_a_machine_cannot_be_seen(
    sandbox: Sandbox, store: Sandbox, machine: dict[str, Any]
) -> None:
    DomainProvider().create(machine)
    with sandbox.libvirt() as connection:
        connection.storagePoolLookupByName(sandbox.name).destroy()
    with pytest.raises(HypervisorError, match=machine["disk_path"]):
        removed(store)
    assert names(store) == [PREPARED, UNFINISHED, BASE]


def test_an_exported_image_needs_no_other_and_has_the_content(store: Sandbox, tmp_path: Path) -> None:
    subprocess.run(["qemu-io", "-c", "write -P 7 0 64k", store.file(BASE)], check=True, capture_output=True)
    subprocess.run(["qemu-io", "-c", "write -P 9 128k 64k", store.file(PREPARED)], check=True, capture_output=True)
    file = io.BytesIO()
    said: list[int] = []
    with store.libvirt() as connection:
        digest = image_store.export(connection, store.name, PREPARED, file, said.append, virt_type="qemu", limit=5)
    assert digest == hashlib.sha256(file.getvalue()).hexdigest()
    assert said[-1] == len(file.getvalue())
    exported = tmp_path / "exported.qcow2"
    exported.write_bytes(file.getvalue())
    about = json.loads(subprocess.run(["qemu-img", "info", "--output=json", exported], check=True, capture_output=True).stdout)
    assert (about["format"], about["virtual-size"], about.get("backing-filename")) == ("qcow2", SIZE, None)
    for pattern, offset in ((7, 0), (9, 128 << 10)):
        read = subprocess.run(
            ["qemu-io", "-r", "-c", f"read -P {pattern} {offset} 64k", exported], check=True, capture_output=True, text=True
        )
        assert "Pattern verification failed" not in read.stdout
    assert names(store) == [PREPARED, UNFINISHED, BASE]


def test_what_was_not_made_to_its_end_is_not_exported(store: Sandbox) -> None:
    with store.libvirt() as connection, pytest.raises(HypervisorError, match=r"\./lab image makes it"):
        image_store.export(connection, store.name, UNFINISHED, io.BytesIO(), lambda _size: None, virt_type="qemu", limit=5)


def test_nothing_is_exported_while_another_run_is_at_the_images(store: Sandbox) -> None:
    """It might delete the copy, which nothing is over, and the image under it."""
    with (
        store.libvirt() as other,
        store.libvirt() as connection,
        image_lock.alone(other, store.name, virt_type="qemu", limit=5),
        pytest.raises(HypervisorError, match="another run has been at the images"),
    ):
        image_store.export(connection, store.name, PREPARED, io.BytesIO(), lambda _size: None, virt_type="qemu", limit=1)
