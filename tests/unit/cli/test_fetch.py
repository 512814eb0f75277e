"""`lab fetch`, against a mirror of its own and a skopeo that records its calls."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from cli import command_line, needs
from cli.errors import LabError
from cli.verbs import fetch
from components.config import artifacts
from components.config.reading import parse
from components.config.settings import Settings

from .skopeo_programs import Skopeo

pytestmark = pytest.mark.unit

VERSION = "v1.27.8+k3s2"
FILES = {
    "i.qcow2": b"image" * 100,
    "install.sh": b"#!/bin/sh\n",
    f"download/{VERSION}/k3s": b"binary" * 100,
    f"download/{VERSION}/k3s-airgap-images-amd64.tar.zst": b"images" * 100,
    "cni.tgz": b"plugins" * 100,
}


class Mirror:
    """A folder that is served, and the paths that were requested."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.requested = folder, list[str]()
        for name, data in FILES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        self.sums("SUMS", "i.qcow2", "sha512")
        self.sums("cni.tgz.sha256", "cni.tgz")
        release = f"download/{VERSION}"
        lines = (
            f"{hashlib.sha256(FILES[f'{release}/{name}']).hexdigest()}  {name}\n"
            for name in ("k3s", "k3s-airgap-images-amd64.tar.zst")
        )
        (folder / release / "sha256sum-amd64.txt").write_text("".join(lines))
        mirror = self

        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments, directory=str(folder))

            def log_message(self, *_arguments: Any) -> None:
                mirror.requested.append(self.path.rpartition("/")[2])

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def sums(self, name: str, file: str, algorithm: str = "sha256") -> None:
        (self.folder / name).write_text(f"{hashlib.new(algorithm, FILES[file]).hexdigest()}  {file}\n")


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    (tmp_path / "site").mkdir()
    site = Mirror(tmp_path / "site")
    yield site
    site.server.shutdown()
    site.server.server_close()


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Skopeo:
    return Skopeo(tmp_path / "skopeo", monkeypatch, "m.example:5000/owner/name")


@pytest.fixture
def config(mirror: Mirror, recording: Skopeo) -> Settings:
    raw = {
        "image": {"source": f"{mirror.url}/i.qcow2", "checksum": f"{mirror.url}/SUMS"},
        "k3s": {
            "version": VERSION,
            "installScript": {"url": f"{mirror.url}/install.sh"},
            "releases": mirror.url,
            "registries": {"mirrors": {"*": {"endpoint": ["http://m.example:5000"]}}},
        },
        "plugins": {"url": f"{mirror.url}/cni.tgz", "checksum": f"{mirror.url}/cni.tgz.sha256"},
        "multus": {"image": "ghcr.io/owner/name:v1"},
        "workload": {"image": "docker.io/owner/name:v1"},
    }
    return parse("dev", raw)


def test_a_directory_that_is_filled_is_what_up_needs(config: Settings, tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    manifest = fetch.fetch(config, directory)
    assert not artifacts.damaged(directory, list(manifest.artifacts))
    there = config.model_copy(update={"artifacts": config.artifacts.model_copy(update={"directory": str(directory)})})
    assert artifacts.find(there, verify=True)[1] == []
    assert (directory / f"k3s-{VERSION}").read_bytes() == FILES[f"download/{VERSION}/k3s"]
    assert sorted(file.name for file in directory.iterdir()) == sorted(
        [*(artifact.file for artifact in manifest.artifacts), "manifest.json"]
    )


def test_what_is_there_is_not_fetched_again_unless_it_is_damaged(
    config: Settings, mirror: Mirror, recording: Skopeo, tmp_path: Path
) -> None:
    first = fetch.fetch(config, tmp_path / "a")
    images = [artifact for artifact in first.artifacts if artifact.kind == "image"]
    assert [image.checksum for image in images] == [recording.content.amd64] * 2
    assert [words[0] for words in recording.words] == ["inspect", "copy"] * 2
    mirror.requested.clear()
    assert fetch.fetch(config, tmp_path / "a") == first
    assert sorted(mirror.requested) == sorted(["SUMS", "sha256sum-amd64.txt", "cni.tgz.sha256", "install.sh"])
    assert [words[0] for words in recording.words[4:]] == ["inspect", "inspect"]
    (tmp_path / "a" / f"k3s-{VERSION}").write_bytes(b"damaged")
    (tmp_path / "a" / images[0].file).write_bytes(b"damaged")
    mirror.requested.clear()
    assert fetch.fetch(config, tmp_path / "a") == first
    assert "k3s" in mirror.requested and "i.qcow2" not in mirror.requested
    assert [words[0] for words in recording.words[6:]] == ["inspect", "copy", "inspect"]


def test_everything_that_fails_is_reported_and_leaves_no_manifest(
    config: Settings, mirror: Mirror, recording: Skopeo, tmp_path: Path
) -> None:
    recording.serve()
    (mirror.folder / "i.qcow2").write_bytes(b"another")
    (mirror.folder / "cni.tgz").unlink()
    (mirror.folder / "cni.tgz.sha256").write_text("nothing\n")
    (mirror.folder / "install.sh").write_bytes(b"")
    with pytest.raises(LabError) as error:
        fetch.fetch(config, tmp_path / "a")
    message = str(error.value)
    assert "image: " in message and "nothing is kept of it" in message
    assert "plugins: " in message and "does not name cni.tgz once" in message
    assert "k3s.installScript: " in message and "is empty" in message
    assert "multus.image: ghcr.io/owner/name:v1 cannot be fetched (http://m.example:5000: " in message
    assert message.count("\n") == 5
    left = {file.name for file in (tmp_path / "a").iterdir()}
    assert "manifest.json" not in left and "i.qcow2" not in left and not [name for name in left if ".part" in name]


def test_without_skopeo_nothing_is_begun(config: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match="skopeo is not on PATH"):
        fetch.fetch(config, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_the_directory_is_the_argument_or_the_setting(config: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from components.config.plan import make  # noqa: PLC0415

    monkeypatch.setattr(fetch, "load_settings", lambda _name: (config, make("k3s-macvlan", "dev", config)))
    monkeypatch.setattr(fetch, "secrets_of", lambda _name: frozenset({"ssh.privateKey", "k3s.registries.configs.r.auth.password"}))
    with pytest.raises(LabError, match=r"no artifacts\.directory"):
        fetch.main(command_line.parse(["fetch"]))
    monkeypatch.setenv("LAB_CALLER", str(tmp_path))
    assert fetch.main(command_line.parse(["fetch", "here"])) == 0
    assert json.loads((tmp_path / "here" / "manifest.json").read_text())["format"] == 1


def test_skopeo_is_installed_unless_it_is_there_in_whatever_way(
    recording: Skopeo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert needs.of(command_line.parse(["fetch"])).packages == ()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert needs.of(command_line.parse(["fetch"])).packages == ("skopeo",)


@pytest.mark.parametrize("path", ["image", "image.source", "k3s", "k3s.registries.mirrors", "plugins.url", "workload"])
def test_nothing_is_fetched_from_elsewhere_in_place_of_a_secret(
    path: str, config: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.config.plan import make  # noqa: PLC0415

    monkeypatch.setattr(fetch, "load_settings", lambda _name: (config, make("k3s-macvlan", "dev", config)))
    monkeypatch.setattr(fetch, "secrets_of", lambda _name: frozenset({path, "cloudInit", "k3s.config"}))
    with pytest.raises(LabError, match=f"^{path}: a secret of the stack, which fetch does not read"):
        fetch.main(command_line.parse(["fetch", str(tmp_path / "a")]))
    assert not (tmp_path / "a").exists()
