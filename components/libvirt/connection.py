"""The one connection to libvirt: open, close, and errors with what to do about them.

Every call into libvirt starts from the object that `connect` yields. Tests replace `opener` to put a fault at any call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from components.custom.reporting import PlainError, progress
from components.libvirt.ssh_tunnel import tunnel

T = TypeVar("T")


BUSY_LIMIT = 120.0
"""Seconds to wait for a pool that is busy with another transfer."""


class HypervisorError(PlainError):
    """What libvirt refused or what stands in the way, with the remedy. Its text is meant for the user."""


def _open(uri: str) -> Any:
    import libvirt  # noqa: PLC0415 - a preview needs no libvirt

    libvirt.registerErrorHandler(_silent, None)
    return libvirt.open(uri)


def _silent(_context: object, _error: object) -> None:
    """libvirt prints each error to stderr unless it is given a handler."""


opener: Callable[[str], Any] = _open


@contextmanager
def connect(uri: str) -> Iterator[Any]:
    """A connection to `uri` (qemu:///system, qemu+ssh://user@host/system, …), closed at the end.

    Every libvirtError that leaves the block becomes a HypervisorError that quotes libvirt and names what to do.
    """
    try:
        import libvirt  # noqa: PLC0415
    except ImportError as error:
        raise HypervisorError(
            f"the Python binding of libvirt cannot be loaded ({error}). Install libvirt's client library and "
            "`pip install -r requirements.txt` (on Debian and Ubuntu: apt install libvirt-dev pkg-config gcc "
            "python3-dev)."
        ) from None
    with tunnel(uri) as way:
        try:
            connection = opener(way.uri)
        except libvirt.libvirtError as error:
            raise HypervisorError(explain(error, uri, way.said())) from None
        try:
            with progress(lambda: f"libvirt ({uri}) is at work"):
                yield connection
        except libvirt.libvirtError as error:
            raise HypervisorError(explain(error, uri, way.said())) from None
        finally:
            with suppress(libvirt.libvirtError):  # the work is done, or has failed with a better reason
                connection.close()


HINTS = (
    (
        ("Timeout, server", "not responding"),
        "The host or the network to it went away in the middle. When ssh reaches it again, say `up` again, which finds what was "
        "done there",
    ),
    (("ssh: connect to host",), "ssh does not get there. Check the host and port in the connection URI, and that sshd runs there"),
    (("Failed to connect socket", "No such file"), "Is libvirtd running there? Try: systemctl enable --now libvirtd"),
    (("Connection refused",), "Is libvirtd running there? Try: systemctl enable --now libvirtd"),
    (
        ("Permission denied", "libvirt-sock"),
        "This user may not use libvirt. Try: sudo usermod -aG libvirt $USER, then log in again",
    ),
    (
        ("authentication unavailable",),
        "This user may not use libvirt. Try: sudo usermod -aG libvirt $USER, then log in again",
    ),
    (
        ("Host key verification failed",),
        "The host's SSH key is not known here, or is another than the known one. Connect once with ssh and check the key",
    ),
    (
        ("Could not resolve hostname",),
        "The host name in the connection URI is unknown. Check the hypervisor's uri setting",
    ),
    (
        ("Name or service not known",),
        "The host name in the connection URI is unknown. Check the hypervisor's uri setting",
    ),
    (
        ("Permission denied (",),
        "The host does not let this user log in by key. Check the user in the connection URI, and that ssh to the host works "
        "without a password (ssh-copy-id; a key with a passphrase needs an agent)",
    ),
    (
        ("Cannot get interface MTU", "No such device"),
        "There is no such bridge on this host. network.name must be a bridge that every hypervisor has: `ip link show type bridge`",
    ),
    (
        ("vlan tag", "not supported"),
        "VLANs on Linux bridges take libvirt 11.0 or later. Use a bridge of Open vSwitch (openvswitch: true), or the bridge of a "
        "VLAN interface without vlan",
    ),
    (
        ("nc: not found",),
        "libvirt's part for connections over SSH is missing on the host. Install libvirt-daemon-system there",
    ),
    (
        ("End of file while reading data",),
        "The remote side closed the connection. Check that ssh to the host works without a password and that the user there is "
        "in group libvirt",
    ),
    (("No space left",), "The file system of the pool is full. Free space there, or set another pool path"),
    (("Cannot allocate memory",), "The hypervisor has too little free memory for this guest. Lower its memory setting"),
    (
        ("cannot set up guest memory",),
        "The hypervisor has too little free memory for this guest. Lower its memory setting",
    ),
    (
        ("Cannot access storage file", "Permission denied"),
        "QEMU's user cannot read the pool's path. Every directory above it needs the x permission for others "
        "(a path below /root or a private home does not work)",
    ),
    (("Could not access KVM",), "/dev/kvm is there but cannot be used. Set virtType: qemu, or repair KVM"),
    (("invalid CPU model",), "Check the cpuModel setting; `virsh cpu-models x86_64` lists what is known"),
    (
        ("is in use by driver", "domain"),
        "Another machine has this device of the hypervisor. If it is one of this stack, take the device out of that one's devices "
        "first, in a run of its own; else take it from that machine first",
    ),
    (("doesn't support hardware virtualization", "kvm"), "Set virtType: qemu for plain emulation"),
    (("does not support virt type",), "Set virtType: qemu for plain emulation"),
)


LOST = (
    "End of file while reading data",
    "Cannot write data",
    "Cannot read data",
    "Cannot recv data",
    "client socket is closed",
    "Connection reset",
    "connection closed due to keepalive",
)


def explain(error: Exception, uri: str, said: str = "") -> str:
    """libvirt's own message, where it came from, and what to do about it where that is known. said: by ssh on the way."""
    message = " ".join(f"{error}{': ' if said else ''}{said}".split())
    if "+ssh" not in uri and any(words in message for words in LOST):
        return f"libvirt ({uri}): {message}. libvirtd was stopped or restarted meanwhile. When it runs again, say `up` again."
    hint = next((hint for words, hint in HINTS if all(word.lower() in message.lower() for word in words)), "")
    return f"libvirt ({uri}): {message}" + (f". {hint}." if hint else "")


def code(error: Exception) -> int:
    """libvirt's error code; -1 if there is none."""
    get = getattr(error, "get_error_code", None)
    number = get() if get else None
    return -1 if number is None else int(number)


def find(lookup: Callable[..., Any], *arguments: Any) -> Any | None:
    """The object that a libvirt lookup finds, None if there is none; every other error is raised."""
    import libvirt  # noqa: PLC0415

    absent = {
        libvirt.VIR_ERR_NO_DOMAIN,
        libvirt.VIR_ERR_NO_NETWORK,
        libvirt.VIR_ERR_NO_STORAGE_POOL,
        libvirt.VIR_ERR_NO_STORAGE_VOL,
    }
    try:
        return lookup(*arguments)
    except libvirt.libvirtError as error:
        if code(error) in absent:
            return None
        raise


def when_free(action: Callable[[], T]) -> T:
    """Do what a pool refuses while a transfer runs in it, as soon as it allows it, for at most BUSY_LIMIT seconds.

    libvirt refuses refresh, destroy and delete of a pool while volumes in it are being made or uploaded.
    """
    import libvirt  # noqa: PLC0415

    deadline = time.monotonic() + BUSY_LIMIT
    pause = 0.02
    while True:
        try:
            return action()
        except libvirt.libvirtError as error:
            busy = "asynchronous jobs" in str(error) or "still in use" in str(error) or "being allocated" in str(error)
            if not busy or time.monotonic() > deadline:
                raise
        time.sleep(pause)
        pause = min(pause * 2, 0.5)
