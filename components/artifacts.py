"""Artifacts: files in a directory in place of every download, and the manifest that says what they are.

`wanted` says what a stack downloads, and `./lab fetch` (labtools/fetch.py) fills a directory with it. A preview reads
manifest.json alone; `up` reads each file once before anything is made, and the nodes get them on a read-only disk
(libvirt/artifacts.py), so no byte is copied over SSH.
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
from urllib.parse import quote, unquote, urlsplit

from pydantic import Field, StringConstraints, ValidationError

from components.libvirt.volume import shown
from components.mistakes import Problem, SettingsError
from components.plan import ImagePlan
from components.settings import Model, Settings

ROOT = Path(__file__).parent.parent
MANIFEST = "manifest.json"
ARCHITECTURE = "amd64"
NODE_DIRECTORY = "/var/lib/k3s-macvlan/artifacts"
"""Where artifacts.sh puts what is no image archive."""

Kind = Literal["base-image", "install-script", "k3s", "k3s-images", "cni-plugins", "image"]
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


class Manifest(Model):
    """manifest.json."""

    format: Literal[1] = 1
    architecture: str = ARCHITECTURE
    artifacts: tuple[Artifact, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a stack downloads. setting: what names it. checksum: as in the settings, or the URL of a file that names `source`."""

    kind: Kind
    file: str
    source: str
    setting: str
    version: str = ""
    reference: str = ""
    checksum: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.reference or self.version or self.source}"

    def fits(self, artifact: Artifact) -> bool:
        """Whether the file is what the settings ask for now: by digest where they give one, else by where it came from."""
        mine, its = (self.kind, self.version, self.reference), (artifact.kind, artifact.version, artifact.reference)
        if mine != its:
            return False
        if self.kind in ("k3s", "k3s-images", "image"):
            return True
        if re.match(r"sha(256|512):", self.checksum):
            return self.checksum in (artifact.checksum, f"sha256:{artifact.sha256}")
        return artifact.source in (self.source, shown(self.source))


def wanted(settings: Settings) -> list[Wanted]:
    """Everything that `up` and the nodes of this stack download."""
    image, script, version = settings.image, settings.k3s.install_script, settings.k3s.version
    release = release_url(settings)
    sums = f"{release}/sha256sum-{ARCHITECTURE}.txt"
    images = f"k3s-airgap-images-{ARCHITECTURE}.tar.zst"
    references = {reference(settings.multus.image): "multus.image", reference(settings.workload.image): "workload.image"}
    return [
        Wanted(kind="base-image", file=_file(image.source), source=image.source, setting="image", checksum=image.checksum),
        Wanted(
            kind="install-script",
            file="k3s-install.sh",
            source=script.url,
            setting="k3s.installScript",
            checksum=f"sha256:{script.sha256}" if script.sha256 else "",
        ),
        Wanted(kind="k3s", file=f"k3s-{version}", source=f"{release}/k3s", setting="k3s.version", version=version, checksum=sums),
        Wanted(
            kind="k3s-images",
            file=f"k3s-{version}-images.tar.zst",
            source=f"{release}/{images}",
            setting="k3s.version",
            version=version,
            checksum=sums,
        ),
        Wanted(
            kind="cni-plugins",
            file=_file(settings.plugins.url),
            source=settings.plugins.url,
            setting="plugins",
            checksum=settings.plugins.checksum,
        ),
        *(
            Wanted(kind="image", file=f"{_file(name)}.tar", source=name, setting=setting, reference=name)
            for name, setting in sorted(references.items())
        ),
    ]


def release_url(settings: Settings) -> str:
    """Where the files of the K3s release are: what K3s's install script makes of its environment."""
    environment, version = settings.k3s.install_script.environment, settings.k3s.version
    if environment.get("INSTALL_K3S_MIRROR") == "cn":
        base = environment.get("INSTALL_K3S_MIRROR_URL", "rancher-mirror.rancher.cn")
        return f"{base if '://' in base else f'https://{base}'}/k3s/{version.replace('+', '-')}"
    return f"{settings.k3s.releases or 'https://github.com/k3s-io/k3s/releases'}/download/{quote(version)}"


def reference(image: str) -> str:
    """An image's name as containerd keeps it: nginx:1.25 is docker.io/library/nginx:1.25; a digest takes the place of a tag."""
    first, slash, rest = image.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        first, rest = "docker.io", image if slash else f"library/{image}"
    name, at, digest = rest.partition("@")
    return f"{first}/{name.partition(':')[0]}@{digest}" if at else f"{first}/{rest}"


def _file(name: str) -> str:
    """A file's name from a URL, path or image reference."""
    path = unquote(urlsplit(name).path) if "://" in name else name
    last = path.rpartition("/")[2] if "://" in name or name.startswith("/") else path
    return re.sub(r"[^A-Za-z0-9._+-]", "-", last).lstrip("._+-")[-90:] or "file"


# --- the directory ---


@dataclass(frozen=True, kw_only=True)
class Stock:
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


def load(stack: str, settings: Settings, *, files: bool) -> Stock | None:
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
    return Stock(directory=directory, manifest=manifest, needed=tuple(needed))


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
    for each in wanted(settings):
        found = next((artifact for artifact in manifest.artifacts if each.fits(artifact)), None)
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
