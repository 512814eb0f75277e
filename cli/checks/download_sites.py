"""The download sites of a stack, each probed once with a short limit, from this machine: the nodes' route may differ."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cli.findings import Finding, Findings, error, ok, warning
from components.config import artifacts, downloads
from components.config.settings import Settings
from components.redact import shown

PROBE_SECONDS = 5.0
"""Limit of one request."""
_DOCKER = "registry-1.docker.io"


@dataclass(frozen=True, kw_only=True)
class Site:
    """A URL that a stack downloads from."""

    url: str
    setting: str
    """The setting that names it."""
    here: bool = False
    """This machine downloads it; else each node does."""
    whole: bool = True
    """The URL is the file itself, and must be served; else any answer of the server will do."""


def sites(config: Settings) -> list[Site]:
    """Everything that `up` downloads from, once each."""
    downloaded: list[Site] = []
    if config.image.source.startswith("http"):
        downloaded.append(Site(url=config.image.source, setting="image.source", here=True))
    if config.image.checksum.startswith("http"):
        downloaded.append(Site(url=config.image.checksum, setting="image.checksum", here=True))
    script = config.k3s.install_script
    downloaded.append(Site(url=script.url, setting="k3s.installScript.url"))
    downloaded += [
        Site(url=value, setting=f"k3s.installScript.environment.{name}", whole=False)
        for name, value in sorted(script.environment.items())
        if value.startswith(("http://", "https://")) and "proxy" not in name.lower()
    ]
    release = f"{downloads.release_url(config)}/sha256sum-{downloads.ARCHITECTURE}.txt"
    downloaded.append(Site(url=release, setting="k3s.releases" if config.k3s.releases else "k3s.version"))
    downloaded.append(Site(url=config.plugins.url, setting="plugins.url"))
    if config.plugins.checksum.startswith("http"):
        downloaded.append(Site(url=config.plugins.checksum, setting="plugins.checksum"))
    downloaded += _registries(config)
    return list({site.url: site for site in reversed(downloaded)}.values())[::-1]


def _registries(config: Settings) -> Iterable[Site]:
    """Where the images come from: each registry's mirrors, or the registry itself."""
    names = {_registry(image) for image in (config.multus.image, config.workload.image)}
    names.add(config.k3s.system_default_registry or "docker.io")
    mirrors = config.k3s.registries.mirrors
    for name in sorted(names):
        mirror = mirrors.get(name) or mirrors.get("*")
        if mirror is not None:
            yield from (
                Site(url=endpoint.rstrip("/") + "/v2/", setting=f"k3s.registries.mirrors.{name}", whole=False)
                for endpoint in mirror.endpoint
            )
        else:
            host = _DOCKER if name == "docker.io" else name
            yield Site(url=f"https://{host}/v2/", setting=f"k3s.registries (images of {name})", whole=False)


def _registry(image: str) -> str:
    """docker.io of nginx:1.25, ghcr.io of ghcr.io/a/b:c."""
    first, slash, _rest = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"


def probe(url: str) -> int | str:
    """The status of a HEAD request, or why there is none. Of a server that knows no HEAD the first byte is requested."""
    for method, headers in (("HEAD", {}), ("GET", {"Range": "bytes=0-0"})):
        request = urllib.request.Request(url, method=method, headers={"User-Agent": "lab-doctor", **headers})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=PROBE_SECONDS) as response:  # noqa: S310 - http(s) by the settings' type
                return int(response.status)
        except urllib.error.HTTPError as refusal:
            if method == "HEAD" and refusal.code in (403, 404, 405, 501):
                continue
            return refusal.code
        except OSError as failure:
            return str(getattr(failure, "reason", None) or failure)
        except ValueError as failure:
            return str(failure)
    return "no answer"


def check(config: Settings, request: Callable[[str], int | str] = probe) -> Findings:
    if config.artifacts.directory:
        yield from _artifacts(config)
        return
    source = config.image.source
    if not source.startswith("http"):
        yield _file(source.removeprefix("file://"))
    to_probe = sites(config)
    with ThreadPoolExecutor(max_workers=8) as pool:
        for site, answer in zip(to_probe, pool.map(lambda site: request(site.url), to_probe), strict=True):
            yield assess(site, answer)


def _artifacts(config: Settings) -> Findings:
    """The directory in place of every site, each file read."""
    artifact_set, problems = artifacts.find(config, verify=True)
    for problem in problems:
        damage, _semicolon, fix = problem.conflict.partition("; ")
        yield error("artifacts", f"{problem.value} {damage}", "it replaces every download", fix or "./lab fetch")
    if artifact_set is None:
        return
    files = artifact_set.needed
    size = sum(artifact.size for artifact in files) >> 20
    yield ok("artifacts", f"{config.artifacts.directory} has all {len(files)} files, {size} MiB, each with its SHA-256")


def _file(path: str) -> Finding:
    if Path(path).is_file():
        return ok("downloads", f"image.source {path} is here")
    return error("downloads", f"image.source {path} is no file here", "every disk is made over it", "correct image.source")


def assess(site: Site, answer: int | str) -> Finding:
    """A file must be served; of a mirror or a registry any answer shows that it is there."""
    url = shown(site.url)
    served = isinstance(answer, int) and (answer < 400 or (not site.whole and answer < 500))
    if served:
        return ok("downloads", f"{url} answers {answer}")
    observed = f"{url} ({site.setting}) {'answers' if isinstance(answer, int) else 'does not answer:'} {answer}"
    fix = f"another address in {site.setting.split(' ', 1)[0]}: a mirror or, for the image, a file"
    if site.here:
        return error("downloads", observed, "this machine downloads it for `up`, unless it is in the pool already", fix)
    return warning("downloads", observed, "the nodes download from it; their route may differ from this machine's", fix)
