"""A container registry, read-only: one image for one platform as an archive that containerd imports.

The OCI distribution API (github.com/opencontainers/distribution-spec) with the token scheme of Docker Hub and GHCR, through
the mirrors of `k3s.registries` as containerd takes them: in order, the registry itself last. Every byte is verified by the
digest that names it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import ssl
import tarfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cli.errors import LabError
from components.config.raw import HIDDEN
from components.config.settings import Registries

STALL_LIMIT = 60.0
"""Seconds an answer may stand still."""

_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LARGEST_MANIFEST = 4 << 20


@dataclass(frozen=True, kw_only=True)
class Blob:
    """A configuration or layer of an image."""

    digest: str
    """sha256:<hex>."""
    size: int
    """Bytes."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """One platform's image."""

    reference: str
    """Its full reference (docker.io/library/nginx:1.25)."""
    digest: str
    """Of the manifest, sha256:<hex>."""
    media_type: str
    """Of the manifest."""
    manifest: bytes
    """As the registry serves it."""
    blobs: tuple[Blob, ...]
    """Its configuration and its layers."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects without credentials: they are for the registry, and the storage that it redirects to refuses them."""

    def redirect_request(self, req: Any, *arguments: Any) -> Any:
        new = super().redirect_request(req, *arguments)
        if new is not None and urllib.parse.urlsplit(new.full_url).netloc != urllib.parse.urlsplit(req.full_url).netloc:
            new.remove_header("Authorization")
        return new


@dataclass
class Client:
    """Reads from registries as these settings say; tokens are kept while it lives."""

    registries: Registries
    _tokens: dict[str, str] = field(default_factory=dict, repr=False)

    def image(self, reference: str, architecture: str) -> Image:
        """The image of a full reference (docker.io/library/nginx:1.25) for linux on this architecture."""
        host, name, version = _split(reference)
        body, kind = self._manifest(host, name, version)
        document = json.loads(body)
        if kind in _INDEXES:
            digest_of_platform = _of_platform(document, architecture)
            if digest_of_platform is None:
                raise LabError(f"{reference} is not there for linux/{architecture}: name an image that is")
            version = digest_of_platform
            body, kind = self._manifest(host, name, version)
            document = json.loads(body)
        if kind not in _MANIFESTS:
            raise LabError(f"{reference} is of a kind that containerd cannot run ({kind})")
        entries = [document["config"], *document["layers"]]
        blobs = {entry["digest"]: Blob(digest=entry["digest"], size=int(entry["size"])) for entry in entries}
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        return Image(reference=reference, digest=digest, media_type=kind, manifest=body, blobs=tuple(blobs.values()))

    def blob(self, reference: str, blob: Blob) -> Iterator[bytes]:
        """The content of a blob; LabError at its end if it is not what its digest says."""
        host, name, _version = _split(reference)
        digest, size = hashlib.sha256(), 0
        with self._open(host, name, f"blobs/{blob.digest}", "*/*") as answer:
            while chunk := answer.read(1 << 20):
                digest.update(chunk)
                size += len(chunk)
                yield chunk
        if size != blob.size or blob.digest != f"sha256:{digest.hexdigest()}":
            raise LabError(
                f"{reference}: blob {blob.digest} came damaged ({size} of {blob.size} bytes): try again, or another mirror"
            )

    def _manifest(self, host: str, name: str, version: str) -> tuple[bytes, str]:
        with self._open(host, name, f"manifests/{version}", ", ".join((*_MANIFESTS, *_INDEXES))) as answer:
            body, kind = answer.read(_LARGEST_MANIFEST), answer.headers.get_content_type()
        if _DIGEST.fullmatch(version) and version != f"sha256:{hashlib.sha256(body).hexdigest()}":
            raise LabError(f"{host}/{name}: the manifest {version} came with other content: another mirror")
        return body, str(kind)

    def _open(self, host: str, name: str, path: str, accept: str) -> Any:
        """The answer of the first endpoint that has it."""
        failures = []
        for base, its_name in self.endpoints(host, name):
            url = f"{base}/v2/{its_name}/{path}"
            try:
                return self._request(url, accept)
            except urllib.error.HTTPError as error:
                failures.append(f"{base} answers {error.code} {error.reason}")
            except (OSError, ValueError, LabError) as error:
                failures.append(f"{base}: {getattr(error, 'reason', None) or error}")
        attempts = "; ".join(failures)
        raise LabError(
            f"{host}/{name} {path} cannot be fetched ({attempts}): k3s.registries names mirrors, or check the image's name"
        )

    def endpoints(self, host: str, name: str) -> Iterator[tuple[str, str]]:
        """(base URL, repository there): the mirrors, and the registry itself, where names are not rewritten."""
        mirror = self.registries.mirrors.get(host) or self.registries.mirrors.get("*")
        if mirror is not None:
            renamed = name
            for pattern, replacement in mirror.rewrite.items():
                if re.search(pattern, name):
                    renamed = re.sub(pattern, re.sub(r"\$\{?(\d+)\}?", r"\\\1", replacement), name)
                    break
            for endpoint in mirror.endpoint:
                yield endpoint.rstrip("/").removesuffix("/v2"), renamed
        yield f"https://{'registry-1.docker.io' if host == 'docker.io' else host}", name

    def _request(self, url: str, accept: str) -> Any:
        place = urllib.parse.urlsplit(url).netloc
        scope = re.split("/(?:manifests|blobs)/", url, maxsplit=1)[0]
        opener = urllib.request.build_opener(_Redirects(), urllib.request.HTTPSHandler(context=self._tls(place)))

        def attempt() -> Any:
            request = urllib.request.Request(url, headers={"Accept": accept})  # noqa: S310 - endpoints are http(s)
            if scope in self._tokens:
                request.add_header("Authorization", self._tokens[scope])
            return opener.open(request, timeout=STALL_LIMIT)

        try:
            return attempt()
        except urllib.error.HTTPError as error:
            if error.code != 401 or scope in self._tokens:
                raise
            self._tokens[scope] = self._authorization(place, error.headers.get("WWW-Authenticate", ""), opener)
        return attempt()

    def _authorization(self, place: str, challenge: str, opener: Any) -> str:
        """The header that answers a challenge: the configured credentials, or a token got with them or without any."""
        basic = self._basic(place)
        kind, _blank, rest = challenge.partition(" ")
        if kind.lower() != "bearer":
            if not basic:
                raise LabError(f"{place} asks for credentials: k3s.registries.configs has none for it")
            return basic
        fields = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        realm = fields.pop("realm", "")
        if not realm.startswith(("https://", "http://")):
            raise LabError(f"{place} asks for a token and does not say where to get it")
        request = urllib.request.Request(f"{realm}?{urllib.parse.urlencode(fields)}")  # noqa: S310 - just checked
        if basic:
            request.add_header("Authorization", basic)
        with opener.open(request, timeout=STALL_LIMIT) as answer:
            token_document = json.load(answer)
        return f"Bearer {token_document.get('token') or token_document['access_token']}"

    def _basic(self, place: str) -> str:
        access = self.registries.configs.get(place)
        if access is None or not access.auth:
            return ""
        auth: Mapping[str, str] = access.auth  # type: ignore[assignment]
        if HIDDEN in auth.values():
            raise LabError(
                f"the credentials of {place} are a secret of the stack, which fetch does not read: fetch from a mirror without"
            )
        plain = auth.get("auth") or base64.b64encode(f"{auth.get('username', '')}:{auth.get('password', '')}".encode()).decode()
        return f"Basic {plain}"

    def _tls(self, place: str) -> ssl.SSLContext:
        access = self.registries.configs.get(place)
        tls: Mapping[str, Any] = access.tls if access else {}  # type: ignore[assignment]
        authority = str(tls.get("ca_file", ""))
        context = ssl.create_default_context(cafile=authority if Path(authority).is_file() else None)
        if tls.get("insecure_skip_verify") is True:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


def _split(reference: str) -> tuple[str, str, str]:
    """Registry, repository, and tag or digest."""
    host, _slash, rest = reference.partition("/")
    name, at, digest = rest.partition("@")
    if at:
        return host, name, digest
    name, _colon, tag = rest.rpartition(":")
    return host, name, tag


def _of_platform(index: Mapping[str, Any], architecture: str) -> str | None:
    for entry in index.get("manifests", ()):
        platform = entry.get("platform") or {}
        if platform.get("os") == "linux" and platform.get("architecture") == architecture:
            return str(entry["digest"])
    return None


class Sink(Protocol):
    """What an archive is written to."""

    def write(self, data: bytes, /) -> int: ...


def write(client: Client, image: Image, file: Sink, progress: Callable[[int, int], None]) -> None:
    """An OCI layout as a tar archive; containerd takes the image's name from its annotation. Equal bytes for equal images.

    https://github.com/opencontainers/image-spec/blob/main/image-layout.md; containerd, images/annotations.go
    """
    descriptor = {
        "annotations": {"io.containerd.image.name": image.reference},
        "digest": image.digest,
        "mediaType": image.media_type,
        "size": len(image.manifest),
    }
    layout = {"imageLayoutVersion": "1.0.0"}
    index = {"manifests": [descriptor], "mediaType": _INDEXES[0], "schemaVersion": 2}
    total, done = sum(blob.size for blob in image.blobs), 0

    def head(name: str, size: int) -> None:
        member = tarfile.TarInfo(name)
        member.size = size
        file.write(member.tobuf(tarfile.GNU_FORMAT))

    def fill(size: int) -> None:
        file.write(bytes(-size % tarfile.BLOCKSIZE))

    for name, content in (
        ("oci-layout", json.dumps(layout, sort_keys=True).encode()),
        ("index.json", json.dumps(index, sort_keys=True).encode()),
        (_path(image.digest), image.manifest),
    ):
        head(name, len(content))
        file.write(content)
        fill(len(content))
    for blob in image.blobs:
        head(_path(blob.digest), blob.size)
        for chunk in client.blob(image.reference, blob):
            file.write(chunk)
            done += len(chunk)
            progress(done, total)
        fill(blob.size)
    file.write(bytes(2 * tarfile.BLOCKSIZE))


def _path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
