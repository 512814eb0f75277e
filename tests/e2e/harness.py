"""What the stories need beside `./lab`: a run that can be interrupted, an image server that misbehaves, eyes on the host."""

from __future__ import annotations

import contextlib
import fcntl
import http.server
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Run:
    """A command under way in a process group of its own, as one that a terminal started, with what it has printed so far."""

    def __init__(self, words: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.text = ""
        self.process = subprocess.Popen(
            words,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.text += line

    def saw(self, pattern: str, limit: float = 600) -> None:
        """Wait until what is printed matches; fail when the command ends before, or at the limit."""
        deadline = time.monotonic() + limit
        while not re.search(pattern, self.text):
            assert self.process.poll() is None, f"ended without {pattern!r}:\n{self.text[-4000:]}"
            assert time.monotonic() < deadline, f"no {pattern!r} in {limit} s:\n{self.text[-4000:]}"
            time.sleep(0.1)

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        """What a terminal does at Ctrl-C: the signal goes to all of the group."""
        os.killpg(self.process.pid, number)

    def end(self, limit: float) -> int:
        """Its exit code; at the limit it is killed and the test fails."""
        try:
            code = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.interrupt(signal.SIGKILL)
            raise AssertionError(f"did not end in {limit} s:\n{self.text[-6000:]}") from None
        self._reader.join(10)
        return code


class Source(http.server.ThreadingHTTPServer):
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
        """That the other side goes is what the tests are about."""


class _Part(http.server.BaseHTTPRequestHandler):
    server: Source

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(Source.promised))
        self.end_headers()
        for _ in range(Source.given >> 20):
            self.wfile.write(bytes(1 << 20))
        if "/held/" in self.path:
            self.server.held.set()
            self.server.release.wait(600)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class Arguments:
    """Arguments of all processes of this machine, looked at again and again while a test runs."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Arguments:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _look(self) -> None:
        while not self._stop.wait(0.1):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    self.seen.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))


# The same for a node, as text for its cloud-init.
NODE_ARGUMENTS = """\
import glob, time
seen = set()
with open("/root/lab-arguments", "a") as out:
    while True:
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                text = open(path, "rb").read().replace(b"\\0", b" ").decode(errors="replace").replace("\\n", " ")
            except OSError:
                continue
            if text not in seen:
                seen.add(text)
                print(text, file=out, flush=True)
        time.sleep(0.5)
"""


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """While no provider tests run on the same libvirtd: theirs would not outlive a restart of it."""
    with Path("/run/lab-test.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def virsh(*words: str, ok: bool = True) -> str:
    done = subprocess.run(["virsh", "-c", "qemu:///system", "-q", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not ok, f"virsh {' '.join(words)}: {done.stderr}"
    return done.stdout


def host() -> dict[str, Any]:
    """What libvirt has that could be ours; the provider tests' own are named lab-test."""
    listed = {"domains": virsh("list", "--all", "--name"), "pools": virsh("pool-list", "--all", "--name")}
    return {
        **{kind: sorted(name for name in text.split() if not name.startswith("lab-test")) for kind, text in listed.items()},
        "network": virsh("net-dumpxml", "--inactive", "default"),
        # How many machines libvirt counts on it is forgotten at each change of the network, whoever makes it.
        "live": re.sub(r" connections='\d+'", "", virsh("net-dumpxml", "default")),
    }


def libvirtd() -> int:
    """The process id of the one libvirtd that this network namespace has."""
    here = Path("/proc/self/ns/net").readlink()
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if path.read_text().strip() == "libvirtd" and (path.parent / "ns/net").readlink() == here:
                return int(path.parent.name)
    raise AssertionError("there is no libvirtd of this network namespace")


def restart_libvirtd() -> None:
    """Stop libvirtd and start it as it was started; guests go on."""
    if Path("/run/systemd/system").exists():
        subprocess.run(["systemctl", "restart", "libvirtd"], check=True)
    else:
        pid = libvirtd()
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
        with Path(f"/proc/{pid}/ns/mnt").open("rb") as space:  # it sees other files than this process does
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + 60
            while Path(f"/proc/{pid}").exists():
                assert time.monotonic() < deadline, "libvirtd does not end"
                time.sleep(0.1)
            subprocess.run(
                ["nsenter", f"--mount=/proc/self/fd/{space.fileno()}", *words, "--daemon"],
                pass_fds=[space.fileno()],
                check=True,
            )
    deadline = time.monotonic() + 60
    while subprocess.run(["virsh", "-q", "-c", "qemu:///system", "uri"], capture_output=True, check=False).returncode:
        assert time.monotonic() < deadline, "libvirtd does not answer again"
        time.sleep(0.2)


@contextlib.contextmanager
def small_file_system(path: str, size: str) -> Iterator[None]:
    """A file system of this size at `path`, where libvirtd sees it."""
    inside = ["nsenter", "--mount", "--target", str(libvirtd())]
    subprocess.run([*inside, "mkdir", "-p", path], check=True)
    subprocess.run([*inside, "mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "lab-small", path], check=True)
    try:
        yield
    finally:
        subprocess.run([*inside, "umount", path], check=True)
        subprocess.run([*inside, "rmdir", path], check=True)
