"""Images by skopeo: its command lines, with a program that records them, and what it gets from a registry over HTTP."""

from __future__ import annotations

import base64
import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli import skopeo
from cli.errors import LabError
from components.config.settings import Registries

from .skopeo_programs import Registry, Skopeo, digest

pytestmark = pytest.mark.unit

REFERENCE = "ghcr.io/owner/name:v1"
NEAR = "localhost:9/owner/name"
"""An image of a registry that is not there, so that a mirror which refuses leads nowhere."""
REAL = shutil.which("skopeo") or ""


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Skopeo:
    return Skopeo(tmp_path / "skopeo", monkeypatch, "ghcr.io/owner/name")


def quiet(_done: int, _total: int) -> None:
    """Shows no progress."""


def mirrors(
    *urls: str, host: str = "ghcr.io", rewrite: dict[str, str] | None = None, configs: dict[str, Any] | None = None
) -> Registries:
    return Registries.model_validate({"mirrors": {host: {"endpoint": urls, "rewrite": rewrite or {}}}, "configs": configs or {}})


def archive(folder: Path, registries: Registries, reference: str = REFERENCE) -> bytes:
    file = io.BytesIO()
    skopeo.write(registries, skopeo.find(registries, reference, "amd64", quiet), folder / "parts", file, quiet)
    assert not (folder / "parts").exists()
    return file.getvalue()


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def check(data: bytes, reference: str, architecture: str = "amd64") -> None:
    """Whether an archive is what containerd imports as this image."""
    files = members(data)
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry["annotations"] == {"io.containerd.image.name": reference}
    manifest = files[f"blobs/{entry['digest'].replace(':', '/')}"]
    assert digest(manifest) == entry["digest"] and len(manifest) == entry["size"]
    document = json.loads(manifest)
    assert entry["mediaType"] == document["mediaType"]
    for blob in (document["config"], *document["layers"]):
        assert digest(files[f"blobs/{blob['digest'].replace(':', '/')}"]) == blob["digest"]
    config = json.loads(files[f"blobs/{document['config']['digest'].replace(':', '/')}"])
    assert config["architecture"] == architecture
    assert len(files) == 5, "a layer that is named twice is there once"


# --- skopeo's command lines ---


@pytest.mark.parametrize("by_digest", [False, True])
def test_an_archive_has_this_platform_under_the_image_s_name(by_digest: bool, recording: Skopeo, tmp_path: Path) -> None:
    reference = f"ghcr.io/owner/name@{recording.content.index}" if by_digest else REFERENCE
    data = archive(tmp_path, Registries(), reference)
    check(data, reference)
    assert recording.words == [
        ["inspect", "--raw", f"docker://{reference}"],
        ["copy", "--quiet", f"docker://ghcr.io/owner/name@{recording.content.amd64}", f"dir:{tmp_path}/parts"],
    ]
    assert archive(tmp_path, Registries(), reference) == data, "equal bytes for equal images"


def test_an_image_for_one_platform_alone_is_taken_as_it_is(recording: Skopeo, tmp_path: Path) -> None:
    reference = f"ghcr.io/owner/name@{recording.content.amd64}"
    check(archive(tmp_path, Registries(), reference), reference)


def test_mirrors_come_in_order_and_the_registry_itself_last(recording: Skopeo) -> None:
    registries = mirrors("http://a.example", "https://b.example:5000/v2", rewrite={"^owner/(.*)": "mirror/owner/$1"})
    skopeo.find(registries, REFERENCE, "amd64", quiet)
    assert recording.words == [
        ["inspect", "--raw", "--tls-verify=false", "docker://a.example:80/mirror/owner/name:v1"],
        ["inspect", "--raw", "docker://b.example:5000/mirror/owner/name:v1"],
        ["inspect", "--raw", "docker://ghcr.io/owner/name:v1"],
    ]


@pytest.mark.parametrize(
    ("url", "repository"),
    [
        ("https://m.example", "m.example/o/n"),
        ("https://m.example/", "m.example/o/n"),
        ("http://m.example", "m.example:80/o/n"),
        ("http://m.example:5000/v2/", "m.example:5000/o/n"),
        ("https://m.example/v2/proxy", "m.example/proxy/o/n"),
        ("https://user:word@m.example", "m.example/o/n"),
        ("https://m.example/other/v2", ""),
    ],
)
def test_an_endpoint_s_name_for_skopeo(url: str, repository: str) -> None:
    first, last = skopeo.endpoints(mirrors(url, host="*"), "docker.io", "o/n")
    assert (first.repository, last.repository) == (repository, "registry-1.docker.io/o/n")
    assert "word" not in first.url


def test_an_endpoint_that_skopeo_does_not_reach_is_left_out_with_the_reason(recording: Skopeo) -> None:
    recording.serve()
    with pytest.raises(LabError, match=r"m\.example/other: skopeo reaches what is under /v2 .*; https://ghcr\.io: "):
        skopeo.find(mirrors("https://m.example/other"), REFERENCE, "amd64", quiet)
    assert len(recording.words) == 1


@pytest.mark.parametrize(
    ("auth", "entry"),
    [
        ({"username": "u", "password": "hush"}, {"auth": base64.b64encode(b"u:hush").decode()}),
        ({"auth": "aHVzaA=="}, {"auth": "aHVzaA=="}),
        ({"identity_token": "hush"}, {"auth": base64.b64encode(b":").decode(), "identitytoken": "hush"}),
    ],
)
def test_credentials_are_in_a_file_of_this_user_and_never_in_a_command_line(
    auth: dict[str, str], entry: dict[str, str], recording: Skopeo, tmp_path: Path
) -> None:
    recording.serve("m.example:80/owner/name")
    registries = mirrors("http://m.example", configs={"m.example": {"auth": auth}})
    check(archive(tmp_path, registries), REFERENCE)
    assert [call["words"][0] for call in recording.calls] == ["inspect", "copy"]
    for call in recording.calls:
        assert call["auths"] == {"m.example:80": entry} and call["mode"] == 0o600
        assert not [word for word in call["words"] if "hush" in word or "aHVzaA" in word or entry["auth"] in word]
        assert not Path(call["words"][call["words"].index("--authfile") + 1]).exists()


def test_credentials_are_sent_to_their_endpoint_alone(recording: Skopeo) -> None:
    registries = mirrors("https://m.example", configs={"m.example": {"auth": {"username": "u", "password": "p"}}})
    skopeo.find(registries, REFERENCE, "amd64", quiet)
    assert ["auths" in call for call in recording.calls] == [True, False]


def test_certificates_are_in_a_directory_and_are_not_checked_where_the_settings_say_so(recording: Skopeo, tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text(f"this is {name}")
    own = {"ca_file": str(tmp_path / "ca"), "cert_file": str(tmp_path / "cert"), "key_file": str(tmp_path / "key")}
    registries = mirrors(
        "https://a.example",
        "https://b.example",
        "https://c.example",
        configs={
            "a.example": {"tls": own},
            "b.example": {"tls": {"ca_file": "/only/on/nodes", "insecure_skip_verify": True}},
            "c.example": {"tls": {"ca_file": own["ca_file"], "cert_file": own["cert_file"]}},
        },
    )
    recording.serve("c.example/owner/name")
    skopeo.write(registries, skopeo.find(registries, REFERENCE, "amd64", quiet), tmp_path / "parts", io.BytesIO(), quiet)
    first, second, third, *copies = recording.calls
    assert first["certificates"] == {"ca.crt": "this is ca", "client.cert": "this is cert", "client.key": "this is key"}
    assert second["words"][2:] == ["--tls-verify=false", "docker://b.example/owner/name:v1"]
    assert third["certificates"] == {"ca.crt": "this is ca"}
    assert [call["words"][2] for call in copies] == ["--src-cert-dir", "--src-tls-verify=false", "--src-cert-dir"]


@pytest.mark.parametrize(
    ("auth", "text"),
    [
        ({"username": "u", "password": "[secret]"}, "the credentials of m.example are a secret of the stack, which fetch does not"),
        ({}, "k3s.registries.configs has no credentials for m.example: fetch from a mirror without, or `skopeo login m.example`"),
        ({"username": "u", "password": "p"}, None),
    ],
)
def test_a_registry_that_wants_credentials(auth: dict[str, str], text: str | None, recording: Skopeo) -> None:
    recording.serve()
    recording.refuse({"m.example/owner/name": "unable to retrieve auth token: invalid username/password: unauthorized: no"})
    with pytest.raises(LabError) as error:
        skopeo.find(mirrors("https://m.example", configs={"m.example": {"auth": auth}}), REFERENCE, "amd64", quiet)
    assert "https://m.example: unable to retrieve auth token" in str(error.value)
    assert (text in str(error.value)) if text else "credentials" not in str(error.value)
    assert ("auths" in recording.calls[0]) is (text is None)


def test_an_error_names_image_endpoints_and_remedy_and_no_secret(recording: Skopeo) -> None:
    recording.serve()
    recording.refuse({"m.example/owner/name": 'Get "https://u:hush@s3.example/x?Signature=hush": EOF'})
    with pytest.raises(LabError) as error:
        skopeo.find(mirrors("https://me:hush@m.example"), REFERENCE, "amd64", quiet)
    assert str(error.value) == (
        'ghcr.io/owner/name:v1 cannot be fetched (https://m.example: Get "https://[hidden]@s3.example/x": EOF; '
        "https://ghcr.io: reading manifest: manifest unknown): k3s.registries names mirrors, or check the image's name"
    )
    assert "hush" not in str(recording.words)


def test_no_such_platform_and_no_image_that_runs(recording: Skopeo) -> None:
    with pytest.raises(LabError, match="not there for linux/s390x"):
        skopeo.find(Registries(), REFERENCE, "s390x", quiet)
    (recording.root / "manifests/v1").write_text('{"schemaVersion": 1}')
    with pytest.raises(LabError, match="of a kind that containerd cannot run"):
        skopeo.find(Registries(), REFERENCE, "amd64", quiet)
    (recording.root / "manifests/v1").write_text("<html>")
    with pytest.raises(LabError, match="the manifest is no JSON"):
        skopeo.find(Registries(), REFERENCE, "amd64", quiet)


def test_other_content_than_a_digest_names_is_not_taken(recording: Skopeo, tmp_path: Path) -> None:
    reference = f"ghcr.io/owner/name@{recording.content.index}"
    image = skopeo.find(Registries(), reference, "amd64", quiet)
    for version in (recording.content.index, recording.content.amd64):
        path = recording.root / "manifests" / version
        path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(LabError, match="came with other content"):
        skopeo.find(Registries(), reference, "amd64", quiet)
    with pytest.raises(LabError, match="has stored another manifest"):
        skopeo.write(Registries(), image, tmp_path / "parts", io.BytesIO(), quiet)
    assert not (tmp_path / "parts").exists()


def test_what_stands_still_is_ended(recording: Skopeo, monkeypatch: pytest.MonkeyPatch) -> None:
    (recording.root / "stall").touch()
    monkeypatch.setattr(skopeo, "STALL_LIMIT", 0.5)
    shown: list[tuple[int, int]] = []
    with pytest.raises(LabError, match="no further byte for"):
        skopeo.find(Registries(), REFERENCE, "amd64", lambda done, total: shown.append((done, total)))
    assert shown


def test_without_skopeo_there_is_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match=r"skopeo is not on PATH.*install the package skopeo"):
        skopeo.require()


# --- skopeo itself ---


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry, with which skopeo itself talks; its calls are recorded."""
    if not REAL:
        pytest.skip("skopeo is not installed: ./lab fetch installs it")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "none.json"))
    started = Registry()
    yield started
    started.close()


@pytest.mark.parametrize("by_digest", [False, True])
def test_skopeo_gets_an_image_with_the_credentials_of_a_registry(
    by_digest: bool, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = Skopeo(tmp_path / "skopeo", monkeypatch, real=REAL)
    registry.login, registry.name = "user:hush", "mirror/owner/name"
    registries = mirrors(
        "http://127.0.0.1:9",
        registry.url,
        rewrite={"^owner/(.*)": "mirror/owner/$1"},
        configs={registry.place: {"auth": {"username": "user", "password": "hush"}}},
    )
    reference = f"ghcr.io/owner/name@{registry.content.index}" if by_digest else REFERENCE
    data = archive(tmp_path, registries, reference)
    check(data, reference)
    assert archive(tmp_path, registries, reference) == data, "equal bytes for equal images"
    assert len(recording.words) == 8 and "hush" not in str(recording.words)


def test_skopeo_finds_a_damaged_layer(registry: Registry, tmp_path: Path) -> None:
    damaged = {name: data[:-1] + b"!" for name, data in registry.content.blobs.items()}
    registry.content.blobs.update(damaged)
    with pytest.raises(LabError, match=f"{registry.url}: .*(does not match|[Dd]igest)"):
        archive(tmp_path, mirrors(registry.url, host="localhost:9"), f"{NEAR}:v1")
    assert not (tmp_path / "parts").exists()


def test_skopeo_reports_that_there_is_no_such_image_or_that_a_login_is_missing(registry: Registry) -> None:
    with pytest.raises(LabError, match=f"{registry.url}: .*manifest unknown"):
        skopeo.find(mirrors(registry.url, host="localhost:9"), f"{NEAR}:v2", "amd64", quiet)
    registry.login = "user:hush"
    with pytest.raises(LabError, match=f"k3s.registries.configs has no credentials for {registry.place}"):
        skopeo.find(mirrors(registry.url, host="localhost:9"), f"{NEAR}:v1", "amd64", quiet)
