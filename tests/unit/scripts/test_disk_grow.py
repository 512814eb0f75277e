"""disk-grow.sh."""

import shutil

import pytest

from .fake_node import Node
from .test_packages import of

pytestmark = pytest.mark.unit


def disk(node: Node, source: str, kind: str, growpart: str) -> None:
    node.command("findmnt", f"#!/bin/sh\necho '{source} {kind}'\n")
    node.command("growpart", f'#!/bin/bash\necho "growpart $*" >> "$STUB/disk.log"\n{growpart}\n')
    for name in ("resize2fs", "xfs_growfs"):
        node.command(name, f'#!/bin/sh\necho "{name} $*" >> "$STUB/disk.log"\n')
    node.file("sys/devices/virtio/block/vda/vda1/partition", "1\n")
    node.file("sys/devices/virtio/block/vda/vda1/size", "1000\n")
    (node.root / "sys/class/block").mkdir(parents=True)
    (node.root / "sys/class/block/vda1").symlink_to("../../devices/virtio/block/vda/vda1")


@pytest.mark.parametrize(("kind", "resize"), [("ext4", "resize2fs /dev/vda1"), ("xfs", "xfs_growfs /")])
def test_disk_grows(node: Node, kind: str, resize: str) -> None:
    disk(node, "/dev/vda1", kind, 'echo 2000 > "$ROOT/sys/class/block/vda1/size"')
    done = node.run("disk-grow")
    assert (done.returncode, done.stdout) == (0, "device=/dev/vda1 bytes=1024000 grown=true\n"), done.stderr
    assert (node.stub / "disk.log").read_text().splitlines() == ["growpart /dev/vda 1", resize]


def test_disk_has_grown_before(node: Node) -> None:
    disk(node, "/dev/vda1", "ext4", 'echo "NOCHANGE: partition 1 is size 1000"; exit 1')
    assert node.run("disk-grow").stdout == "device=/dev/vda1 bytes=512000 grown=false\n"


@pytest.mark.parametrize(
    ("source", "kind", "text"),
    [("/dev/vda1", "zfs", "zfs"), ("overlay", "overlay", "cannot find"), ("/dev/vda1", "ext4", "FAILED: no room")],
)
def test_disk_cannot_grow(node: Node, source: str, kind: str, text: str) -> None:
    disk(node, source, kind, 'echo "FAILED: no room" >&2; exit 2' if kind == "ext4" else ":")
    done = node.run("disk-grow")
    assert done.returncode == 1 and text in done.stderr


@pytest.mark.parametrize(
    ("missing", "kind", "release", "package"),
    [
        ("growpart", "ext4", "debian-13", "cloud-guest-utils"),
        ("growpart", "xfs", "almalinux-10", "cloud-utils-growpart"),
        ("growpart", "btrfs", "opensuse-leap-16.0", "growpart"),
        ("btrfs", "btrfs", "opensuse-leap-16.0", "btrfsprogs"),
        ("xfs_growfs", "xfs", "rocky-9", "xfsprogs"),
    ],
)
def test_what_is_missing_is_named_with_its_package(node: Node, missing: str, kind: str, release: str, package: str) -> None:
    of(node, release)
    disk(node, "/dev/vda1", kind, "exit 0")
    node.command("btrfs", "#!/bin/sh\n")
    (node.bin / missing).unlink()
    path = node.bin / "only"
    path.mkdir()
    for name in ("bash", "readlink", "tail", "cat", "sleep"):
        (path / name).symlink_to(shutil.which(name) or "")
    if shutil.which(missing, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin"):
        pytest.skip(f"SKIPPED: this machine has {missing} where every script looks for it")
    done = node.run("disk-grow", PATH=f"{node.bin}:{path}")
    assert done.returncode == 1 and f"{missing} is missing: install {package} in the image or by cloudInit.packages" in done.stderr
