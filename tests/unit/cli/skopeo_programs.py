"""A program `skopeo` that records how it is called, and a registry over HTTP for skopeo itself."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

PROGRAM = """#!{python}
import json, os, pathlib, shutil, stat, sys, time
root = pathlib.Path({root!r})
words = sys.argv[1:]
call = {{"words": words}}
for option, value in zip(words, words[1:]):
    if option == "--authfile":
        call["auths"] = json.loads(pathlib.Path(value).read_text())["auths"]
        call["mode"] = stat.S_IMODE(os.stat(value).st_mode)
    if option.endswith("cert-dir"):
        call["certificates"] = {{path.name: path.read_text() for path in sorted(pathlib.Path(value).iterdir())}}
with (root / "calls").open("a") as log:
    log.write(json.dumps(call) + "\\n")
if {real!r}:
    os.execv({real!r}, [{real!r}, *words])
if (root / "stall").exists():
    time.sleep(60)
source = next(word for word in words if word.startswith("docker://")).removeprefix("docker://")
version = source[len(source.rpartition("/")[0]) + 1:].replace("@", ":").partition(":")[2]
repository = source[: -len(version) - 1]
refusals = json.loads((root / "refusals").read_text())
served = json.loads((root / "served").read_text())
if repository not in served or not (root / "manifests" / version).exists():
    text = refusals.get(repository, "reading manifest: manifest unknown")
    text = 'Error parsing image name "docker://' + source + '": ' + text
    sys.exit('time="2026-01-01T00:00:00Z" level=fatal msg=' + json.dumps(text))
body = (root / "manifests" / version).read_bytes()
if words[0] == "inspect":
    sys.stdout.buffer.write(body)
else:
    folder = pathlib.Path(words[-1].removeprefix("dir:"))
    folder.mkdir()
    (folder / "version").write_text("Directory Transport Version: 1.1\\n")
    (folder / "manifest.json").write_bytes(body)
    for blob in (root / "blobs").iterdir():
        shutil.copy(blob, folder)
"""


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Content:
    """An image for two architectures, v1."""

    def __init__(self) -> None:
        self.manifests, self.blobs, entries = dict[str, tuple[str, bytes]](), dict[str, bytes](), []
        for architecture in ("arm64", "amd64"):
            layer = gzip.compress(f"layer of {architecture}".encode() * 1000, mtime=0)
            config = json.dumps(
                {"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest(layer)] * 2}}
            ).encode()
            self.blobs |= {digest(config): config, digest(layer): layer}
            layers = [self.entry(layer, "application/vnd.docker.image.rootfs.diff.tar.gzip")] * 2
            described = self.entry(config, "application/vnd.docker.container.image.v1+json")
            body = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": layers}).encode()
            self.manifests[digest(body)] = (MANIFEST, body)
            entries.append({**self.entry(body, MANIFEST), "platform": {"os": "linux", "architecture": architecture}})
        self.amd64 = str(entries[1]["digest"])
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
        self.index = digest(index)
        self.manifests["v1"] = self.manifests[self.index] = (INDEX, index)

    @staticmethod
    def entry(data: bytes, kind: str) -> dict[str, Any]:
        return {"digest": digest(data), "size": len(data), "mediaType": kind}


class Skopeo:
    """The program on PATH, which records its calls. real: the path of skopeo, to which it hands on."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *served: str, real: str = "") -> None:
        self.root, self.content = folder, Content()
        (folder / "bin").mkdir(parents=True)
        program = folder / "bin" / "skopeo"
        program.write_text(PROGRAM.format(python=sys.executable, root=str(folder), real=real))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder / "bin"), prepend=":")
        for name in ("manifests", "blobs"):
            (folder / name).mkdir()
        for version, (_kind, body) in self.content.manifests.items():
            (folder / "manifests" / version).write_bytes(body)
        for name, data in self.content.blobs.items():
            (folder / "blobs" / name.partition(":")[2]).write_bytes(data)
        self.serve(*served)
        self.refuse({})

    def serve(self, *repositories: str) -> None:
        """Names without tag, as mirror.example:80/owner/name."""
        (self.root / "served").write_text(json.dumps(repositories))

    def refuse(self, reasons: dict[str, str]) -> None:
        """What it reports of repositories that are not served."""
        (self.root / "refusals").write_text(json.dumps(reasons))

    @property
    def calls(self) -> list[dict[str, Any]]:
        log = self.root / "calls"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    @property
    def words(self) -> list[list[str]]:
        return [call["words"] for call in self.calls]


class Registry:
    """A registry over HTTP with that image as owner/name. login: user and password that it wants, for a token."""

    def __init__(self) -> None:
        self.login, self.name, self.content = "", "owner/name", Content()
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.answer(self)

            def log_message(self, *_arguments: Any) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.place = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.place}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path, authorization = request.path, request.headers.get("Authorization", "")
        if path.startswith("/token"):
            wanted = f"Basic {base64.b64encode(self.login.encode()).decode()}"
            return self.send(request, *((200, b'{"token": "token"}') if authorization == wanted else (401, b"{}")))
        if self.login and authorization != "Bearer token":
            challenge = f'Bearer realm="{self.url}/token",service="s",scope="repository:{self.name}:pull"'
            return self.send(request, 401, b"{}", {"WWW-Authenticate": challenge})
        if path == "/v2/":
            return self.send(request, 200, b"{}")
        kind, _slash, version = path.removeprefix(f"/v2/{self.name}/").partition("/")
        if kind == "manifests" and version in self.content.manifests:
            media, body = self.content.manifests[version]
            return self.send(request, 200, body, {"Content-Type": media})
        if kind == "blobs" and version in self.content.blobs:
            return self.send(request, 200, self.content.blobs[version], {"Content-Type": "application/octet-stream"})
        return self.send(request, 404, b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}')

    @staticmethod
    def send(request: BaseHTTPRequestHandler, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        request.send_response(code)
        for name, value in (headers or {"Content-Type": "application/json"}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
