"""A server that was restarted: the next one waits until it serves, and only in an update."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from components.settled import SettledProvider

pytestmark = pytest.mark.unit


class Api(http.server.BaseHTTPRequestHandler):
    """Answers with the statuses it is given, the last one for ever."""

    statuses: list[int]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def api(tmp_path: Path) -> Iterator[tuple[type[Api], int]]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "k3s")])
    now = datetime.now(UTC)
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1)).sign(
        key, hashes.SHA256()
    )
    pem = tmp_path / "api.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    kind = type("Kind", (Api,), {"statuses": [401], "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield kind, server.server_port
    server.shutdown()
    server.server_close()


def props(port: int, **changes: Any) -> dict[str, Any]:
    return {"node": "server-1", "address": "127.0.0.1", "port": float(port), "machine": "disk-1 2 CPUs", "limit": 20.0, **changes}


def test_a_new_cluster_waits_for_nobody() -> None:
    assert SettledProvider().create(props(1)).outs == props(1)


def test_only_another_machine_is_waited_for() -> None:
    diff = SettledProvider().diff
    assert not diff("", props(1), props(1, limit=60.0)).changes
    assert diff("", props(1), props(1, machine="disk-1 4 CPUs")).changes
    assert not diff("", props(1), props(1, machine="disk-2 2 CPUs")).replaces


@pytest.mark.parametrize("served", [200, 401, 403])
def test_it_waits_until_the_api_serves(api: tuple[type[Api], int], served: int) -> None:
    kind, port = api
    kind.statuses = [503, served]
    assert SettledProvider().update("", props(port), props(port, machine="other")).outs == props(port, machine="other")
    assert kind.asked == ["/readyz", "/readyz"]


def test_a_server_that_does_not_come_back_stops_the_others(api: tuple[type[Api], int]) -> None:
    kind, port = api
    kind.statuses = [503]
    with pytest.raises(TimeoutError, match=r"server-1 was restarted .* status 503\. The next server is left as it is"):
        SettledProvider().update("", props(port), props(port, limit=0.0))
