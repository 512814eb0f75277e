"""The way to a libvirt behind SSH: ssh is started here, and libvirt talks to it through a socket.

libvirt would start ssh itself, by fork. In the process of a dynamic provider a fork runs gRPC's handlers in the child:
measured, 1 of 20 connections broke by that, with "Connection reset by peer", and the others each wrote a line of gRPC's into
Pulumi's display. subprocess uses vfork, which runs no such handler.
"""

from __future__ import annotations

import contextlib
import shlex
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from components.node.ssh_client import KEEP_ALIVE

SOCKET = "/var/run/libvirt/libvirt-sock"


class Tunnel:
    """`uri`: what libvirt opens. `said()`: what ssh wrote to stderr, "" if nothing or if there is no ssh."""

    def __init__(self, uri: str, log: Path | None = None) -> None:
        self.uri, self._log = uri, log

    def said(self) -> str:
        if self._log is None or not self._log.exists():
            return ""
        return " ".join(self._log.read_text(encoding="utf-8", errors="replace").split())


@contextlib.contextmanager
def tunnel(uri: str) -> Iterator[Tunnel]:
    """The URI itself, or, for qemu+ssh:// and the like, that of a socket whose other end is ssh."""
    if not urlsplit(uri).scheme.endswith("+ssh"):
        yield Tunnel(uri)
        return
    words = command(uri)
    with tempfile.TemporaryDirectory(prefix="lab-", ignore_cleanup_errors=True) as folder, contextlib.ExitStack() as ends:
        path, log = Path(folder) / "libvirt", Path(folder) / "ssh.log"
        listener = ends.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        listener.listen(1)
        started: list[subprocess.Popen[bytes]] = []
        over = threading.Event()

        def serve() -> None:
            called, _ = listener.accept()
            called.setblocking(True)
            with called, log.open("wb") as errors:
                if over.is_set():
                    return
                try:
                    started.append(subprocess.Popen(words, stdin=called.fileno(), stdout=called.fileno(), stderr=errors))  # noqa: S603
                except OSError as error:
                    errors.write(f"{words[0]} cannot be run: {error.strerror}".encode())

        waiter = threading.Thread(target=serve, daemon=True)
        waiter.start()
        try:
            yield Tunnel(local(uri, path), log)
        finally:
            over.set()
            if waiter.is_alive():
                with socket.socket(socket.AF_UNIX) as call, contextlib.suppress(OSError):
                    call.connect(str(path))  # nobody else has
            waiter.join()
            for process in started:
                end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Every call has its answer by now. libvirt keeps its end open as long as one of its objects lives, so ssh is ended."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def parameters(uri: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(uri).query, keep_blank_values=True))


def local(uri: str, path: Path) -> str:
    """The same libvirt by a socket of this machine."""
    parts = urlsplit(uri)
    return f"{parts.scheme.removesuffix('+ssh')}+unix://{parts.path}?socket={quote(str(path))}"


def command(uri: str) -> list[str]:
    """ssh and its arguments, by the parameters that libvirt knows (https://libvirt.org/uri.html), and known_hosts, a file.

    ssh asks nothing unless no_tty=0: a question for a password or about a host key would wait unseen behind Pulumi.
    """
    parts, given = urlsplit(uri), parameters(uri)
    words = [given.get("command", "ssh")]
    if parts.port:
        words += ["-p", str(parts.port)]
    if parts.username:
        words += ["-l", unquote(parts.username)]
    if "keyfile" in given:
        words += ["-i", given["keyfile"]]
    if given.get("no_tty", "1") != "0":
        words += ["-o", "BatchMode=yes"]
    if given.get("no_verify", "0") != "0":
        words += ["-o", "StrictHostKeyChecking=no"]
    if "known_hosts" in given:
        words += ["-o", f"UserKnownHostsFile={given['known_hosts']}"]
    words += [word for key, value in KEEP_ALIVE.items() for word in ("-o", f"{key}={value}")]
    return [*words, "-T", "-e", "none", "--", parts.hostname or "", far_side(uri)]


def far_side(uri: str) -> str:
    """What runs on the host: libvirt's own helper, or netcat on its socket where that is older than the helper (6.8)."""
    parts, given = urlsplit(uri), parameters(uri)
    driver = parts.scheme.removesuffix("+ssh")
    helper = shlex.join(["virt-ssh-helper", f"{driver}://{parts.path}"])
    netcat = shlex.join([given.get("netcat", "nc"), "-U", given.get("socket", SOCKET)])
    proxy = given.get("proxy", "netcat" if "socket" in given else "auto")
    script = {"native": f"exec {helper}", "netcat": f"exec {netcat}"}.get(
        proxy, f"if command -v virt-ssh-helper > /dev/null; then exec {helper}; else exec {netcat}; fi"
    )
    return shlex.join(["sh", "-c", script])
