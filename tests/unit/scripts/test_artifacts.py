"""artifacts.sh."""

import hashlib
import io
import json
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from components.node.scripts import artifact_files

from .fake_node import AGENT, Node

pytestmark = pytest.mark.unit


class Disk:
    """Files for the nodes, and the read-only device that holds them."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.files = {"k3s": b"binary" * 100_000, "install.sh": b"#!/bin/sh\n", "nginx.tar": b"layers" * 1000}
        self.entries = [
            {"images": name.endswith(".tar"), "name": name, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            for name, data in self.files.items()
        ]
        self.index = json.dumps({"files": self.entries})
        self.digest = hashlib.sha256(self.index.encode()).hexdigest()[:20]
        node.file("sys/block/vda/ro", "0\n")
        node.file("sys/block/vdb/ro", "1\n")
        node.file("dev/vdb", "seed" * 1000)
        self.write(self.files)

    def write(self, files: dict[str, bytes], name: str = "vdc") -> None:
        whole = io.BytesIO()
        with tarfile.open(fileobj=whole, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for member, data in {f"k3s-macvlan-artifacts-{self.digest}.json": self.index.encode(), **files}.items():
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        self.node.file(f"sys/block/{name}/ro", "1\n")
        self.node.file(f"dev/{name}", whole.getvalue())

    def run(self, **env: str) -> subprocess.CompletedProcess[str]:
        return self.node.run("artifacts", **{"DIGEST": self.digest, "LIMIT_SECONDS": "20", **env})

    def path(self, name: str) -> Path:
        images = self.node.root / AGENT / "images"
        own = self.node.root / "var/lib/k3s-macvlan/artifacts" / self.digest
        return images / f"k3s-macvlan-{name}" if name.endswith(".tar") else own / name


@pytest.fixture
def shelf(node: Node) -> Disk:
    return Disk(node)


def test_artifacts_come_from_the_disk_once(shelf: Disk) -> None:
    done = shelf.run()
    assert done.returncode == 0 and done.stdout.startswith("files=3 copied="), done.stderr
    for name, data in shelf.files.items():
        assert shelf.path(name).read_bytes() == data
    assert shelf.path("k3s").stat().st_mode & 0o777 == 0o755
    shelf.node.file("dev/vdc", "gone")
    done = shelf.run()
    assert done.returncode == 0 and "copied=0 " in done.stdout, "what is there needs no disk"


def test_artifacts_of_before_are_deleted_and_the_user_s_images_stay(shelf: Disk) -> None:
    old = shelf.node.file("var/lib/k3s-macvlan/artifacts/0123456789/k3s", "old")
    archive = shelf.node.file(f"{AGENT}/images/k3s-macvlan-old.tar", "old")
    own = shelf.node.file(f"{AGENT}/images/mine.tar", "mine")
    assert shelf.run().returncode == 0
    assert not old.exists() and not archive.exists() and own.exists()


def test_artifacts_that_were_changed_or_cut_off_are_copied_again(shelf: Disk) -> None:
    shelf.run()
    shelf.path("k3s").write_bytes(b"changed")
    shelf.path("nginx.tar").unlink()
    done = shelf.run()
    assert done.returncode == 0 and shelf.path("k3s").read_bytes() == shelf.files["k3s"] and shelf.path("nginx.tar").exists()


def test_artifacts_time_follows_from_the_content(shelf: Disk) -> None:
    shelf.run()
    before = shelf.path("nginx.tar").stat().st_mtime
    shelf.path("nginx.tar").unlink()
    shelf.run()
    assert shelf.path("nginx.tar").stat().st_mtime == before < time.time() - 86400


def test_artifacts_that_are_damaged(shelf: Disk) -> None:
    shelf.write({**shelf.files, "k3s": b"damage" * 100_000})
    done = shelf.run()
    assert done.returncode == 1 and "k3s on the disk is damaged" in done.stderr
    assert not shelf.path("k3s").exists() and not list(shelf.path("k3s").parent.glob("*.new"))


def test_artifacts_without_their_disk(shelf: Disk) -> None:
    shelf.node.file("dev/vdc", "another" * 1000)
    done = shelf.run()
    assert done.returncode == 1 and f"no disk with the artifacts {shelf.digest} (read-only disks: vdb, vdc)" in done.stderr
    (shelf.node.root / "sys/block/vdc/ro").write_text("0\n")
    assert "read-only disks: vdb)" in shelf.run().stderr


def test_artifacts_refuse_what_is_no_digest(shelf: Disk) -> None:
    assert shelf.run(DIGEST="../../etc").returncode == 1


# --- artifact_files.py


def artifacts(shelf: Disk, digest: str = "", limit: int = 20) -> artifact_files.Artifacts:
    return artifact_files.Artifacts(str(shelf.node.root), digest or shelf.digest, artifact_files.Progress(limit))


def test_the_disk_is_found_by_the_name_of_its_first_member(shelf: Disk) -> None:
    assert artifacts(shelf).disk() == str(shelf.node.root / "dev/vdc")
    with pytest.raises(
        SystemExit, match=r"^artifacts: no disk with the artifacts 00 \(read-only disks: vdb, vdc\): run pulumi refresh"
    ):
        artifacts(shelf, "00").disk()


def test_what_was_copied_before_counts_only_as_a_whole(shelf: Disk) -> None:
    disk = artifacts(shelf)
    assert disk.copied_before() == []
    assert disk.copy_all() == (shelf.entries, sum(map(len, shelf.files.values())))
    assert disk.copied_before() == shelf.entries
    assert disk.copy_all() == (shelf.entries, 0)
    shelf.path("k3s").unlink()
    assert disk.copied_before() == []
    assert disk.copy_all() == (shelf.entries, len(shelf.files["k3s"]))


def test_a_copy_that_takes_longer_than_its_limit_ends(shelf: Disk) -> None:
    with pytest.raises(SystemExit, match=r"^artifacts: not all copied within -1 s: copying k3s, 0 of 0 MiB\. Raise timeouts\.k3s$"):
        artifacts(shelf, limit=-1).copy_all()
