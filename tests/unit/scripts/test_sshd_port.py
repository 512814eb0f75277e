"""sshd-port.sh."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .fake_node import SCRIPTS, Node, stripped

pytestmark = pytest.mark.unit


class Sshd:
    """A node's SSH server: its configuration as distributions have it, read by a real sshd."""

    def __init__(self, node: Node) -> None:
        self.node = node
        node.command(
            "semodule",
            '#!/bin/sh\necho "$*" >> "$STUB/semodule.log"\n[ ! -e "$STUB/conflict" ] || { cat "$STUB/conflict" >&2; exit 1; }\n',
        )

    def config(self, text: str, path: str = "etc/ssh/sshd_config") -> None:
        self.node.file(path, text.replace("/etc/ssh/sshd_config.d", f"{self.node.root}/etc/ssh/sshd_config.d"))
        self.path = path

    def set(self, port: int = 2222) -> str:
        done = self.node.run("sshd-port", PORT=str(port))
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def ports(self) -> list[str]:
        """Those on which sshd would listen."""
        program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if program is None:
            pytest.skip("SKIPPED: no sshd here (openssh-server)")
        key = self.node.stub / "host_key"
        if not key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        done = subprocess.run(
            [program, "-T", "-h", key, "-f", self.node.root / self.path, "-C", "user=a,host=b,addr=127.0.0.1"],
            capture_output=True,
            text=True,
            check=True,
        )
        return [line.split()[1] for line in done.stdout.splitlines() if line.startswith("port ")]


@pytest.fixture
def sshd(node: Node) -> Sshd:
    return Sshd(node)


DEBIAN = "Include /etc/ssh/sshd_config.d/*.conf\n#Port 22\nUsePAM yes\nSubsystem sftp /usr/lib/openssh/sftp-server\n"
OLD = "#Port 22\nPort 22\nUsePAM yes\nMatch User x\n  X11Forwarding no\n"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (DEBIAN, "etc/ssh/sshd_config"),
        (DEBIAN, "usr/etc/ssh/sshd_config"),  # openSUSE
        (OLD, "etc/ssh/sshd_config"),  # before OpenSSH 8.2
    ],
)
def test_sshd_listens_on_the_port(sshd: Sshd, text: str, path: str) -> None:
    sshd.config(text, path)
    for port in (2222, 2222, 2200):
        assert f"ssh.port={port}" in sshd.set(port)
        assert sshd.ports() == [str(port)]
    assert "X11Forwarding" in (sshd.node.root / path).read_text() or text != OLD


def test_what_listens_for_sshd_follows(sshd: Sshd) -> None:
    sshd.config(DEBIAN)
    sshd.set()
    for unit in ("ssh.socket", "sshd.socket"):
        text = (sshd.node.root / f"etc/systemd/system/{unit}.d/k3s-macvlan-port.conf").read_text()
        assert text == "[Socket]\nListenStream=\nListenStream=2222\n"
    log = (sshd.node.stub / "systemctl.log").read_text().splitlines()
    assert log == ["daemon-reload", "--no-block try-restart ssh.socket sshd.socket ssh.service sshd.service"]
    # Ubuntu 24.04: its generator does it, of sshd's own configuration.
    sshd.node.file("usr/lib/systemd/system-generators/sshd-socket-generator", "")
    sshd.set()
    assert not list((sshd.node.root / "etc/systemd/system").rglob("*.conf"))


def test_selinux_is_given_the_port_once(sshd: Sshd) -> None:
    sshd.config(DEBIAN)
    sshd.node.file("sys/fs/selinux/enforce", "1")
    sshd.set()
    sshd.set()
    policy = sshd.node.root / "etc/ssh/k3s_macvlan_port.cil"
    assert policy.read_text() == "(portcon tcp 2222 (system_u object_r ssh_port_t ((s0) (s0))))\n"
    assert (sshd.node.stub / "semodule.log").read_text() == f"-i {policy}\n"
    sshd.set(2200)
    assert "tcp 2200" in policy.read_text()


def test_a_port_that_selinux_keeps_leaves_the_server_where_it_was(sshd: Sshd) -> None:
    """A server that may not listen on its port does not start at all."""
    sshd.config(DEBIAN)
    sshd.node.file("sys/fs/selinux/enforce", "1")
    (sshd.node.stub / "conflict").write_text("Conflicting portcon rules\nFailed to build policydb")
    output = sshd.set(8080)
    assert "ssh.port: SELinux does not let sshd listen on port 8080" in output and "Conflicting portcon rules" in output
    assert sshd.ports() == ["22"]
    assert not (sshd.node.root / "etc/ssh/k3s_macvlan_port.cil").exists()


@pytest.mark.parametrize("port", ["x", "22; reboot", "$(reboot)", "123456"])
def test_a_port_is_a_number(sshd: Sshd, port: str) -> None:
    sshd.config(DEBIAN)
    assert sshd.node.run("sshd-port", PORT=port).returncode == 1
    assert sshd.ports() == ["22"]


def test_sshd_port_is_part_of_the_first_boot() -> None:
    """As lan-check: its text is in the user data of nodes with another port. A change of it recreates all of them."""
    assert hashlib.sha256(stripped(SCRIPTS / "sshd-port.sh").encode()).hexdigest()[:16] == "fceefcafc7743d77"
