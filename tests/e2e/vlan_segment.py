"""A VLAN on a bridge, with its router, a DHCP server and a client of another subnet behind it: for tests as root in the closed test
network."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bridge_lan import own_namespace, run

FORWARDING = "3"
"""State of a bridge's port (linux/if_bridge.h)."""
TAP = Path(__file__).with_name("vlan_tap.py")


class Segment:
    """The router of a VLAN: a network namespace with an interface on it, and a client behind it."""

    def __init__(self, process: subprocess.Popen[bytes], vlan: int, client: subprocess.Popen[bytes]) -> None:
        self._process, self._client, self.vlan = process, client, vlan
        self.router, self.behind = f"192.168.{vlan}.1", f"10.20.{vlan}.2"

    def run(self, *words: str) -> str:
        """On the router."""
        return run("nsenter", "--net", "--target", str(self._process.pid), *words)

    def run_behind(self, *words: str) -> str:
        """On the client of another subnet."""
        return run("nsenter", "--net", "--target", str(self._client.pid), *words)

    def page(self, address: str, *, behind: bool = False) -> str:
        """What http://ADDRESS/ says to the router, or to the client behind it; "" where nothing answers."""
        words = ("curl", "--silent", "--max-time", "10", f"http://{address}/")
        pid = self._client.pid if behind else self._process.pid
        done = subprocess.run(["nsenter", "--net", "--target", str(pid), *words], capture_output=True, text=True, check=False)
        return done.stdout

    @contextlib.contextmanager
    def dhcp(self, folder: Path, *options: str, lease: str = "2m") -> Iterator[Path]:
        """dnsmasq as the segment's DHCP server; the file of its leases."""
        program = shutil.which("dnsmasq", path="/usr/sbin:/usr/bin")
        assert program, "libvirt's own dnsmasq is not there"
        folder.mkdir(parents=True, exist_ok=True)
        leases = folder / "leases"
        leases.unlink(missing_ok=True)
        words = [
            "--no-daemon", "--conf-file=/dev/null", "--port=0", "--interface=lan0", "--bind-interfaces", "--user=root",
            f"--dhcp-leasefile={leases}", f"--pid-file={folder / 'pid'}",
            f"--dhcp-range=192.168.{self.vlan}.100,192.168.{self.vlan}.150,{lease}", "--log-dhcp", *options,
        ]  # fmt: skip
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(
                ["nsenter", "--net", "--target", str(self._process.pid), program, *words], stdout=log, stderr=log
            )
            try:
                time.sleep(0.5)
                assert server.poll() is None, (folder / "log").read_text()
                yield leases
            finally:
                server.terminate()
                server.wait()


@contextlib.contextmanager
def segment(bridge: str, vlan: int) -> Iterator[Segment]:
    """VLAN 192.168.VLAN.0/24 on the bridge with its router .1, and 10.20.VLAN.0/24 behind it with the client .2."""
    port, inside, near, far = f"vseg{vlan}", f"vsegp{vlan}", f"vsegn{vlan}", f"vsegf{vlan}"
    for name in (port, near):
        subprocess.run(["ip", "link", "delete", name], check=False, capture_output=True)
    router = subprocess.Popen(["unshare", "--net", sys.executable, str(TAP), inside, str(vlan), "lan0"])
    client = subprocess.Popen(["unshare", "--net", "sleep", "7200"])
    try:
        own_namespace(router)
        own_namespace(client)
        found = Segment(router, vlan, client)
        run("ip", "link", "add", "name", port, "type", "veth", "peer", "name", inside)
        run("ip", "link", "set", inside, "netns", str(router.pid))
        found.run("ip", "link", "set", inside, "up", "promisc", "on")
        run("ip", "link", "set", port, "master", bridge, "up")
        deadline = time.monotonic() + 20
        while subprocess.run(
            ["nsenter", "--net", "--target", str(router.pid), "ip", "link", "set", "lan0", "up"], check=False, capture_output=True
        ).returncode:
            assert time.monotonic() < deadline and router.poll() is None, "no TAP interface"
            time.sleep(0.05)
        found.run("ip", "address", "add", f"{found.router}/24", "dev", "lan0")
        found.run("ip", "link", "set", "lo", "up")
        found.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        run("ip", "link", "add", "name", near, "type", "veth", "peer", "name", far)
        run("ip", "link", "set", near, "netns", str(router.pid))
        run("ip", "link", "set", far, "netns", str(client.pid))
        found.run("ip", "address", "add", f"10.20.{vlan}.1/24", "dev", near)
        found.run("ip", "link", "set", near, "up")
        found.run_behind("ip", "address", "add", f"{found.behind}/24", "dev", far)
        found.run_behind("ip", "link", "set", far, "up")
        found.run_behind("ip", "route", "add", "default", "via", f"10.20.{vlan}.1")
        state = Path(f"/sys/class/net/{port}/brport/state")
        while state.read_text().strip() != FORWARDING:
            assert time.monotonic() < deadline, f"the bridge does not forward from {port}"
            time.sleep(0.1)
        yield found
    finally:
        for process in (router, client):
            process.terminate()
            process.wait()
        subprocess.run(["ip", "link", "delete", port], check=False, capture_output=True)
