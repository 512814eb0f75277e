"""Artifacts: files in a directory in place of every download, and the manifest that says what they are.

`./lab fetch` (cli/verbs/fetch.py) fills a directory with what a stack downloads (`downloads.for_settings`). A preview reads
manifest.json alone; `up` reads each file once before anything is created, and the nodes get them on a read-only disk
(libvirt/artifact_disk.py), so no byte is copied over SSH.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import Field, StringConstraints, ValidationError

from components.config.downloads import ARCHITECTURE, Download, Kind, for_settings
from components.config.model import Model
from components.config.problems import Problem
from components.config.settings import Settings
from components.redact import shown

ROOT = Path(__file__).parents[2]
MANIFEST = "manifest.json"
NODE_DIRECTORY = "/var/lib/k3s-macvlan/artifacts"
"""Where artifacts.sh puts what is no image archive."""

_SETTING = "artifacts.directory"


class Artifact(Model):
    """One file of the directory."""

    file: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,95}$")]
    """Its name in the directory."""
    kind: Kind
    """What it is for."""
    source: str
    """The URL, path or image reference it was fetched from."""
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    """Its SHA-256 in hexadecimal digits."""
    size: Annotated[int, Field(strict=True, ge=1)]
    """In bytes."""
    version: str = ""
    """Of K3s's files: the release, as v1.36.4+k3s1."""
    reference: str = ""
    """Of an image: its full name, as docker.io/library/nginx:1.25."""
    checksum: str = ""
    """What it was verified with when it was fetched, as sha256:<hex>."""

    def serves(self, download: Download) -> bool:
        """Whether the file is what the settings want now: by digest where they give one, else by where it came from."""
        if (self.kind, self.version, self.reference) != (download.kind, download.version, download.reference):
            return False
        if self.kind in ("k3s", "k3s-images", "image"):
            return True
        if re.match(r"sha(256|512):", download.checksum):
            return download.checksum in (self.checksum, f"sha256:{self.sha256}")
        return self.source in (download.source, shown(download.source))


class Manifest(Model):
    """manifest.json."""

    format: Literal[1] = 1
    """Version of this document's form."""
    architecture: str = ARCHITECTURE
    """Of the machines that the files are for, as amd64."""
    artifacts: tuple[Artifact, ...] = ()
    """The files."""


# --- the directory ---


@dataclass(frozen=True, kw_only=True)
class ArtifactSet:
    """A directory whose manifest fits the stack's settings."""

    directory: Path
    """Where the files are on this machine."""
    needed: tuple[Artifact, ...]
    """The files that this stack needs, one for each of its downloads."""

    def of(self, kind: Kind) -> Artifact:
        """The only file of this kind, or the first image."""
        return next(artifact for artifact in self.needed if artifact.kind == kind)

    @property
    def index(self) -> str:
        """What is on the nodes' disk, as JSON that is equal where the files are."""
        files = [
            {
                "images": artifact.kind in ("k3s-images", "image"),
                "name": artifact.file,
                "sha256": artifact.sha256,
                "size": artifact.size,
            }
            for artifact in self.needed
            if artifact.kind != "base-image"
        ]
        return json.dumps({"files": files}, sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """Names the disk: with other files it is another disk."""
        return hashlib.sha256(self.index.encode()).hexdigest()[:20]

    def on_node(self, kind: Kind) -> str:
        """Path of a file on the nodes."""
        return f"{NODE_DIRECTORY}/{self.digest}/{self.of(kind).file}"

    def applied_to(self, settings: Settings) -> Settings:
        """The settings with the files in place of downloads.

        The base image stays the same volume where the settings give its digest; a checksum file is out of reach. K3s's own images
        are in their archive under their own names, so no other registry replaces theirs.
        """
        base, script, plugins = self.of("base-image"), self.of("install-script"), self.of("cni-plugins")
        image = {"source": str(self.directory / base.file)}
        if not re.match(r"sha(256|512):", settings.image.checksum):
            image["checksum"] = f"sha256:{base.sha256}"
        local_script = {"url": f"file://{quote(self.on_node('install-script'))}", "sha256": script.sha256}
        k3s = settings.k3s.model_copy(
            update={"install_script": settings.k3s.install_script.model_copy(update=local_script), "system_default_registry": ""}
        )
        archive = {"url": f"file://{quote(self.on_node('cni-plugins'))}", "checksum": f"sha256:{plugins.sha256}"}
        return settings.model_copy(
            update={
                "image": settings.image.model_copy(update=image),
                "k3s": k3s,
                "plugins": settings.plugins.model_copy(update=archive),
            }
        )


def find(settings: Settings, *, verify: bool) -> tuple[ArtifactSet | None, list[Problem]]:
    """The stack's artifacts, or everything that is missing, damaged or not of these settings; neither where none are set.

    verify: read every file too, once, and not only the manifest.
    """
    if not settings.artifacts.directory:
        return None, []
    directory = folder(settings)
    manifest, problems = read(directory)
    needed: list[Artifact] = []
    if not problems:
        needed, problems = match(manifest, settings)
    if verify:
        problems += damaged(directory, needed)
    return (None if problems else ArtifactSet(directory=directory, needed=tuple(needed))), problems


def folder(settings: Settings) -> Path:
    return ROOT / Path(settings.artifacts.directory).expanduser()


def read(directory: Path) -> tuple[Manifest, list[Problem]]:
    """manifest.json, or why it cannot be used."""
    path = directory / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes()), []
    except OSError as error:
        problem = f"{MANIFEST} cannot be read ({error.strerror}); ./lab fetch makes it"
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        problem = f"{MANIFEST} is not one of this program ({where or 'document'}: {first['msg']}); ./lab fetch recreates it"
    return Manifest(), [Problem(_SETTING, str(directory), problem)]


def match(manifest: Manifest, settings: Settings) -> tuple[list[Artifact], list[Problem]]:
    """The artifacts these settings need, and what the manifest lacks of them. Pure."""
    problems, needed = [], []
    if manifest.architecture != ARCHITECTURE:
        conflict = f"holds files for {manifest.architecture}, the machines are {ARCHITECTURE}; ./lab fetch fills it for them"
        problems.append(Problem(_SETTING, settings.artifacts.directory, conflict))
    for download in for_settings(settings):
        artifact = next((artifact for artifact in manifest.artifacts if artifact.serves(download)), None)
        if artifact is not None:
            needed.append(artifact)
            continue
        others = [artifact for artifact in manifest.artifacts if artifact.kind == download.kind]
        has = ", ".join(other.reference or other.version or other.source for other in others) or "none"
        conflict = f"has no {download} as {download.setting} asks for (it has {has}); ./lab fetch gets it, or correct the setting"
        problems.append(Problem(_SETTING, settings.artifacts.directory, conflict, frozenset({_SETTING, download.setting})))
    return needed, problems


def damaged(directory: Path, artifacts: Sequence[Artifact]) -> list[Problem]:
    """Files that are not there or not what the manifest says; each is read once."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        return [problem for problem in pool.map(partial(_damage, directory), artifacts) if problem]


def _damage(directory: Path, artifact: Artifact) -> Problem | None:
    """Why a file cannot be read or is not what the manifest says."""
    path = directory / artifact.file
    remedy = "./lab fetch gets it again, or bring back the file"
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest() if size == artifact.size else ""
    except OSError as error:
        return Problem(_SETTING, str(path), f"is in the manifest and cannot be read ({error.strerror}); {remedy}")
    if not digest:
        return Problem(_SETTING, str(path), f"has {size} bytes, the manifest says {artifact.size}; {remedy}")
    if digest != artifact.sha256:
        return Problem(_SETTING, str(path), f"has the SHA-256 {digest}, the manifest says {artifact.sha256}; {remedy}")
    return None
