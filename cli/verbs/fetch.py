"""`lab fetch`: fills a directory with everything that `up` and the nodes of a stack would download, each verified."""

from __future__ import annotations

import argparse
import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cli import skopeo
from cli.errors import LabError
from cli.folders import caller
from cli.report import say
from cli.stack import load_settings, secrets_of
from components.config import artifacts, downloads
from components.config.artifacts import MANIFEST, Artifact, Manifest
from components.config.downloads import ARCHITECTURE, Download
from components.config.problems import Problem
from components.config.settings import Registries, Settings
from components.redact import shown

STALL_LIMIT = 60.0
"""Seconds a download may stand still."""

SAY_EVERY = 10.0
"""Seconds between two lines of progress."""

_DIGITS = {64: "sha256", 128: "sha512"}


def main(options: argparse.Namespace) -> int:
    """0 when the directory is complete. LabError with everything that is missing otherwise; what came is kept."""
    config, _plan = load_settings(options.stack)
    _all_known(secrets_of(options.stack))
    if options.directory:
        directory = caller() / options.directory
    elif config.artifacts.directory:
        directory = artifacts.folder(config)
    else:
        raise LabError(
            "the stack sets no artifacts.directory: say ./lab fetch DIRECTORY, and set it for `up` to take the files from"
        )
    manifest = fetch(config, directory)
    total = sum(artifact.size for artifact in manifest.artifacts)
    say(f"{directory} has {len(manifest.artifacts)} files, {total >> 20} MiB, and {MANIFEST}")
    if artifacts.folder(config) != directory or not config.artifacts.directory:
        say(f"for `up` to take them, set artifacts.directory: {directory.resolve()}")
    return 0


# Settings that say where downloads come from. Of registries only the credentials may be secrets: skopeo.py reports missing ones.
_NEEDED = (
    "artifacts", "image", "plugins", "multus.image", "workload.image", "k3s.version", "k3s.releases", "k3s.installScript",
    "k3s.registries", "k3s.systemDefaultRegistry",
)  # fmt: skip


def _all_known(secrets: Iterable[str]) -> None:
    """LabError if a setting that is needed here is a secret of the stack: its default would replace it unnoticed."""
    lacking = Problem("", "", "", frozenset(_NEEDED))
    hidden = sorted(path for path in secrets if lacking.follows_from([path]) and ".auth." not in path)
    if hidden:
        raise LabError(
            f"{', '.join(hidden)}: a secret of the stack, which fetch does not read; write it in clear, or fetch with another "
            "stack file"
        )


def fetch(config: Settings, directory: Path) -> Manifest:
    """Get what is missing or not what the settings want; then write the manifest."""
    skopeo.require()
    directory.mkdir(parents=True, exist_ok=True)
    former = {artifact.file: artifact for artifact in artifacts.read(directory)[0].artifacts}
    sums = Sums()
    fetched: list[Artifact] = []
    failed: list[str] = []
    for download in downloads.for_settings(config):
        try:
            fetched.append(_one(download, directory, former.get(download.file), config.k3s.registries, sums))
        except LabError as error:
            failed.append(f"{download.setting}: {error}")
        except OSError as error:  # of a file: what the network says is a LabError
            failed.append(f"{download.setting}: {error.filename or directory}: {error.strerror or error}")
    if failed:
        raise LabError("not everything could be fetched; say it again when the cause is gone:\n  - " + "\n  - ".join(failed))
    manifest = Manifest(architecture=ARCHITECTURE, artifacts=tuple(fetched))
    new = directory / f"{MANIFEST}.new"
    new.write_text(manifest.model_dump_json(indent=2, by_alias=True, exclude_defaults=False) + "\n", encoding="utf-8")
    new.replace(directory / MANIFEST)
    return manifest


def _one(download: Download, directory: Path, former: Artifact | None, registries: Registries, sums: Sums) -> Artifact:
    if download.kind == "image":
        progress = Progress(download.file)
        image = skopeo.find(registries, download.reference, ARCHITECTURE, progress)
        expected = image.digest
    else:
        expected = sums.of(download)
    if (
        former
        and expected
        and former.serves(download)
        and former.checksum == expected
        and not artifacts.damaged(directory, [former])
    ):
        say(f"{former.file} is here")
        return former
    if download.kind == "image":
        parts = directory / f"{download.file}.parts"
        size, sha256 = _save(directory / download.file, lambda file: skopeo.write(registries, image, parts, file, progress))
    else:
        size, sha256 = _save(directory / download.file, lambda file: _download(download, expected, file))
    return Artifact(
        file=download.file,
        kind=download.kind,
        source=shown(download.source) if "://" in download.source else download.source,
        sha256=sha256,
        size=size,
        version=download.version,
        reference=download.reference,
        checksum=expected,
    )


@dataclass
class Sums:
    """The checksums of downloads, from checksum files that are each read once."""

    texts: dict[str, str] = field(default_factory=dict)
    """Content of each checksum file by its URL."""

    def of(self, download: Download) -> str:
        """sha256:<hex> or sha512:<hex> of the download; "" where the settings give none (the install script)."""
        if "://" not in download.checksum:
            return download.checksum
        if download.checksum not in self.texts:
            self.texts[download.checksum] = b"".join(_read(download.checksum)).decode(errors="replace")
        name = urllib.parse.unquote(urllib.parse.urlsplit(download.source).path).rpartition("/")[2]
        lines = (line.split() for line in self.texts[download.checksum].splitlines())
        digests = {words[0].lower() for words in lines if len(words) == 2 and words[1].lstrip("*").rpartition("/")[2] == name}
        digest = digests.pop() if len(digests) == 1 else ""
        if len(digest) not in _DIGITS or not re.fullmatch("[0-9a-f]+", digest):
            raise LabError(f"{shown(download.checksum)} does not name {name} once with a SHA-256 or SHA-512")
        return f"{_DIGITS[len(digest)]}:{digest}"


def _download(download: Download, expected: str, file: Target) -> None:
    algorithm = expected.partition(":")[0] or "sha256"
    digest, progress, size = hashlib.new(algorithm), Progress(download.file), 0
    for chunk in _read(download.source, progress):
        digest.update(chunk)
        file.write(chunk)
        size += len(chunk)
    if not size:
        raise LabError(f"{shown(download.source)} is empty")
    if expected and expected != f"{algorithm}:{digest.hexdigest()}":
        raise LabError(
            f"{shown(download.source)} has {algorithm} {digest.hexdigest()}, not {expected.partition(':')[2]}: "
            "nothing is kept of it"
        )


def _read(source: str, progress: Progress | None = None) -> Iterator[bytes]:
    """The content of a URL or file in pieces."""
    try:
        with _opened(source) as answer:
            length, size = int(answer.headers.get("Content-Length") or 0), 0
            while chunk := answer.read(1 << 20):
                size += len(chunk)
                if progress is not None:
                    progress(size, length)
                yield chunk
    except urllib.error.HTTPError as error:
        raise LabError(f"{shown(source)} answers {error.code} {error.reason}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise LabError(f"{shown(source)} cannot be fetched: {getattr(error, 'reason', None) or error}") from None
    if length and size != length:
        raise LabError(f"{shown(source)} ended after {size} of {length} bytes: try again")


def _opened(source: str) -> http.client.HTTPResponse:
    url = source if "://" in source else Path(source).as_uri()
    # urlopen reads file:// too; the settings allow no other scheme.
    return urllib.request.urlopen(url, timeout=STALL_LIMIT)  # type: ignore[no-any-return] # noqa: S310


class Target:
    """A file being written, with its size and SHA-256."""

    def __init__(self, path: Path) -> None:
        self.file, self.digest, self.size = path.open("wb"), hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self.file.write(data)


def _save(path: Path, fill: Callable[[Target], None]) -> tuple[int, str]:
    """Size and SHA-256 of the file that `fill` writes; it gets its name only when it is complete."""
    part = path.with_name(f"{path.name}.part")
    target = Target(part)
    try:
        with target.file:
            fill(target)
            target.file.flush()
            os.fsync(target.file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return target.size, target.digest.hexdigest()


class Progress:
    """Prints a line of progress at once, and another every ten seconds."""

    def __init__(self, name: str) -> None:
        self.name, self.spoken = name, 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.spoken > SAY_EVERY:
            self.spoken = now
            say(f"{self.name}: {done / 2**20:.1f}" + (f" of {total / 2**20:.1f}" if total else "") + " MiB")
