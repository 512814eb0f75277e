"""A server of images that breaks off, or holds, what it serves."""

from __future__ import annotations

import http.server
import threading
from typing import Any


class FaultyImageServer(http.server.ThreadingHTTPServer):
    """An HTTP server that promises a large file and gives a part of it: cut off, or held until `release` is set."""

    daemon_threads = True
    promised, given = 400 << 20, 24 << 20

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Part)
        self.release, self.held = threading.Event(), threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, how: str) -> str:
        """how: cut or held."""
        return f"http://127.0.0.1:{self.server_port}/{how}/image.qcow2"

    def handle_error(self, *_: Any) -> None:
        """That the other side leaves is what the tests are about."""


class _Part(http.server.BaseHTTPRequestHandler):
    server: FaultyImageServer

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(FaultyImageServer.promised))
        self.end_headers()
        for _ in range(FaultyImageServer.given >> 20):
            self.wfile.write(bytes(1 << 20))
        if "/held/" in self.path:
            self.server.held.set()
            self.server.release.wait(600)

    def log_message(self, *_: Any) -> None:
        """Nothing."""
