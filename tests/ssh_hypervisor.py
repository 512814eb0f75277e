"""Hypervisors behind SSH, for tests as root in the closed test network: this machine, and a second one on a LAN."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bridge_lan import Lan, own_mac, own_namespace, run

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
NO_SSHD = "there is no sshd (Debian and Ubuntu: openssh-server; it need not run)"


class SshHypervisor:
    """A host behind SSH: a server with keys of its own, and a client that knows them. Nothing of root's own is used."""

    def __init__(self, folder: Path, host: str, port: int) -> None:
        self.folder, self.host, self.port = folder, host, port

    @property
    def uri(self) -> str:
        return f"qemu+ssh://root@{self.host}:{self.port}/system?command={self.folder}/ssh"

    def know(self, *, host_key: str) -> None:
        """Make this the host's key that the client knows: `host` is the right one."""
        public = (self.folder / f"{host_key}.pub").read_text()
        (self.folder / "known_hosts").write_text(f"[{self.host}]:{self.port} {public}")

    def prepare(self) -> None:
        """Keys, the server's configuration and the client."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("host", "other", "client"):
            (self.folder / name).unlink(missing_ok=True)
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab-test", "-f", str(self.folder / name))
        self.know(host_key="host")
        (self.folder / "authorized_keys").write_text((self.folder / "client.pub").read_text())
        options = (
            f"-F none -o UserKnownHostsFile={self.folder}/known_hosts -o GlobalKnownHostsFile=none -o StrictHostKeyChecking=yes "
            f"-o IdentitiesOnly=yes -i {self.folder}/client"
        )
        client = self.folder / "ssh"
        client.write_text(f'#!/bin/sh\nexec ssh {options} "$@"\n')
        client.chmod(0o700)
        settings = {
            "ListenAddress": f"{self.host}:{self.port}",
            "HostKey": self.folder / "host",
            "AuthorizedKeysFile": self.folder / "authorized_keys",
            "PermitRootLogin": "prohibit-password",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "StrictModes": "no",
            "UsePAM": "no",
            "PidFile": "none",
        }
        (self.folder / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)

    @contextlib.contextmanager
    def served(self, *words: str) -> Iterator[SshHypervisor]:
        """While this command runs, which is or ends in the server."""
        log = self.folder / "sshd.log"
        with log.open("w") as out:
            server = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT)
            try:
                self.link(server)
                wait_for(self.host, self.port, server, log)
                yield self
            finally:
                self.stop(server)
                server.wait()

    def stop(self, server: subprocess.Popen[bytes]) -> None:
        server.terminate()

    def link(self, server: subprocess.Popen[bytes]) -> None:
        """Connect the host to its network; this machine itself is."""


@contextlib.contextmanager
def this_host(folder: Path) -> Iterator[SshHypervisor]:
    """This machine's libvirt as seen over SSH: an sshd on a free port of 127.0.0.1 that lets root in by one key."""
    assert SSHD is not None, NO_SSHD
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        here = SshHypervisor(folder, "127.0.0.1", free.getsockname()[1])
    here.prepare()
    with here.served(SSHD, "-D", "-e", "-f", str(folder / "sshd_config")):
        yield here


HOST = """
folder=$1 sshd=$2 address=$3 bridge=$4 port=$5 mac=$6
own="etc/libvirt var/lib/libvirt var/log/libvirt var/cache/libvirt run/libvirt"
for each in $own; do mkdir -p "$folder/root/$each" "/$each"; done
cp /etc/libvirt/*.conf "$folder/root/etc/libvirt/"
# As in the closed test network: no broken /dev/kvm, and so no /dev of a guest's own.
echo 'namespaces = []' >> "$folder/root/etc/libvirt/qemu.conf"
for each in $own; do mount --bind "$folder/root/$each" "/$each"; done
touch "$folder/no-kvm"
if [ -e /dev/kvm ]; then mount --bind "$folder/no-kvm" /dev/kvm; mount -o remount,bind,ro /dev/kvm; fi
ip link set lo up
ip link add name "$bridge" address "$mac" type bridge
ip address add "$address/24" dev "$bridge"
ip link set "$bridge" up
until ip link show "$port" > /dev/null 2>&1; do sleep 0.1; done
ip link set "$port" master "$bridge" up
virtlogd -d -p "$folder/virtlogd.pid"
libvirtd -d -p "$folder/libvirtd.pid"
until virsh -q -c qemu:///system uri; do sleep 0.2; done
"$sshd" -D -e -f "$folder/sshd_config" &
# The first process of its namespace: it reaps what its daemons leave.
while :; do wait; sleep 1; done
"""


class SecondHost(SshHypervisor):
    """Another host on the LAN, with a libvirt, a storage and a bridge of its own: namespaces of the kernel make it one."""

    def __init__(self, folder: Path, lan: Lan) -> None:
        super().__init__(folder, lan.second, 2222)
        self.lan = lan

    def link(self, server: subprocess.Popen[bytes]) -> None:
        own_namespace(server)
        near, there = self.lan.port, self.lan.second_port
        run("ip", "link", "add", "name", near, "type", "veth", "peer", "name", there, "netns", str(server.pid))
        run("ip", "link", "set", near, "master", self.lan.name, "up")

    def stop(self, server: subprocess.Popen[bytes]) -> None:
        server.kill()  # unshare waits for its child whatever else it is sent; the namespace's processes end with it

    def virsh(self, *words: str) -> str:
        return self.run("virsh", "-q", *words)

    def files(self) -> list[str]:
        """What is where the pools of stacks are."""
        return self.run("ls", "/var/lib/libvirt/images").split()

    def run(self, *words: str) -> str:
        return run(str(self.folder / "ssh"), "-p", str(self.port), f"root@{self.host}", *words)


@contextlib.contextmanager
def second_host(folder: Path, lan: Lan) -> Iterator[SecondHost]:
    """A second hypervisor on the LAN, with an sshd on port 2222 that lets root in by one key."""
    assert SSHD is not None, NO_SSHD
    there = SecondHost(folder, lan)
    there.prepare()
    subprocess.run(["ip", "link", "delete", lan.port], check=False, capture_output=True)
    namespaces = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    try:
        parameters = [str(folder), SSHD, there.host, lan.name, lan.second_port, own_mac(there.host)]
        with there.served(*namespaces, "sh", "-euc", HOST, "host", *parameters):
            yield there
    finally:
        subprocess.run(["ip", "link", "delete", lan.port], check=False, capture_output=True)
        shutil.rmtree(folder / "root", ignore_errors=True)


def wait_for(host: str, port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
            return
        assert server.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
