"""The host that the stories run on: what libvirt has there, libvirtd itself, a file system that is small."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def no_provider_tests() -> Iterator[None]:
    """While no provider tests run on the same libvirtd: theirs would not outlive a restart of it."""
    with Path("/run/lab-test.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


IMAGES = "k3s_macvlan_images"
"""How the names of the pools of prepared images begin."""


def virsh(*words: str, ok: bool = True) -> str:
    done = subprocess.run(["virsh", "-c", "qemu:///system", "-q", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not ok, f"virsh {' '.join(words)}: {done.stderr}"
    return done.stdout


def host_state() -> dict[str, Any]:
    """What libvirt has that could be ours; the provider tests' own are named lab-test, and the images that stacks share stay."""
    listed = {"domains": virsh("list", "--all", "--name"), "pools": virsh("pool-list", "--all", "--name")}
    others = ("lab-test", IMAGES)
    return {
        **{kind: sorted(name for name in text.split() if not name.startswith(others)) for kind, text in listed.items()},
        "network": virsh("net-dumpxml", "--inactive", "default"),
        # How many machines libvirt counts on it is forgotten at each change of the network, whoever makes it.
        "live": re.sub(r" connections='\d+'", "", virsh("net-dumpxml", "default")),
    }


def drop_reservations(stack: str) -> None:
    """Remove those of a stack that is destroyed: a run that was killed may have made some that its state does not know."""
    for place in (["--live"], ["--config"]):
        document = virsh("net-dumpxml", *(["--inactive"] if place == ["--config"] else []), "default", ok=False)
        for host in ET.fromstring(document or "<network/>").findall("ip/dhcp/host"):
            if re.fullmatch(rf"k3s-macvlan-{re.escape(stack)}-(server|agent)-\d+", host.get("name", "")):
                virsh("net-update", "default", "delete", "ip-dhcp-host", ET.tostring(host, encoding="unicode").strip(), *place)


def libvirtd() -> int:
    """The process id of the one libvirtd that this network namespace has."""
    here = Path("/proc/self/ns/net").readlink()
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if path.read_text().strip() == "libvirtd" and (path.parent / "ns/net").readlink() == here:
                return int(path.parent.name)
    raise AssertionError("there is no libvirtd of this network namespace")


def restart_libvirtd() -> None:
    """Stop libvirtd and start it as it was started; guests continue."""
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
