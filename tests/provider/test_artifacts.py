"""The disk with artifacts on a real libvirtd: its bytes, what changes it, and files that are not what they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.libvirt import artifact_disk
from components.libvirt.artifact_disk import ArtifactDiskProvider
from components.libvirt.connection import HypervisorError
from components.libvirt.pool import StoragePoolProvider

from .resource_inputs import artifact_inputs
from .sandbox import Sandbox

pytestmark = pytest.mark.provider


def test_the_volume_is_the_archive_to_the_byte(sandbox: Sandbox, tmp_path: Path) -> None:
    StoragePoolProvider().create(sandbox.pool())
    inputs = artifact_inputs(sandbox, tmp_path)
    ArtifactDiskProvider().create(dict(inputs))
    whole = b"".join(artifact_disk.archive(inputs["digest"], inputs["index"], tmp_path))
    assert Path(inputs["path"]).read_bytes() == whole


def test_a_damaged_file_leaves_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    StoragePoolProvider().create(sandbox.pool())
    inputs = artifact_inputs(sandbox, tmp_path)
    before = sandbox.snapshot()
    (tmp_path / "k3s").write_bytes(b"damage" * 100_000)
    with pytest.raises(HypervisorError, match="is not what its manifest says"):
        ArtifactDiskProvider().create(dict(inputs))
    assert sandbox.snapshot() == before


def test_a_complete_volume_needs_no_files_and_one_without_its_mark_is_made_again(sandbox: Sandbox, tmp_path: Path) -> None:
    StoragePoolProvider().create(sandbox.pool())
    inputs = artifact_inputs(sandbox, tmp_path)
    outs = dict(ArtifactDiskProvider().create(dict(inputs)).outs or {})
    (tmp_path / "k3s").rename(tmp_path / "away")
    ArtifactDiskProvider().create(dict(inputs))
    Path(f"{inputs['path']}.verified").unlink()
    assert ArtifactDiskProvider().read("id", outs).id == ""
    with pytest.raises(HypervisorError, match="cannot be read"):
        ArtifactDiskProvider().create(dict(inputs))
    (tmp_path / "away").rename(tmp_path / "k3s")
    ArtifactDiskProvider().create(dict(inputs))
    assert ArtifactDiskProvider().read("id", outs).id == "id"
