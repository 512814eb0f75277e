"""Images and downloads stay what they were when they were chosen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rules.values import UNKNOWN, at, environment, text
from rules.workloads import containers

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_INSTALL_SCRIPT = "INSTALL"


def floating_images(kind: str, props: Any) -> Iterator[str]:
    """Images without tag and digest."""
    for container, image in _images(kind, props):
        if "@" not in image and not _tag(image):
            yield f"container {container} runs {image}, which has neither tag nor digest; write {image}:<version>"


def latest_images(kind: str, props: Any) -> Iterator[str]:
    """Images of the tag latest without digest."""
    for container, image in _images(kind, props):
        if "@" not in image and _tag(image) == "latest":
            yield f"container {container} runs {image}, another image tomorrow; name a version or a digest"


def unverified(kind: str, props: Any) -> Iterator[str]:
    """Downloads that nothing verifies. The K3s install script has a rule of its own."""
    if _is_base_image(kind):
        checksum = at(props, "checksum")
        if checksum is not UNKNOWN and not (_DIGEST.fullmatch(str(checksum)) or _is_url(checksum)):
            source = _shown(at(props, "source"))
            yield f"the base image {source} has the checksum {checksum!r}; set image.checksum to sha256:... or sha512:..."
    for name, url, digest, sums in _node_downloads(kind, props):
        if name != _INSTALL_SCRIPT and not digest and not sums:
            yield f"{_shown(url)} is downloaded without a checksum; set the checksum next to its URL"


def verified_by_its_site(kind: str, props: Any) -> Iterator[str]:
    """Downloads whose checksum is a file of the network: it changes together with the download."""
    if _is_base_image(kind) and _is_url(at(props, "checksum")):
        yield f"the base image is verified by {_shown(at(props, 'checksum'))}; write the checksum itself into image.checksum"
    for _, url, digest, sums in _node_downloads(kind, props):
        if sums and not digest:
            yield f"{_shown(url)} is verified by {_shown(sums)}; write the checksum itself next to its URL"


def unverified_install_script(kind: str, props: Any) -> Iterator[str]:
    """K3s's install script without a checksum."""
    for name, url, digest, _ in _node_downloads(kind, props):
        if name == _INSTALL_SCRIPT and not digest:
            yield f"{_shown(url)} is run as it comes; set k3s.installScript.sha256"


def _images(kind: str, props: Any) -> Iterator[tuple[str, str]]:
    for container in containers(kind, props):
        image = text(at(container, "image"))
        if image is not None:
            yield str(at(container, "name")), image


def _tag(image: str) -> str:
    return image.rsplit("/", 1)[-1].partition(":")[2]


def _shown(url: Any) -> str:
    """The URL without a password that it may hold: messages of rules are read by many."""
    return re.sub(r"://[^/@\s]*@", "://[redacted]@", str(url))


def _is_base_image(kind: str) -> bool:
    """A prepared image is made over the base image that its inputs name."""
    return kind in ("pulumi-python:dynamic/libvirt:BaseImage", "pulumi-python:dynamic/libvirt:PreparedImage")


def _is_url(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("http://", "https://"))


def _node_downloads(kind: str, props: Any) -> Iterator[tuple[str, str, str, str]]:
    """(name, URL, digest, URL of a checksum file) of what a script on a node downloads: NAME_URL, NAME_SHA256, NAME_SUMS_URL."""
    if kind != "command:remote:Command":
        return
    variables = environment(at(props, "create"))
    for variable, url in variables.items():
        name = variable.removesuffix("_URL")
        if name != variable and not name.endswith("_SUMS") and url:
            yield name, url, variables.get(f"{name}_SHA256", ""), variables.get(f"{name}_SUMS_URL", "")
