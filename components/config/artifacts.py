"""Artifacts: files in a directory in place of every download, and the manifest that says what they are.

`wanted` says what a stack downloads, and `./lab fetch` (cli/verbs/fetch.py) fills a directory with it. A preview reads
manifest.json alone; `up` reads each file once before anything is made, and the nodes get them on a read-only disk
(libvirt/artifact_disk.py), so no byte is copied over SSH.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import Field, StringConstraints, ValidationError

from components.config.downloads import ARCHITECTURE, Download, Kind, for_settings
from components.config.plan import ImagePlan
from components.config.problems import Problem, SettingsError
from components.config.settings import Model, Settings
from components.redact import shown

ROOT = Path(__file__).parents[2]
MANIFEST = "manifest.json"
NODE_DIRECTORY = "/var/lib/k3s-macvlan/artifacts"
"""Where artifacts.sh puts what is no image archive."""

_SETTING = "artifacts.directory"


class Artifact(Model):
    """One file of the directory. source, version, reference: what it was fetched for. checksum: what it was verified with."""

    file: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,95}$")]
    kind: Kind
    source: str
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(strict=True, ge=1)]
    version: str = ""
    reference: str = ""
    checksum: str = ""

    def serves(self, download: Download) -> bool:
        """Whether the file is what the settings ask for now: by digest where they give one, else by where it came from."""
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
    architecture: str = ARCHITECTURE
    artifacts: tuple[Artifact, ...] = ()


# --- the directory ---


@dataclass(frozen=True, kw_only=True)
class ArtifactSet:
    """A directory whose manifest fits the stack's settings."""

    directory: Path
    manifest: Manifest
    needed: tuple[Artifact, ...]

    def of(self, kind: Kind) -> Artifact:
        return next(each for each in self.needed if each.kind == kind)

    @property
    def index(self) -> str:
        """What is on the nodes' disk, as JSON that is equal where the files are."""
        files = [
            {"images": each.kind in ("k3s-images", "image"), "name": each.file, "sha256": each.sha256, "size": each.size}
            for each in self.needed
            if each.kind != "base-image"
        ]
        return json.dumps({"files": files}, sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """Names the disk: other files are another disk."""
        return hashlib.sha256(self.index.encode()).hexdigest()[:20]

    def on_node(self, kind: Kind) -> str:
        """Path of a file on the nodes."""
        return f"{NODE_DIRECTORY}/{self.digest}/{self.of(kind).file}"

    def image(self, image: ImagePlan) -> ImagePlan:
        """The base image from here, the same volume where the settings give its digest; a checksum file is out of reach."""
        found = self.of("base-image")
        path = str(self.directory / found.file)
        if re.match(r"sha(256|512):", image.checksum):
            return replace(image, source=path)
        return replace(image, source=path, checksum=f"sha256:{found.sha256}", name=f"base-{found.sha256[:20]}.{image.format}")

    def settings(self, settings: Settings) -> Settings:
        """The settings with what is on the nodes in place of what they would download.

        K3s's own images are in their archive under their own names, so no other registry stands in front of them.
        """
        script, plugins = self.of("install-script"), self.of("cni-plugins")
        here = {"url": f"file://{quote(self.on_node('install-script'))}", "sha256": script.sha256}
        k3s = settings.k3s.model_copy(
            update={"install_script": settings.k3s.install_script.model_copy(update=here), "system_default_registry": ""}
        )
        archive = {"url": f"file://{quote(self.on_node('cni-plugins'))}", "checksum": f"sha256:{plugins.sha256}"}
        return settings.model_copy(update={"k3s": k3s, "plugins": settings.plugins.model_copy(update=archive)})


def load(stack: str, settings: Settings, *, files: bool) -> ArtifactSet | None:
    """The stack's artifacts; None where none are set. files: read every file too, not only the manifest.

    Raises SettingsError with everything that is missing, damaged or not of these settings.
    """
    if not settings.artifacts.directory:
        return None
    directory = folder(settings)
    manifest, problems = read(directory)
    needed: list[Artifact] = []
    if not problems:
        needed, problems = match(manifest, settings)
    if files:
        problems += damaged(directory, needed)
    if problems:
        raise SettingsError(stack, problems)
    return ArtifactSet(directory=directory, manifest=manifest, needed=tuple(needed))


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
        problem = f"{MANIFEST} is not one of this program ({where or 'document'}: {first['msg']}); ./lab fetch makes it anew"
    return Manifest(), [Problem(_SETTING, str(directory), problem)]


def match(manifest: Manifest, settings: Settings) -> tuple[list[Artifact], list[Problem]]:
    """The artifacts these settings need, and what the manifest lacks of them. Pure."""
    problems, needed = [], []
    if manifest.architecture != ARCHITECTURE:
        conflict = f"holds files for {manifest.architecture}, the machines are {ARCHITECTURE}; ./lab fetch fills it for them"
        problems.append(Problem(_SETTING, settings.artifacts.directory, conflict))
    for each in for_settings(settings):
        found = next((artifact for artifact in manifest.artifacts if artifact.serves(each)), None)
        if found is not None:
            needed.append(found)
            continue
        others = [artifact for artifact in manifest.artifacts if artifact.kind == each.kind]
        has = ", ".join(other.reference or other.version or other.source for other in others) or "none"
        conflict = f"has no {each} as {each.setting} asks for (it has {has}); ./lab fetch gets it, or correct the setting"
        problems.append(Problem(_SETTING, settings.artifacts.directory, conflict))
    return needed, problems


def damaged(directory: Path, artifacts: list[Artifact]) -> list[Problem]:
    """Files that are not there or not what the manifest says; each is read once."""

    def look(artifact: Artifact) -> Iterator[Problem]:
        path = directory / artifact.file
        cure = "./lab fetch gets it anew, or bring back the file"
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest() if size == artifact.size else ""
        except OSError as error:
            yield Problem(_SETTING, str(path), f"is in the manifest and cannot be read ({error.strerror}); {cure}")
            return
        if not digest:
            yield Problem(_SETTING, str(path), f"has {size} bytes, the manifest says {artifact.size}; {cure}")
        elif digest != artifact.sha256:
            yield Problem(_SETTING, str(path), f"has the SHA-256 {digest}, the manifest says {artifact.sha256}; {cure}")

    with ThreadPoolExecutor(max_workers=4) as pool:
        return [problem for found in pool.map(lambda each: list(look(each)), artifacts) for problem in found]
