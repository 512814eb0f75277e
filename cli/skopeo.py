"""Container images by skopeo: one image for one platform as an archive that containerd imports.

The mirrors of `k3s.registries` come as containerd takes them: in order, the registry itself last. skopeo verifies every byte by the
digest that names it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from cli.errors import LabError
from components.config.raw import HIDDEN
from components.config.settings import Registries, RegistryAccess
from components.redact import without_credentials

STALL_LIMIT = 120.0
"""Seconds without a further byte after which skopeo is ended. It waits by itself where a registry says that there were too many
requests."""

_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_LARGEST_REASON = 500
"""Characters of what skopeo reports."""

_Result = TypeVar("_Result")
Progress = Callable[[int, int], None]
"""Called each second with the bytes that are there, and of how many; 0: not known."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image of a registry for one platform."""

    reference: str
    """Its full name, as docker.io/library/nginx:1.25."""
    digest: str
    """Of the platform's manifest, as sha256:<hex>."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A place that an image can be fetched from."""

    url: str
    """As in the settings, without credentials."""
    host: str
    """The name under which `k3s.registries.configs` has its credentials."""
    repository: str
    """The image's name for skopeo, without tag or digest, as mirror.example:5000/library/nginx; "": it has none."""


class RefusedError(Exception):
    """Why an endpoint does not serve an image."""


class Sink(Protocol):
    """What an archive is written to."""

    def write(self, data: bytes, /) -> int: ...


def require() -> None:
    """LabError where skopeo is not installed."""
    if shutil.which("skopeo") is None:
        raise LabError("skopeo is not on PATH, and fetch gets images with it: install the package skopeo of your distribution")


def find(registries: Registries, reference: str, architecture: str, progress: Progress) -> Image:
    """The image of a full reference for linux on this architecture, as the first endpoint that has it says."""
    _host, _name, version = _split(reference)

    def inspected(endpoint: Endpoint) -> str:
        separator = "@" if _is_digest(version) else ":"
        with _Access(registries, endpoint) as access:
            source = f"docker://{endpoint.repository}{separator}{version}"
            body = _run(["inspect", "--raw", *access.options(""), source], lambda: 0, progress)
        digest = _digest(body)
        if _is_digest(version) and version != digest:
            raise RefusedError(f"the manifest {version} came with other content")
        try:
            document = json.loads(body)
        except ValueError:
            raise RefusedError("the manifest is no JSON") from None
        if "manifests" in document:
            return _of_platform(document, reference, architecture)
        if "config" not in document:
            raise LabError(f"{reference} is of a kind that containerd cannot run (no OCI image, nor Docker's of version 2)")
        return digest

    return Image(reference=reference, digest=_first(registries, reference, inspected))


def write(registries: Registries, image: Image, folder: Path, file: Sink, progress: Progress) -> None:
    """An OCI layout as a tar archive; containerd takes the image's name from its annotation. Equal bytes for equal images.

    folder: a path that is free, for the image's files while they are fetched. The artifact disk is named by its content, and
    skopeo's own archives have the time in them (oci-archive), or lack the registry's manifest and names with a digest
    (docker-archive). So skopeo fills a directory, which keeps manifest and layers as the registry has them.

    https://github.com/opencontainers/image-spec/blob/main/image-layout.md; containerd, images/annotations.go
    """

    def copied(endpoint: Endpoint) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        with _Access(registries, endpoint) as access:
            source = f"docker://{endpoint.repository}@{image.digest}"
            _run(["copy", "--quiet", *access.options("src-"), source, f"dir:{folder}"], lambda: _bytes_in(folder), progress)

    progress(0, 0)
    try:
        _first(registries, image.reference, copied)
        _pack(image, folder, file)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def endpoints(registries: Registries, host: str, name: str) -> Iterator[Endpoint]:
    """The mirrors of a registry, and the registry itself, where names are not rewritten."""
    mirror = registries.mirrors.get(host) or registries.mirrors.get("*")
    if mirror is not None:
        renamed = name
        for pattern, replacement in mirror.rewrite.items():
            if re.search(pattern, name):
                renamed = re.sub(pattern, re.sub(r"\$\{?(\d+)\}?", r"\\\1", replacement), name)
                break
        for url in mirror.endpoint:
            yield _endpoint(url, renamed)
    yield _endpoint(f"https://{'registry-1.docker.io' if host == 'docker.io' else host}", name)


def _endpoint(url: str, name: str) -> Endpoint:
    """skopeo's names have no scheme: with the port of plain HTTP nothing else is reached on the port of HTTPS.

    A path of an endpoint begins with /v2, as in https://mirror.example/v2/proxy: skopeo's names have no other.
    """
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    address = f"{host}:80" if parts.scheme == "http" and parts.port is None else host
    first, _slash, rest = parts.path.strip("/").partition("/")
    repository = "/".join(part for part in (address, rest.strip("/"), name) if part) if first in ("", "v2") else ""
    return Endpoint(url=f"{parts.scheme}://{host}{parts.path}".rstrip("/"), host=host, repository=repository)


def _first(registries: Registries, reference: str, attempt: Callable[[Endpoint], _Result]) -> _Result:
    """What the first endpoint gives that does not refuse."""
    host, name, _version = _split(reference)
    refused = []
    for endpoint in endpoints(registries, host, name):
        if not endpoint.repository:
            refused.append(f"{endpoint.url}: skopeo reaches what is under /v2 of a host, and nothing else")
            continue
        try:
            return attempt(endpoint)
        except RefusedError as refusal:
            refused.append(f"{endpoint.url}: {refusal}{_hint(registries, endpoint, str(refusal))}")
    tried = "; ".join(refused)
    raise LabError(f"{reference} cannot be fetched ({tried}): k3s.registries names mirrors, or check the image's name")


def _hint(registries: Registries, endpoint: Endpoint, reason: str) -> str:
    """Where the credentials of an endpoint are missing that wants some."""
    if not re.search("unauthorized|authentication required|access to the resource is denied|requested access", reason):
        return ""
    access = registries.configs.get(endpoint.host)
    login = f"fetch from a mirror without, or `skopeo login {endpoint.host}` first"
    if access is not None and HIDDEN in access.auth.values():
        return f" - the credentials of {endpoint.host} are a secret of the stack, which fetch does not read: {login}"
    if access is None or not access.auth:
        return f" - k3s.registries.configs has no credentials for {endpoint.host}: {login}"
    return ""


class _Access:
    """Options of skopeo for an endpoint's credentials and TLS, and their files, which are there while it runs.

    Where the settings have none, skopeo uses its own: what `skopeo login` has stored, and certificates in /etc/containers.
    """

    def __init__(self, registries: Registries, endpoint: Endpoint) -> None:
        self.endpoint, self.access = endpoint, registries.configs.get(endpoint.host) or RegistryAccess()
        self.plain = endpoint.url.startswith("http://")

    def __enter__(self) -> _Access:
        self._directory = tempfile.TemporaryDirectory(prefix="lab-skopeo-")
        self._folder = Path(self._directory.name)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._directory.cleanup()

    def options(self, prefix: str) -> list[str]:
        """prefix: of the names of options of TLS; `skopeo copy` has some for either side."""
        options = []
        if entry := self._credentials():
            content = json.dumps({"auths": {self.endpoint.repository.partition("/")[0]: entry}})
            path = self._folder / "auth.json"
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(content)
            options += ["--authfile", str(path)]
        tls: Mapping[str, str | bool] = self.access.tls  # type: ignore[assignment]
        if self.plain or tls.get("insecure_skip_verify") is True:
            options.append(f"--{prefix}tls-verify=false")
        names = {"ca_file": "ca.crt", "cert_file": "client.cert", "key_file": "client.key"}
        # The settings name files on the nodes; they are used where this machine has them too.
        files = {name: str(tls.get(key, "")) for key, name in names.items() if Path(str(tls.get(key, ""))).is_file()}
        if not {"client.cert", "client.key"} <= files.keys():  # skopeo refuses one without the other
            files = {name: file_of for name, file_of in files.items() if name == "ca.crt"}
        if files and not self.plain:
            certificates = self._folder / "certificates"
            certificates.mkdir()
            for name, file_of in files.items():
                (certificates / name).symlink_to(Path(file_of).resolve())
            options += [f"--{prefix}cert-dir", str(certificates)]
        return options

    def _credentials(self) -> dict[str, str]:
        """An entry of containers-auth.json(5)."""
        auth: Mapping[str, str] = self.access.auth  # type: ignore[assignment]
        if not auth or HIDDEN in auth.values():
            return {}
        plain = auth.get("auth") or base64.b64encode(f"{auth.get('username', '')}:{auth.get('password', '')}".encode()).decode()
        token = auth.get("identity_token")
        return {"auth": plain, "identitytoken": token} if token else {"auth": plain}


def _run(words: list[str], size: Callable[[], int], progress: Progress) -> bytes:
    """What skopeo writes to stdout. RefusedError with what it reports, or where `size`, in bytes, stands still."""
    require()
    # No shell, and no secret among the words: credentials are in a file.
    process = subprocess.Popen(  # noqa: S603
        ["skopeo", *words],  # noqa: S607 - it may be installed anywhere
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    before, since = -1, time.monotonic()
    try:
        while True:
            try:
                output, errors = process.communicate(timeout=1)
                break
            except subprocess.TimeoutExpired:
                now, has = time.monotonic(), size()
                if has != before:
                    before, since = has, now
                if now - since > STALL_LIMIT:
                    raise RefusedError(f"no further byte for {STALL_LIMIT:.0f} s") from None
                progress(has, 0)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    if process.returncode:
        raise RefusedError(_reason(errors.decode(errors="replace")) or f"skopeo ended with {process.returncode}")
    return output


def _reason(errors: str) -> str:
    """skopeo's last line without time and level, and without what URLs hold of secrets."""
    last = errors.strip().rpartition("\n")[2]
    message = re.search(r'msg=("(?:[^"\\]|\\.)*")', last)
    if message:
        try:
            last = str(json.loads(message[1]))
        except ValueError:
            last = message[1]
    last = re.sub(r'^Error parsing image name "[^"]*": ', "", last)
    last = re.sub(r"(://[^\s\"'?]*)\?[^\s\"']*", r"\1", without_credentials(last))
    return last if len(last) <= _LARGEST_REASON else f"… {last[-_LARGEST_REASON:]}"


def _split(reference: str) -> tuple[str, str, str]:
    """Registry, repository, and tag or digest."""
    host, _slash, rest = reference.partition("/")
    name, at, digest = rest.partition("@")
    if at:
        return host, name, digest
    name, _colon, tag = rest.rpartition(":")
    return host, name, tag


def _is_digest(version: str) -> bool:
    return ":" in version


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _of_platform(index: Mapping[str, Any], reference: str, architecture: str) -> str:
    for entry in index["manifests"]:
        platform = entry.get("platform") or {}
        if platform.get("os") == "linux" and platform.get("architecture") == architecture:
            return str(entry["digest"])
    raise LabError(f"{reference} is not there for linux/{architecture}: name an image that is")


def _bytes_in(folder: Path) -> int:
    """Size of all files; some are renamed meanwhile."""
    total = 0
    for path in folder.glob("*"):
        try:
            total += path.stat().st_size
        except OSError:
            continue
    return total


def _pack(image: Image, folder: Path, file: Sink) -> None:
    """The archive of what skopeo has put into a directory: manifest.json, and each blob under its digest without the algorithm."""
    manifest = (folder / "manifest.json").read_bytes()
    if _digest(manifest) != image.digest:
        raise LabError(f"{image.reference}: skopeo has stored another manifest than {image.digest}: try again, or another mirror")
    document = json.loads(manifest)
    descriptor = {
        "annotations": {"io.containerd.image.name": image.reference},
        "digest": image.digest,
        "mediaType": document.get("mediaType", _MANIFEST),
        "size": len(manifest),
    }
    layout = {"imageLayoutVersion": "1.0.0"}
    index = {"manifests": [descriptor], "mediaType": _INDEX, "schemaVersion": 2}

    with tarfile.open(fileobj=file, mode="w|", format=tarfile.GNU_FORMAT) as tar:  # type: ignore[call-overload]

        def add(name: str, content: BinaryIO, size: int) -> None:
            member = tarfile.TarInfo(name)
            member.size = size
            tar.addfile(member, content)

        for name, data in (
            ("oci-layout", json.dumps(layout, sort_keys=True).encode()),
            ("index.json", json.dumps(index, sort_keys=True).encode()),
            (_path(image.digest), manifest),
        ):
            add(name, BytesIO(data), len(data))
        for digest in dict.fromkeys(entry["digest"] for entry in (document["config"], *document["layers"])):
            with (folder / digest.partition(":")[2]).open("rb") as blob:
                add(_path(digest), blob, os.fstat(blob.fileno()).st_size)


def _path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
