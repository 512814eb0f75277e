"""The proof against real servers on loopback: right, wrong, broken, absent, slow; and its limit."""

from __future__ import annotations

import http.server
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from components.custom import page_check
from components.custom.page_check import HttpProofProvider, prove

pytestmark = [pytest.mark.unit, pytest.mark.timeout(60)]

ROOT = Path(__file__).parents[3]
TITLE = "Welcome to nginx!"
PAGE = f"<!DOCTYPE html><html><head><title>{TITLE}</title></head></html>".encode()
# One request may last as long as this beyond the limit.
ONE_REQUEST = 4.0


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    answer: Callable[[http.server.BaseHTTPRequestHandler, int], None]
    count = 0


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        server.count += 1
        server.answer(self, server.count)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(answer: Callable[[http.server.BaseHTTPRequestHandler, int], None]) -> Iterator[str]:
    server = Server(("127.0.0.1", 0), Handler)
    server.answer = answer
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


def page(body: bytes = PAGE, status: int = 200) -> Callable[[http.server.BaseHTTPRequestHandler, int], None]:
    def answer(request: http.server.BaseHTTPRequestHandler, _count: int) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


def test_the_right_page_is_a_proof() -> None:
    with serving(page()) as url:
        assert prove(url, TITLE, 5) == (200, TITLE)


@pytest.mark.parametrize(
    "body", [b"<TITLE>\n Welcome to nginx! \n</TITLE>", b'<title lang="en">Welcome to nginx!</title>', PAGE + b"\xff\xfe"]
)
def test_the_title_may_be_written_otherwise(body: bytes) -> None:
    with serving(page(body)) as url:
        assert prove(url, TITLE, 2)[1] == TITLE


@pytest.mark.parametrize(
    ("answer", "last"),
    [
        (page(b"<title>Login</title>"), "status 200 and the title 'Login'"),
        (page(b""), "status 200 and the title ''"),
        (page(PAGE, 500), "status 500"),
        (page(PAGE, 404), "status 404"),
    ],
)
def test_another_page_is_none_and_the_error_says_what_was_seen(
    answer: Callable[[http.server.BaseHTTPRequestHandler, int], None], last: str
) -> None:
    with serving(answer) as url, pytest.raises(TimeoutError) as caught:
        prove(url, TITLE, 0.6)
    assert f"seen last: {last}." in str(caught.value)
    for part in (url, TITLE, "timeouts.proof", "proof.networks"):
        assert part in str(caught.value)


def test_a_page_that_comes_late_is_awaited() -> None:
    def answer(request: http.server.BaseHTTPRequestHandler, count: int) -> None:
        page(PAGE, 200 if count > 3 else 503)(request, count)

    with serving(answer) as url:
        assert prove(url, TITLE, 10) == (200, TITLE)


def test_a_server_that_hangs_up_or_talks_nonsense_is_queried_again() -> None:
    def answer(request: http.server.BaseHTTPRequestHandler, count: int) -> None:
        if count == 1:
            request.wfile.write(b"nonsense\r\n\r\n")
        elif count == 2:
            request.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf")
        elif count > 3:
            page()(request, count)
        request.close_connection = True

    with serving(answer) as url:
        assert prove(url, TITLE, 10) == (200, TITLE)


def test_a_refused_connection_is_reported() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(TimeoutError, match="Connection refused"):
        prove(f"http://127.0.0.1:{port}/", TITLE, 1)
    assert 1 <= time.monotonic() - started < 1 + ONE_REQUEST


def test_a_silent_server_ends_within_the_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(TimeoutError, match="timed out"):
            prove(f"http://127.0.0.1:{silent.getsockname()[1]}/", TITLE, 1)
        assert time.monotonic() - started < 1 + ONE_REQUEST


def test_a_dripping_server_ends_within_the_limit() -> None:
    def answer(request: http.server.BaseHTTPRequestHandler, _count: int) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.end_headers()
        try:
            for _ in range(20):
                request.wfile.write(b"x")
                time.sleep(0.5)
        except OSError:
            pass

    started = time.monotonic()
    with serving(answer) as url, pytest.raises(TimeoutError):
        prove(url, TITLE, 1)
    assert time.monotonic() - started < 1 + ONE_REQUEST


def test_proxies_in_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serving(page()) as url:
        assert prove(url, TITLE, 5) == (200, TITLE)


def test_a_redirect_to_another_host_is_no_proof() -> None:
    """Somebody else's page says nothing about the pod."""
    with serving(page()) as elsewhere:

        def answer(request: http.server.BaseHTTPRequestHandler, _count: int) -> None:
            request.send_response(302)
            request.send_header("Location", elsewhere)
            request.send_header("Content-Length", "0")
            request.end_headers()

        with serving(answer) as url, pytest.raises(TimeoutError):
            prove(url, TITLE, 0.6)


INPUTS = {"title": TITLE, "pod": "uid", "limit": 5.0, "cidr": "192.168.122.0/24", "required": True}


def test_another_pod_title_or_page_is_another_proof_and_another_limit_is_not() -> None:
    old = {"url": "http://a/", "title": "t", "pod": "1", "limit": 1.0, "status": 200.0, "seen": "t"}
    provider = HttpProofProvider()
    assert not provider.diff("id", old, {**old, "limit": 9}).changes
    for name in ("url", "title", "pod"):
        result = provider.diff("id", old, {**old, name: "other"})
        assert (result.changes, result.replaces) == (True, [name])


def test_the_proof_keeps_what_it_saw() -> None:
    with serving(page()) as url:
        made = HttpProofProvider().create({"url": url, **INPUTS})
    assert made.outs is not None
    assert (made.outs["status"], made.outs["seen"], made.outs["unseen"], made.id) == (200, TITLE, "", url)


def test_a_page_on_a_network_that_this_machine_is_not_on_is_requested_where_it_is_required(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = {"url": "http://192.168.50.10/", **INPUTS, "cidr": "192.168.50.0/24", "limit": 0.1}
    monkeypatch.setattr(page_check, "interfaces", lambda: [IPv4Address("192.168.122.1")])
    made = HttpProofProvider().create({**elsewhere, "required": False})
    assert made.outs is not None
    assert (made.outs["status"], made.outs["seen"]) == (0, "")
    assert (
        "this machine has no address in 192.168.50.0/24" in made.outs["unseen"] and made.outs["unseen"] in capsys.readouterr().out
    )
    monkeypatch.setattr(page_check, "prove", lambda *_: (200, TITLE))
    assert HttpProofProvider().create({**elsewhere, "required": True}).outs["status"] == 200  # type: ignore[index]
    monkeypatch.setattr(page_check, "interfaces", lambda: [IPv4Address("192.168.50.7")])
    assert HttpProofProvider().create({**elsewhere, "required": False}).outs["status"] == 200  # type: ignore[index]


def test_a_page_that_becomes_required_is_proven_unless_it_was_seen() -> None:
    provider = HttpProofProvider()
    proven = {"url": "http://a/", **INPUTS, "required": False, "status": 200.0, "seen": TITLE, "unseen": ""}
    assert not provider.diff("id", proven, {**proven, "required": True}).changes
    unseen = {**proven, "status": 0, "seen": "", "unseen": "no neighbour"}
    assert provider.diff("id", unseen, {**unseen, "required": True}).replaces == ["required"]
    assert not provider.diff("id", {**unseen, "required": True}, unseen).changes


def test_a_page_that_is_not_served_is_reported_without_a_traceback() -> None:
    script = """
import traceback
from pulumi.dynamic import ConfigureRequest, Config
from components.custom.page_check import HttpProofProvider
HttpProofProvider().configure(ConfigureRequest(config=Config({}, "p")))
try:
    HttpProofProvider().create({"url": "http://127.0.0.1:9/", "title": "x", "limit": 0, "required": True})
except TimeoutError:
    print(traceback.format_exc())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True, timeout=60)
    assert done.stdout.startswith("http://127.0.0.1:9/ did not serve the title")
