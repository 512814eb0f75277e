"""The prepared image on a real libvirtd. Its machine is a boot sector that says what image-prepare.sh would say."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components.libvirt import base_image, domain_spec, image_lock, prepared_image, volume_store
from components.libvirt import pool as pool_of_images
from components.libvirt.connection import HypervisorError, connect
from components.libvirt.domain import DomainProvider
from components.libvirt.overlay_disk import OverlayDiskProvider
from components.libvirt.pool import StoragePoolProvider
from components.libvirt.prepared_image import OWNER, PreparedImageProvider
from components.libvirt.seed_image import SeedImageProvider

from .boot_sector import boot_sector
from .resource_inputs import domain_inputs, overlay_inputs, seed_inputs
from .sandbox import NETWORK, Sandbox

pytestmark = [pytest.mark.provider, pytest.mark.timeout(300)]

PROVIDER = PreparedImageProvider()
BASE = "base.raw"


class Images:
    """The pool of images, and what is wanted in it."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.pool, self.folder = sandbox, folder
        self.digest = hashlib.sha256(sandbox.name.encode()).hexdigest()[:20]
        self.name = f"prepared-{self.digest}.qcow2"

    def inputs(self, said: str | None = None, *, hangs: bool = False, **changes: Any) -> dict[str, Any]:
        """said: what the machine writes; by default that it is complete."""
        text = f"k3s-macvlan image: {said or f'complete {self.digest}'}\n"
        source = self.folder / hashlib.sha256(text.encode()).hexdigest()[:8]
        source.write_bytes(boot_sector(text, hangs=hangs))
        return {
            "uri": self.pool.uri, "pool": self.pool.name, "pool_uuid": self.pool.uuid, "pool_path": self.pool.path,
            "digest": self.digest, "name": self.name, "base": BASE, "source": str(source),
            "checksum": "sha256:" + hashlib.sha256(source.read_bytes()).hexdigest(), "format": "raw", "firmware": None,
            "secure_boot": None, "disks": [], "capacity": 8 << 20, "user_data": "#cloud-config\n", "machines": {"a": "1"},
            "required": True, "memory_mib": 64,
            "cpus": 1, "network": NETWORK, "bridge": None, "nic_port": None, "interface": "enp1s0",
            "mtu": None, "extra_disks": [], "virt_type": "qemu",
            "cpu_mode": "auto", "cpu_model": "", "machine": "q35", "limit": 60, **changes,
        }  # fmt: skip

    def create(self, *arguments: Any, **changes: Any) -> dict[str, Any]:
        return dict(PROVIDER.create(self.inputs(*arguments, **changes)).outs or {})

    @property
    def path(self) -> Path:
        return Path(self.pool.file(self.name))

    @property
    def domain(self) -> str:
        return f"k3s-macvlan-image-{self.digest[:12]}-{self.pool.uuid[:8]}"

    def files(self) -> set[str]:
        return {path.name for path in Path(self.pool.path).iterdir()} if Path(self.pool.path).exists() else set()

    def whole(self) -> set[str]:
        return {f"{name}{mark}" for name in (self.name, BASE) for mark in ("", ".owned", ".verified")}

    def domains(self) -> set[str]:
        with self.pool.libvirt() as conn:
            names = {domain.name() for domain in conn.listAllDomains(0)}
        return names & {self.domain, image_lock.name(self.pool.name)}

    def owners(self) -> set[str]:
        with self.pool.libvirt() as conn:
            return {domain.name() for domain in conn.listAllDomains(0) if OWNER in domain.XMLDesc(0)}

    def leases(self) -> list[Any]:
        with self.pool.libvirt() as conn:
            return list(conn.networkLookupByName(NETWORK).DHCPLeases())


@pytest.fixture
def images(sandbox: Sandbox, tmp_path: Path) -> Iterator[Images]:
    yield Images(sandbox, tmp_path)


def child(action: Callable[[], object]) -> int:
    """`action` in a process of its own. Returns its ID."""
    process = os.fork()
    if process == 0:
        status = 1
        with contextlib.suppress(BaseException):
            action()
            status = 0
        os._exit(status)
    return process


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_it_is_made_once_and_nothing_else_is_left(images: Images) -> None:
    made = images.create()
    assert (made["path"], made["backing_format"], made["prepared"]) == (str(images.path), "qcow2", True)
    assert images.files() == images.whole()
    assert images.domains() == set() and images.leases() == []
    before = images.path.stat()
    again = images.create()
    assert again == made
    assert (images.path.stat().st_ino, images.path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    read = PROVIDER.read("id", dict(made))
    assert (read.id, read.outs) == ("id", made)
    assert not PROVIDER.diff("id", made, PROVIDER.check(made, images.inputs()).inputs).changes


def test_another_stack_takes_it_whatever_it_would_make(images: Images) -> None:
    made = images.create()
    other = images.create("failed: never asked", machines={"b": "2"}, source="/nowhere", limit=1)
    assert (other["path"], other["prepared"]) == (made["path"], True)


def test_a_half_one_is_made_again(images: Images) -> None:
    images.create()
    Path(f"{images.path}.verified").unlink()
    images.path.write_bytes(b"half")
    with images.pool.libvirt() as conn:
        conn.storagePoolLookupByName(images.pool.name).refresh(0)
    assert images.create()["prepared"] is True
    assert images.path.read_bytes()[:4] == b"QFI\xfb" and images.files() == images.whole()


@pytest.mark.parametrize("lost", ["mark", "file"])
def test_nothing_is_made_below_disks(images: Images, lost: str) -> None:
    """Each time it is made it is another file system, which would destroy what disks of any stack have over it."""
    made = images.create()
    stack = Sandbox(images.pool.uri)
    StoragePoolProvider().create(stack.pool())
    disk = OverlayDiskProvider().create(overlay_inputs(stack, {"path": made["path"], "format": made["backing_format"]})).outs or {}
    Path(f"{images.path}.verified").unlink()
    if lost == "file":
        images.path.unlink()
    with images.pool.libvirt() as conn:
        conn.storagePoolLookupByName(images.pool.name).refresh(0)
    before = images.path.stat() if images.path.exists() else None
    with pytest.raises(HypervisorError, match=f"disks are over it that another image in its place would destroy: {disk['path']}"):
        images.create()
    assert (images.path.stat() if images.path.exists() else None) == before
    assert images.create(required=False)["path"] == images.pool.file(BASE)


def test_a_base_image_of_no_fixed_digest_is_not_fetched_again_below_disks(images: Images) -> None:
    inputs = images.inputs()
    sums = images.folder / "SHA256SUMS"
    sums.write_text(f"{inputs['checksum'].removeprefix('sha256:')}  {Path(inputs['source']).name}\n")
    images.create(checksum=f"file://{sums}")
    for name in (BASE, images.name):
        Path(images.pool.file(f"{name}.verified")).unlink()
    with images.pool.libvirt() as conn:
        conn.storagePoolLookupByName(images.pool.name).refresh(0)
    with pytest.raises(HypervisorError, match=f"{BASE} is not there as it was fetched, and disks are over it .*{images.name}"):
        images.create(checksum=f"file://{sums}", required=False)


FAILURES = [
    ("failed: no network", {}, "has ended without it: failed: no network"),
    ("complete 00000000000000000000", {}, "has ended without it: complete 0000"),
    ("installing", {"hangs": True, "limit": 5}, "has not ended after 5 s; it says: installing"),
]


@pytest.mark.parametrize(("said", "changes", "words"), FAILURES, ids=["failed", "another", "hangs"])
def test_a_failure_is_an_error_where_it_is_required(images: Images, said: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(HypervisorError) as failed:
        images.create(said, **changes)
    assert words in str(failed.value)
    assert images.files() == {BASE, f"{BASE}.owned", f"{BASE}.verified"} and images.domains() == set()


@pytest.mark.parametrize(("said", "changes", "words"), FAILURES, ids=["failed", "another", "hangs"])
def test_else_the_base_image_is_used_and_that_is_said(
    images: Images, capsys: pytest.CaptureFixture[str], said: str, changes: dict[str, Any], words: str
) -> None:
    made = images.create(said, **{**changes, "required": False})
    assert (made["path"], made["backing_format"], made["prepared"]) == (images.pool.file(BASE), "raw", False)
    assert "no prepared image: " in (output := capsys.readouterr().out) and words in output
    assert PROVIDER.read("id", dict(made)).id == "id"


def test_what_libvirt_refuses_is_no_reason_to_stop_either(images: Images, capsys: pytest.CaptureFixture[str]) -> None:
    made = images.create(network="lab-test-nowhere", required=False)
    assert made["prepared"] is False and "lab-test-nowhere" in capsys.readouterr().out
    with pytest.raises(HypervisorError, match="lab-test-nowhere"):
        images.create(network="lab-test-nowhere")


def test_a_run_that_is_killed_leaves_no_machine_and_the_next_makes_it(images: Images) -> None:
    process = child(lambda: images.create("installing", hangs=True))
    until(lambda: images.domain in images.domains())
    assert images.domain in images.owners()
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    until(lambda: images.domains() == set())
    Path(images.pool.file(f"{BASE}.verified")).unlink()  # the sector of the next run is another
    with images.pool.libvirt() as conn:
        conn.storagePoolLookupByName(images.pool.name).refresh(0)
    assert images.create()["prepared"] is True
    assert images.files() == images.whole()


def test_a_machine_that_has_outlived_its_run_is_ended(images: Images) -> None:
    """libvirt ends lock and machine of a run one after another, and neither where its daemon was killed."""
    inputs = images.inputs("installing", hangs=True, limit=5)
    with connect(images.pool.uri) as conn:
        pool_of_images.ensure(conn, images.pool.pool())
        volumes = volume_store.pool_named(conn, images.pool.name)
        base_image.ensure(conn, volumes, {**inputs, "name": BASE, "path": images.pool.file(BASE)})
        spec = prepared_image._machine(conn, inputs, seed=images.pool.file("none.iso"), log=images.pool.file("former.log"))
        for file in (images.pool.file("none.iso"), images.pool.file("former.raw")):
            Path(file).write_bytes(Path(inputs["source"]).read_bytes())
        document = domain_spec.domain(spec).replace(images.pool.file(images.name), images.pool.file("former.raw"))
        number = conn.createXML(document.replace("qcow2", "raw"), 0).ID()
    with images.pool.libvirt() as conn:
        assert conn.lookupByID(number).name() == images.domain
    Path(images.pool.file(f"{BASE}.verified")).unlink()  # the sector of the next run is another
    assert images.create()["prepared"] is True
    assert images.domains() == set()


@pytest.mark.parametrize("below", [BASE, "base-other.raw", None])
def test_a_base_image_that_cannot_be_had_any_more_is_that_of_the_disks(
    images: Images, capsys: pytest.CaptureFixture[str], below: str | None
) -> None:
    """Of a stack from before prepared images, whose source has removed the file since. Any of its disks may be replaced in the same
    run, so nothing else is an image that they can be made from."""
    stack = Sandbox(images.pool.uri)
    StoragePoolProvider().create(stack.pool())
    disks = [stack.file(name) for name in ("server-1.qcow2", "agent-1.qcow2")]
    if below:
        subprocess.run(["qemu-img", "create", "-f", "raw", stack.file(below), "1M"], check=True, capture_output=True)
        for disk in disks:
            over = ["qemu-img", "create", "-f", "qcow2", "-b", stack.file(below), "-F", "raw", disk]
            subprocess.run(over, check=True, capture_output=True)
        with stack.libvirt() as conn:
            conn.storagePoolLookupByName(stack.name).refresh(0)
    inputs = images.inputs(disks=disks, required=False)
    Path(inputs["source"]).unlink()
    former = {**inputs, "machines": {"a": "0"}, "path": "", "backing_format": "raw", "prepared": False}
    if below != BASE:
        for run in (lambda: PROVIDER.create(inputs), lambda: PROVIDER.update("id", former, inputs)):
            with pytest.raises(HypervisorError):
                run()
        return
    for made in (PROVIDER.create(inputs).outs or {}, PROVIDER.update("id", former, inputs).outs or {}):
        assert (made["path"], made["backing_format"], made["prepared"]) == (stack.file(BASE), "raw", False)
    assert f"The machines are made from the image as it is, {stack.file(BASE)}" in capsys.readouterr().out
    with pytest.raises(HypervisorError):
        PROVIDER.create({**inputs, "required": True})


def test_of_two_runs_one_makes_it(images: Images) -> None:
    """Also the pool and the base image, which both want."""
    processes = [child(images.create), child(images.create)]
    assert [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes] == [0, 0]
    assert images.files() == images.whole() and images.domains() == set()


def test_a_run_waits_for_the_other_and_says_who_it_is(images: Images) -> None:
    with connect(images.pool.uri) as other:
        with image_lock.alone(other, images.pool.name, virt_type="qemu", limit=5):
            assert images.domains() == {image_lock.name(images.pool.name)}
            with pytest.raises(HypervisorError, match=f"another run has been at the images in pool {images.pool.name} for 2 s"):
                images.create(limit=2)
        assert images.domains() == set()
    assert images.create()["prepared"] is True


def test_a_lock_ends_with_its_process(images: Images) -> None:
    def hold() -> None:
        with connect(images.pool.uri) as conn, image_lock.alone(conn, images.pool.name, virt_type="qemu", limit=5):
            time.sleep(60)

    process = child(hold)
    until(lambda: images.domains() == {image_lock.name(images.pool.name)})
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    until(lambda: images.domains() == set())


def test_a_disk_over_it_boots_and_keeps_it(images: Images) -> None:
    """In a pool of its stack's own, as every disk of a node."""
    made = images.create()
    stack = Sandbox(images.pool.uri)
    StoragePoolProvider().create(stack.pool())
    over = {"path": made["path"], "format": made["backing_format"]}
    OverlayDiskProvider().create(overlay_inputs(stack, over))
    SeedImageProvider().create(seed_inputs(stack))
    state = dict(DomainProvider().create(domain_inputs(stack)).outs or {})
    log = Path(state["console_log"])
    until(lambda: log.exists() and f"complete {images.digest}" in log.read_text(errors="replace"))
    PROVIDER.delete("id", made)
    assert images.path.exists()
    DomainProvider().delete("id", state)


def test_deleting_the_resource_leaves_the_image(images: Images) -> None:
    made = images.create()
    PROVIDER.delete("id", made)
    assert images.files() == images.whole()
    with connect(images.pool.uri) as conn:
        pool = volume_store.pool_named(conn, images.pool.name)
        volume_store.remove(pool, images.name)
    assert PROVIDER.read("id", made).id == "", "the next `up` makes it again"
