"""The download sites of a stack, each asked once with a short limit. From here: the nodes' own way may differ."""

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

LIMIT = 5.0
_DOCKER = "registry-1.docker.io"


@dataclass(frozen=True, kw_only=True)
class Site:
    """url: what is asked. setting: what names it. here: this machine downloads it; else each node does. whole: the answer
    must be the file itself, not only a server that speaks."""

    url: str
    setting: str
    here: bool = False
    whole: bool = True


def sites(config: Settings) -> list[Site]:
    """Everything that `up` downloads from, once each."""
    found: list[Site] = []
    if config.image.source.startswith("http"):
        found.append(Site(url=config.image.source, setting="image.source", here=True))
    if config.image.checksum.startswith("http"):
        found.append(Site(url=config.image.checksum, setting="image.checksum", here=True))
    script = config.k3s.install_script
    found.append(Site(url=script.url, setting="k3s.installScript.url"))
    found += [
        Site(url=value, setting=f"k3s.installScript.environment.{name}", whole=False)
        for name, value in sorted(script.environment.items())
        if value.startswith(("http://", "https://")) and "proxy" not in name.lower()
    ]
    release = f"{downloads.release_url(config)}/sha256sum-{downloads.ARCHITECTURE}.txt"
    found.append(Site(url=release, setting="k3s.releases" if config.k3s.releases else "k3s.version"))
    found.append(Site(url=config.plugins.url, setting="plugins.url"))
    if config.plugins.checksum.startswith("http"):
        found.append(Site(url=config.plugins.checksum, setting="plugins.checksum"))
    found += _registries(config)
    return list({site.url: site for site in reversed(found)}.values())[::-1]


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


def ask(url: str) -> int | str:
    """The status of a HEAD request, or why there is none. A server that knows no HEAD is asked for the first byte."""
    for method, headers in (("HEAD", {}), ("GET", {"Range": "bytes=0-0"})):
        request = urllib.request.Request(url, method=method, headers={"User-Agent": "lab-doctor", **headers})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=LIMIT) as answer:  # noqa: S310 - http(s) by the settings' type
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            if method == "HEAD" and refused.code in (403, 404, 405, 501):
                continue
            return refused.code
        except OSError as failed:
            return str(getattr(failed, "reason", None) or failed)
        except ValueError as failed:
            return str(failed)
    return "no answer"


def check(config: Settings, request: Callable[[str], int | str] = ask) -> Findings:
    if config.artifacts.directory:
        yield from _artifacts(config)
        return
    source = config.image.source
    if not source.startswith("http"):
        yield _file(source.removeprefix("file://"))
    todo = sites(config)
    with ThreadPoolExecutor(max_workers=8) as pool:
        for site, answer in zip(todo, pool.map(lambda site: request(site.url), todo), strict=True):
            yield judge(site, answer)


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


def judge(site: Site, answer: int | str) -> Finding:
    """A file must be served; of a mirror or a registry any answer shows that it is there."""
    url = shown(site.url)
    good = isinstance(answer, int) and (answer < 400 or (not site.whole and answer < 500))
    if good:
        return ok("downloads", f"{url} answers {answer}")
    seen = f"{url} ({site.setting}) {'answers' if isinstance(answer, int) else 'does not answer:'} {answer}"
    fix = f"another address in {site.setting.split(' ', 1)[0]}: a mirror or, for the image, a file"
    if site.here:
        return error("downloads", seen, "this machine downloads it for `up`, unless it is in the pool already", fix)
    return warning("downloads", seen, "the nodes download from it; their way out may differ from this machine's", fix)
