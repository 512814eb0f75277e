"""Artifacts: what a stack needs, whether a directory has it, and the disk that brings it to the nodes."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from components.config import artifacts, downloads, reading
from components.config.artifacts import Artifact, ArtifactSet, Manifest
from components.config.plan import make
from components.config.problems import SettingsError
from components.config.raw import RawConfiguration
from components.config.reading import parse
from components.config.settings import Settings
from components.libvirt import artifact_disk as disk
from components.libvirt.connection import HypervisorError
from components.machine import image_recipe

pytestmark = pytest.mark.unit
VERSION = Settings().k3s.version

Filled = Callable[..., tuple[Settings, Path]]


def content(wanted: downloads.Download) -> bytes:
    return f"{wanted.kind} {wanted.source}".encode()


@pytest.fixture
def filled(tmp_path: Path) -> Filled:
    """Settings, and a directory with everything they want and its manifest."""

    def fill(**raw: Any) -> tuple[Settings, Path]:
        settings = parse("dev", {"artifacts": {"directory": str(tmp_path)}, **raw})
        entries = []
        for download in downloads.for_settings(settings):
            data = content(download)
            (tmp_path / download.file).write_bytes(data)
            entries.append(
                Artifact(
                    file=download.file,
                    kind=download.kind,
                    source=download.source,
                    sha256=hashlib.sha256(data).hexdigest(),
                    size=len(data),
                    version=download.version,
                    reference=download.reference,
                    checksum=download.checksum,
                )
            )
        manifest = Manifest(artifacts=tuple(entries))
        (tmp_path / "manifest.json").write_text(manifest.model_dump_json(by_alias=True))
        return settings, tmp_path

    return fill


def reported(settings: Settings, *, files: bool = True) -> list[str]:
    _, problems = artifacts.find(settings, verify=files)
    return [str(problem) for problem in problems]


def listed(settings: Settings) -> ArtifactSet:
    """The artifacts as the manifest lists them."""
    artifact_set, problems = artifacts.find(settings, verify=False)
    assert artifact_set is not None and not problems
    return artifact_set


# --- what is wanted


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("nginx:1.25", "docker.io/library/nginx:1.25"),
        ("grafana/grafana:11.0", "docker.io/grafana/grafana:11.0"),
        ("ghcr.io/a/b:v1", "ghcr.io/a/b:v1"),
        ("localhost:5000/a:1", "localhost:5000/a:1"),
        (f"ghcr.io/a/b:v1@sha256:{'a' * 64}", f"ghcr.io/a/b@sha256:{'a' * 64}"),
    ],
)
def test_an_image_s_full_name(image: str, name: str) -> None:
    assert downloads.reference(image) == name


@pytest.mark.parametrize(
    ("environment", "releases", "url"),
    [
        ({}, None, "https://github.com/k3s-io/k3s/releases/download/v1.27.8%2Bk3s2"),
        ({}, "http://m/k3s/releases", "http://m/k3s/releases/download/v1.27.8%2Bk3s2"),
        ({"INSTALL_K3S_MIRROR": "cn"}, None, "https://rancher-mirror.rancher.cn/k3s/v1.27.8-k3s2"),
        ({"INSTALL_K3S_MIRROR": "cn", "INSTALL_K3S_MIRROR_URL": "http://m/cn"}, None, "http://m/cn/k3s/v1.27.8-k3s2"),
    ],
)
def test_where_a_release_is(environment: dict[str, str], releases: str | None, url: str) -> None:
    k3s = {"version": "v1.27.8+k3s2", "installScript": {"environment": environment}, "releases": releases}
    settings = parse("dev", {"k3s": k3s})
    assert downloads.release_url(settings) == url


def test_an_image_wanted_twice_is_one_file() -> None:
    names = [
        download.file
        for download in downloads.for_settings(
            parse("dev", {"workload": {"image": "ghcr.io/a/b:1"}, "multus": {"image": "ghcr.io/a/b:1"}})
        )
    ]
    assert len(names) == len(set(names)) == 6


# --- the directory


def test_without_a_directory_there_are_no_artifacts() -> None:
    assert artifacts.find(parse("dev", {}), verify=True) == (None, [])


def test_a_complete_directory(filled: Filled) -> None:
    settings, _directory = filled()
    artifact_set, problems = artifacts.find(settings, verify=True)
    assert not problems and artifact_set is not None
    assert {artifact.kind for artifact in artifact_set.needed} == {download.kind for download in downloads.for_settings(settings)}


def test_everything_wrong_is_reported_at_once(filled: Filled) -> None:
    settings, directory = filled()
    (directory / f"k3s-{VERSION}").unlink()
    (directory / "k3s-install.sh").write_bytes(b"x" * (directory / "k3s-install.sh").stat().st_size)
    (directory / settings.plugins.url.rpartition("/")[2]).write_bytes(b"short")
    problems = reported(settings)
    assert len(problems) == 3
    assert any("cannot be read" in problem and f"k3s-{VERSION}" in problem for problem in problems)
    assert any("has the SHA-256" in problem and "k3s-install.sh" in problem for problem in problems)
    assert any("has 5 bytes" in problem for problem in problems)


def test_a_preview_reads_the_manifest_alone(filled: Filled) -> None:
    settings, directory = filled()
    for file in directory.iterdir():
        if file.name != "manifest.json":
            file.unlink()
    assert listed(settings)
    assert len(reported(settings)) == len(downloads.for_settings(settings))


def test_other_settings_than_it_was_filled_for(filled: Filled) -> None:
    _settings, directory = filled()
    other = parse(
        "dev",
        {
            "artifacts": {"directory": str(directory)},
            "k3s": {"version": "v1.28.15+k3s1", "installScript": {"url": "https://other.example/s"}},
            "workload": {"image": "nginx:1.27"},
            "image": {"source": "/srv/same.qcow2", "checksum": "sha256:" + "1" * 64},
        },
    )
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["architecture"] = "arm64"
    (directory / "manifest.json").write_text(json.dumps(manifest))
    problems = reported(other)
    assert len(problems) == 6
    for part in ("arm64", "k3s v1.28.15+k3s1", f"it has {VERSION}", "nginx:1.27", "install-script", "base-image"):
        assert any(part in problem for problem in problems), part


def test_the_same_digest_from_elsewhere_fits(filled: Filled) -> None:
    settings, directory = filled()
    elsewhere = parse("dev", {"artifacts": {"directory": str(directory)}, "image": {"source": "https://mirror.example/i.qcow2"}})
    assert not reported(elsewhere)
    assert settings.image.source != elsewhere.image.source


@pytest.mark.parametrize(
    "text",
    [None, "", "[]", '{"format": 2}', '{"artifacts": [{"file": "../x"}]}', '{"format": 1, "more": 1}'],
    ids=["absent", "empty", "list", "format", "path", "unknown"],
)
def test_a_manifest_that_is_none(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    (problem,) = reported(parse("dev", {"artifacts": {"directory": str(tmp_path)}}))
    assert problem.startswith("artifacts.directory") and "./lab fetch" in problem


def loaded(raw: dict[str, Any], files: Literal["ignored", "listed", "verified"]) -> list[str]:
    """The settings of which mistakes are reported."""
    try:
        reading.load("k3s-macvlan", "dev", RawConfiguration(raw), artifact_files=files)
    except SettingsError as error:
        return [problem.setting for problem in error.problems]
    return []


def test_a_missing_manifest_is_reported_with_the_other_mistakes(tmp_path: Path) -> None:
    raw = {"artifacts": {"directory": str(tmp_path)}, "proof": {"path": "x"}, "network": {"gateway": "192.168.122.185"}}
    assert loaded(raw, "listed") == loaded(raw, "verified") == ["artifacts.directory", "network.nodes", "proof.path"]
    assert loaded(raw, "ignored") == ["network.nodes", "proof.path"]


def test_what_only_the_default_of_a_wrong_setting_needs_is_not_missing(filled: Filled) -> None:
    _settings, directory = filled(workload={"image": "nginx:1.27"})
    raw = {"artifacts": {"directory": str(directory)}, "workload": {"image": "no image"}}
    assert loaded(raw, "listed") == ["workload.image"]


def test_files_are_read_once_nothing_else_is_wrong(filled: Filled) -> None:
    settings, directory = filled()
    (directory / "k3s-install.sh").unlink()
    raw: dict[str, Any] = {"artifacts": {"directory": str(directory)}}
    assert loaded({**raw, "proof": {"path": "x"}}, "verified") == ["proof.path"]
    assert loaded(raw, "verified") == ["artifacts.directory"]
    configuration = reading.load("p", "dev", RawConfiguration(raw), artifact_files="listed")
    assert configuration.artifacts == listed(settings)
    assert configuration.settings == listed(settings).applied_to(settings)
    assert configuration.plan == make("p", "dev", configuration.settings)


# --- what comes of it


def test_the_base_image_stays_the_same_volume_where_its_digest_is_set(filled: Filled) -> None:
    settings, directory = filled()
    artifact_set = listed(settings)
    before = make("p", "dev", settings).image
    after = make("p", "dev", artifact_set.applied_to(settings)).image
    assert (after.name, after.checksum) == (before.name, before.checksum)
    assert after.source == str(directory / artifact_set.of("base-image").file)


def test_the_base_image_is_named_by_its_content_where_only_a_checksum_file_is_set(filled: Filled) -> None:
    settings, _directory = filled(image={"source": "http://m/i.qcow2", "checksum": "http://m/SUMS"})
    artifact_set = listed(settings)
    artifact, image = artifact_set.of("base-image"), make("p", "dev", artifact_set.applied_to(settings)).image
    assert image.checksum == f"sha256:{artifact.sha256}" and artifact.sha256[:20] in image.name


def test_settings_name_what_is_on_the_nodes(filled: Filled) -> None:
    settings, _directory = filled(k3s={"systemDefaultRegistry": "registry.example"})
    artifact_set = listed(settings)
    here = artifact_set.applied_to(settings)
    assert here.k3s.install_script.url == f"file:///var/lib/k3s-macvlan/artifacts/{artifact_set.digest}/k3s-install.sh"
    assert here.k3s.install_script.sha256 == artifact_set.of("install-script").sha256
    assert here.plugins.url.startswith("file:///") and here.plugins.checksum == f"sha256:{artifact_set.of('cni-plugins').sha256}"
    assert here.k3s.system_default_registry == ""
    assert (here.k3s.version, here.multus, here.workload) == (settings.k3s.version, settings.multus, settings.workload)
    assert settings.k3s.system_default_registry == "registry.example", "the settings themselves stay"


def test_a_prepared_image_is_made_from_the_disk_and_downloads_nothing(filled: Filled) -> None:
    settings, _directory = filled()
    artifact_set = listed(settings)
    here = artifact_set.applied_to(settings)
    recipe = image_recipe.recipe(here, make("p", "dev", here), artifact_set)
    downloading = image_recipe.recipe(settings, make("p", "dev", settings), None)
    assert recipe is not None and downloading is not None and recipe.digest != downloading.digest
    assert f"ARTIFACTS={artifact_set.digest}" in recipe.user_data
    assert f"K3S_BINARY={artifact_set.on_node('k3s')}" in recipe.user_data
    variables = ("INSTALL_URL", "ARCHIVE_URL", "ARCHIVE_SUMS_URL", "K3S_IMAGES_URL", "K3S_IMAGES_SUMS_URL", "IMAGES")
    given = dict(line.strip(" -'").partition("=")[::2] for line in recipe.user_data.splitlines() if "=" in line)
    assert {name: given[name].startswith("file:///") for name in variables if given[name]} == {
        "INSTALL_URL": True,
        "ARCHIVE_URL": True,
    }


def test_other_files_are_another_disk_and_the_base_image_is_not_on_it(filled: Filled) -> None:
    one, other = (filled(**change)[0] for change in ({}, {"workload": {"image": "nginx:1.27"}}))
    settings, _directory = filled()
    artifact_set = listed(settings)
    assert one == settings
    filled(workload={"image": "nginx:1.27"})
    changed = listed(other)
    assert changed.digest != artifact_set.digest
    assert not [file for file in json.loads(artifact_set.index)["files"] if file["name"].endswith(".qcow2")]


# --- the disk


def test_the_disk_is_an_archive_of_the_length_that_was_reported(filled: Filled) -> None:
    settings, directory = filled()
    artifact_set = listed(settings)
    whole = b"".join(disk.archive(artifact_set.digest, artifact_set.index, directory))
    assert len(whole) == disk.size(artifact_set.index)
    assert whole == b"".join(disk.archive(artifact_set.digest, artifact_set.index, directory))
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert next(iter(members)) == f"k3s-macvlan-artifacts-{artifact_set.digest}.json"
    for file in json.loads(artifact_set.index)["files"]:
        assert members[file["name"]] == (directory / file["name"]).read_bytes()


@pytest.mark.parametrize("change", [lambda path: path.unlink(), lambda path: path.write_bytes(b"x" * path.stat().st_size)])
def test_a_file_that_changed_meanwhile_is_an_error(filled: Filled, change: Callable[[Path], object]) -> None:
    settings, directory = filled()
    artifact_set = listed(settings)
    change(directory / "k3s-install.sh")
    with pytest.raises(HypervisorError, match=r"k3s-install\.sh .*\./lab fetch"):
        list(disk.archive(artifact_set.digest, artifact_set.index, directory))


def test_a_new_disk_is_made_before_the_old_one_is_deleted() -> None:
    provider = disk.ArtifactDiskProvider()
    old = {"uri": "u", "pool": "p", "name": "artifacts-1.img", "path": "/p/1", "digest": "1", "index": "{}", "directory": "/a"}
    new = {**old, "name": "artifacts-2.img", "path": "/p/2", "digest": "2"}
    difference = provider.diff("id", old, new)
    assert difference.replaces and difference.delete_before_replace is False
    assert provider.diff("id", old, {**old, "path": "/other/1"}).delete_before_replace is True
    assert not provider.diff("id", old, {**old, "directory": "/b"}).changes
