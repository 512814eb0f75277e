"""Everything a stack downloads: the settings that name it, its URL or reference, and its file's name. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

from components.config.settings import Settings

ARCHITECTURE = "amd64"

Kind = Literal["base-image", "install-script", "k3s", "k3s-images", "cni-plugins", "image"]


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file or image that a stack downloads."""

    kind: Kind
    """What it is for."""
    file: str
    """Its name in a directory of artifacts."""
    source: str
    """The URL, path or image reference it is downloaded from."""
    setting: str
    """Path of the setting that names it."""
    version: str = ""
    """Of K3s's files: the release, as v1.36.4+k3s1."""
    reference: str = ""
    """Of an image: its full name, as docker.io/library/nginx:1.25."""
    checksum: str = ""
    """As in the settings, sha256:<hex> for instance, or the URL of a checksum file that names `source`; "": none."""

    def __str__(self) -> str:
        return f"{self.kind} {self.reference or self.version or self.source}"


def for_settings(settings: Settings) -> list[Download]:
    """Everything that `up` and the nodes of this stack download."""
    image, script, version = settings.image, settings.k3s.install_script, settings.k3s.version
    release = release_url(settings)
    sums = f"{release}/sha256sum-{ARCHITECTURE}.txt"
    images = f"k3s-airgap-images-{ARCHITECTURE}.tar.zst"
    references = {reference(settings.multus.image): "multus.image", reference(settings.workload.image): "workload.image"}
    if settings.k3s.virtual_address is not None:
        references[reference(settings.k3s.kube_vip.image)] = "k3s.kubeVip.image"
    return [
        Download(kind="base-image", file=file_name(image.source), source=image.source, setting="image", checksum=image.checksum),
        Download(
            kind="install-script",
            file="k3s-install.sh",
            source=script.url,
            setting="k3s.installScript",
            checksum=f"sha256:{script.sha256}" if script.sha256 else "",
        ),
        Download(kind="k3s", file=f"k3s-{version}", source=f"{release}/k3s", setting="k3s.version", version=version, checksum=sums),
        Download(
            kind="k3s-images",
            file=f"k3s-{version}-images.tar.zst",
            source=f"{release}/{images}",
            setting="k3s.version",
            version=version,
            checksum=sums,
        ),
        Download(
            kind="cni-plugins",
            file=file_name(settings.plugins.url),
            source=settings.plugins.url,
            setting="plugins",
            checksum=settings.plugins.checksum,
        ),
        *(
            Download(kind="image", file=f"{file_name(name)}.tar", source=name, setting=setting, reference=name)
            for name, setting in sorted(references.items())
        ),
    ]


def with_credentials(settings: Settings) -> list[str]:
    """Paths of the settings with a URL that has a user or password and that nodes download from."""
    urls = {
        "k3s.installScript.url": settings.k3s.install_script.url,
        "plugins.url": settings.plugins.url,
        "plugins.checksum": settings.plugins.checksum,
    }
    return [setting for setting, url in urls.items() if "://" in url and "@" in urlsplit(url).netloc]


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


def file_name(name: str) -> str:
    """A file's name from a URL, path or image reference."""
    path = unquote(urlsplit(name).path) if "://" in name else name
    last = path.rpartition("/")[2] if "://" in name or name.startswith("/") else path
    return re.sub(r"[^A-Za-z0-9._+-]", "-", last).lstrip("._+-")[-90:] or "file"
