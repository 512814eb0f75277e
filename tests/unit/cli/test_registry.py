"""The registry client, against a registry of its own: platforms, tokens, redirects, mirrors, damage."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cli.errors import LabError
from cli.registry import Client, write
from components.config.settings import Registries

pytestmark = pytest.mark.unit

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
REFERENCE = "ghcr.io/owner/name:v1"


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Registry:
    """One image for two architectures. token: what it asks for. away: blobs are elsewhere, where no credentials may come."""

    def __init__(self) -> None:
        self.token, self.away, self.name = "", False, "owner/name"
        self.seen: list[tuple[str, str]] = []
        self.content: dict[str, tuple[str, bytes]] = {}
        entries = []
        for architecture in ("arm64", "amd64"):
            config, layer = f"config of {architecture}".encode(), f"layer of {architecture}".encode() * 1000
            for blob in (config, layer):
                self.content[f"blobs/{digest(blob)}"] = ("application/octet-stream", blob)
            manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": self.entry(config), "layers": [self.entry(layer)] * 2}
            body = json.dumps(manifest).encode()
            self.content[f"manifests/{digest(body)}"] = (MANIFEST, body)
            entries.append({**self.entry(body), "mediaType": MANIFEST, "platform": {"os": "linux", "architecture": architecture}})
        self.content["manifests/v1"] = (INDEX, json.dumps({"schemaVersion": 2, "manifests": entries}).encode())
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.answer(self)

            def log_message(self, *_arguments: Any) -> None:
                """Says nothing."""

        self.servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
        for server in self.servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url, self.storage = (f"http://127.0.0.1:{server.server_port}" for server in self.servers)

    @staticmethod
    def entry(data: bytes) -> dict[str, Any]:
        return {"digest": digest(data), "size": len(data)}

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path, authorization = request.path, request.headers.get("Authorization", "")
        self.seen.append((path, authorization))
        if path.startswith("/token"):
            return self.send(request, 200, json.dumps({"token": self.token}).encode())
        what = path.removeprefix(f"/v2/{self.name}/")
        here = request.server is self.servers[0]
        if here and self.token and authorization != f"Bearer {self.token}":
            challenge = f'Bearer realm="{self.url}/token",service="s",scope="repository:{self.name}:pull"'
            return self.send(request, 401, b"", {"WWW-Authenticate": challenge})
        if what not in self.content:
            return self.send(request, 404, b"")
        if here and self.away and what.startswith("blobs/"):
            return self.send(request, 307, b"", {"Location": f"{self.storage}{path}"})
        if not here and authorization:
            return self.send(request, 400, b"")
        kind, body = self.content[what]
        return self.send(request, 200, body, {"Content-Type": kind})

    @staticmethod
    def send(request: BaseHTTPRequestHandler, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        request.send_response(code)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def client(self, *before: str, **mirror: Any) -> Client:
        return Client(Registries.model_validate({"mirrors": {"ghcr.io": {"endpoint": [*before, self.url], **mirror}}}))


@pytest.fixture
def registry() -> Iterator[Registry]:
    found = Registry()
    yield found
    for server in found.servers:
        server.shutdown()
        server.server_close()


def saved(client: Client, reference: str = REFERENCE) -> dict[str, bytes]:
    """The members of the archive of an image."""
    file, told = io.BytesIO(), []
    write(client, client.image(reference, "amd64"), file, lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] > 0
    with tarfile.open(fileobj=io.BytesIO(file.getvalue())) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def test_an_archive_has_this_platform_under_the_image_s_name(registry: Registry) -> None:
    members = saved(registry.client())
    assert json.loads(members["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads(members["index.json"])["manifests"]
    assert entry["annotations"] == {"io.containerd.image.name": REFERENCE}
    manifest = members[f"blobs/{entry['digest'].replace(':', '/')}"]
    assert digest(manifest) == entry["digest"] and len(manifest) == entry["size"]
    config, layer = (json.loads(manifest)[key] for key in ("config", "layers"))
    assert members[f"blobs/{config['digest'].replace(':', '/')}"] == b"config of amd64"
    assert members[f"blobs/{layer[0]['digest'].replace(':', '/')}"] == b"layer of amd64" * 1000
    assert len(members) == 5, "a layer that is named twice is there once"


def test_a_token_is_got_once_and_stays_here(registry: Registry) -> None:
    registry.token, registry.away = "secret", True
    saved(registry.client())
    asked = [path for path, _ in registry.seen if path.startswith("/token")]
    assert asked == ["/token?service=s&scope=repository%3Aowner%2Fname%3Apull"]


def test_mirrors_come_in_order_and_names_are_rewritten(registry: Registry) -> None:
    registry.name = "mirror/owner/name"
    client = registry.client("http://127.0.0.1:9", rewrite={"^owner/(.*)": "mirror/owner/$1"})
    assert saved(client)
    assert [base for base, _ in client.endpoints("ghcr.io", "owner/name")][-1] == "https://ghcr.io"
    assert list(Client(Registries()).endpoints("docker.io", "a/b")) == [("https://registry-1.docker.io", "a/b")]


@pytest.mark.parametrize("reference", [REFERENCE, "ghcr.io/owner/name@DIGEST"])
def test_damage_is_seen(registry: Registry, reference: str) -> None:
    body = registry.content["manifests/v1"][1]
    if "DIGEST" in reference:
        reference = reference.replace("DIGEST", digest(body))
        registry.content[f"manifests/{digest(body)}"] = (INDEX, body + b" ")
    else:
        for name, (kind, data) in registry.content.items():
            if name.startswith("blobs/"):
                registry.content[name] = (kind, data[:-1] + b"!")
    with pytest.raises(LabError, match=r"came (damaged|with other content)"):
        saved(registry.client(), reference)


def test_no_such_platform_and_no_such_image(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LabError, match="not there for linux/s390x"):
        registry.client().image(REFERENCE, "s390x")
    client = registry.client()
    monkeypatch.setattr(client, "endpoints", lambda _host, name: iter([(registry.url, name)]))
    with pytest.raises(LabError, match="answers 404"):
        client.image("ghcr.io/owner/name:v2", "amd64")


def test_credentials_that_are_a_secret_of_the_stack_are_not_guessed(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.token = "secret"
    place = registry.url.removeprefix("http://")
    raw = {
        "mirrors": {"ghcr.io": {"endpoint": [registry.url]}},
        "configs": {place: {"auth": {"username": "u", "password": "[secret]"}}},
    }
    client = Client(Registries.model_validate(raw))
    monkeypatch.setattr(client, "endpoints", lambda _host, name: iter([(registry.url, name)]))
    with pytest.raises(LabError, match="a secret of the stack"):
        client.image(REFERENCE, "amd64")
