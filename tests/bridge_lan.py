"""A LAN that libvirt did not make: a Linux bridge, for tests as root in the closed test network."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout


class Lan:
    """A Linux bridge with its gateway's address, as a host's administrator makes one. name: 12 characters at most."""

    def __init__(self, name: str, network: str) -> None:
        self.name = name
        self.cidr, self.gateway, self.second = f"{network}.0/24", f"{network}.1", f"{network}.2"
        self.port, self.second_port = f"{name}-f0", f"{name}-f1"

    def ports(self) -> list[str]:
        return sorted(path.name for path in Path(f"/sys/class/net/{self.name}/brif").iterdir())

    @contextlib.contextmanager
    def unmanaged_machine(self, address: str, mac: str) -> Iterator[None]:
        """A machine of the LAN that is not the stack's."""
        machine = subprocess.Popen(["unshare", "--net", "sleep", "3600"])
        try:
            inside = ["nsenter", "--net", "--target", str(machine.pid)]
            run("ip", "link", "add", "name", "unmanaged0", "type", "veth", "peer", "name", "unmanaged1")
            own_namespace(machine)
            run("ip", "link", "set", "unmanaged1", "netns", str(machine.pid))
            run("ip", "link", "set", "unmanaged0", "master", self.name, "up")
            run(*inside, "ip", "link", "set", "unmanaged1", "address", mac, "up")
            run(*inside, "ip", "address", "add", f"{address}/24", "dev", "unmanaged1")
            run(*inside, "ping", "-c", "1", "-w", "20", self.gateway)
            yield
        finally:
            machine.terminate()
            machine.wait()
            subprocess.run(["ip", "link", "delete", "unmanaged0"], check=False, capture_output=True)


def own_mac(address: str) -> str:
    """A MAC address for the bridge of the host with this address.

    A bridge without one of its own takes the lowest of its ports', which is a guest's where the others' are higher by chance: two
    hosts with guests of one MAC address then do not hear of each other any more (seen: a call over SSH that never ended).
    """
    return "02:00:" + ":".join(f"{int(octet):02x}" for octet in address.split("."))


def own_namespace(process: subprocess.Popen[bytes]) -> None:
    """Wait until `unshare` has made the process a network namespace."""
    deadline = time.monotonic() + 10
    while Path(f"/proc/{process.pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
        assert time.monotonic() < deadline, "unshare made no network namespace"
        time.sleep(0.02)


@contextlib.contextmanager
def lan(name: str = "br-lan", network: str = "10.77.0") -> Iterator[Lan]:
    bridge = Lan(name, network)
    subprocess.run(["ip", "link", "delete", bridge.name], check=False, capture_output=True)
    run("ip", "link", "add", "name", bridge.name, "address", own_mac(bridge.gateway), "type", "bridge")
    try:
        run("ip", "address", "add", f"{bridge.gateway}/24", "dev", bridge.name)
        run("ip", "link", "set", bridge.name, "up")
        yield bridge
    finally:
        run("ip", "link", "delete", bridge.name)
