"""The way to a libvirt behind SSH: the command that is run, and both ends of it closed whatever happens."""

from __future__ import annotations

import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from components.libvirt import ssh_tunnel as module
from components.libvirt.connection import explain
from components.libvirt.ssh_tunnel import command, tunnel

pytestmark = pytest.mark.unit

# Of a host that went away ssh knows within two minutes.
END = ["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=8", "-T", "-e", "none", "--"]
ASKS_NOTHING = ["-o", "BatchMode=yes"]


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("qemu+ssh://h/system", ["ssh", *ASKS_NOTHING, *END, "h"]),
        ("qemu+ssh://me@h:2222/system", ["ssh", "-p", "2222", "-l", "me", *ASKS_NOTHING, *END, "h"]),
        (
            "qemu+ssh://h/system?keyfile=/k&no_verify=1",
            ["ssh", "-i", "/k", *ASKS_NOTHING, "-o", "StrictHostKeyChecking=no", *END, "h"],
        ),
        ("qemu+ssh://h/system?no_tty=0&no_verify=0", ["ssh", *END, "h"]),
        ("qemu+ssh://h/system?known_hosts=/a%20b", ["ssh", *ASKS_NOTHING, "-o", "UserKnownHostsFile=/a b", *END, "h"]),
        ("qemu+ssh://h/system?command=/opt/ssh", ["/opt/ssh", *ASKS_NOTHING, *END, "h"]),
        ("qemu+ssh://-oProxyCommand=x/system", ["ssh", *ASKS_NOTHING, *END, "-oproxycommand=x"]),
    ],
)
def test_the_command_is_what_libvirt_s_parameters_say(uri: str, words: list[str]) -> None:
    assert command(uri)[:-1] == words


@pytest.mark.parametrize(
    ("uri", "there", "run"),
    [
        ("qemu+ssh://h/system", ["virt-ssh-helper", "nc"], "virt-ssh-helper qemu:///system"),
        ("qemu+ssh://h/system", ["nc"], "nc -U /var/run/libvirt/libvirt-sock"),
        ("qemu+ssh://h/session?proxy=native", ["virt-ssh-helper"], "virt-ssh-helper qemu:///session"),
        ("qemu+ssh://h/system?proxy=netcat&netcat=ncat", ["virt-ssh-helper", "ncat"], "ncat -U /var/run/libvirt/libvirt-sock"),
        ("qemu+ssh://h/system?socket=/a%20b", ["virt-ssh-helper", "nc"], "nc -U /a b"),
        ("qemu+ssh://h/system?netcat=$(touch%20pwned)", [], ""),
    ],
)
def test_the_far_side_runs_the_helper_or_netcat(tmp_path: Path, uri: str, there: list[str], run: str) -> None:
    for name in there:
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $*"\n')
        (tmp_path / name).chmod(0o755)
    (tmp_path / "sh").symlink_to(shutil.which("sh") or "/bin/sh")
    text = command(uri)[-1]
    done = subprocess.run(
        [str(tmp_path / "sh"), "-c", text], env={"PATH": str(tmp_path)}, capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.stdout.strip() == run
    assert not (tmp_path / "pwned").exists()
    assert shlex.split(text)[:2] == ["sh", "-c"]


def ssh(folder: Path, body: str) -> str:
    """A URI whose ssh is this script."""
    file = folder / "ssh"
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return f"qemu+ssh://h/system?command={file}"


def call(uri: str) -> socket.socket:
    parts = urlsplit(uri)
    assert (parts.scheme, parts.path) == ("qemu+unix", "/system")
    end = socket.socket(socket.AF_UNIX)
    end.settimeout(20)
    end.connect(parse_qs(parts.query)["socket"][0])
    return end


def test_bytes_are_sent_both_ways_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    threads = threading.active_count()
    with tunnel(ssh(tmp_path, f"echo $$ > {tmp_path}/pid; exec cat")) as way:
        with call(way.uri) as end:
            end.sendall(b"libvirt")
            assert end.recv(7) == b"libvirt"
        pid = int((tmp_path / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []
    assert threading.active_count() == threads


def test_what_ssh_says_is_kept(tmp_path: Path) -> None:
    with tunnel(ssh(tmp_path, "echo 'Host key verification failed.' >&2; exit 255")) as way:
        with call(way.uri) as end:
            assert end.recv(1) == b""
        assert way.said() == "Host key verification failed."


def test_no_ssh_is_said(tmp_path: Path) -> None:
    with tunnel(f"qemu+ssh://h/system?command={tmp_path}/none") as way:
        with call(way.uri) as end:
            assert end.recv(1) == b""
        assert way.said() == f"{tmp_path}/none cannot be run: No such file or directory"


def test_nobody_calls_and_ssh_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tunnel(ssh(tmp_path, "exit 0")) as way:
        assert way.said() == ""
    monkeypatch.setattr(
        subprocess.Popen, "wait", lambda self, timeout=None, wait=subprocess.Popen.wait: wait(self, timeout and 0.2)
    )
    with tunnel(ssh(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 600")) as way, call(way.uri) as end:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            end.gettimeout()
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


@pytest.mark.parametrize(
    ("output", "hint"),
    [
        ("Host key verification failed.", "Connect once with ssh and check the key"),
        ("me@h: Permission denied (publickey,password).", "does not let this user log in by key"),
        ("ssh: connect to host h port 22: Connection refused", "ssh does not get there. Check the host and port"),
        ("Timeout, server h not responding.", "The host or the network to it went away in the middle"),
        ("sh: 1: exec: nc: not found", "Install libvirt-daemon-system there"),
        ("ssh: Could not resolve hostname h: Name or service not known", "The host name in the connection URI is unknown"),
    ],
)
def test_what_ssh_says_comes_with_a_remedy(output: str, hint: str) -> None:
    text = explain(Exception("End of file while reading data: Input/output error"), "qemu+ssh://h/system", output)
    assert output in text and hint in text


@pytest.mark.parametrize("uri", ["qemu:///system", "qemu+tls://h/system", "test:///default", "qemu+libssh2://h/system"])
def test_other_ways_are_libvirt_s_own(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "command", None)
    with tunnel(uri) as way:
        assert (way.uri, way.said()) == (uri, "")
