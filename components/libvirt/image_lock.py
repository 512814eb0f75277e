"""One run at a time in the pool of images, which the stacks of a host share.

libvirt has no locks. A domain can be tied to the connection that starts it, so that libvirt ends it with that connection, however
the process dies; and of one name there is only one. So the lock is a domain without a disk or a NIC that is never unpaused.
"""

from __future__ import annotations

import contextlib
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

from components.custom.reporting import progress
from components.libvirt import domain_spec
from components.libvirt.connection import HypervisorError, find
from components.libvirt.domain_removal import power_off
from components.libvirt.xml import child, text_of

_LOOK_SECONDS = 1.0
_REFUSALS = 3


def name(pool: str) -> str:
    """Of the domain, for the pool of this name."""
    return f"{pool}-lock"


@contextlib.contextmanager
def alone(connection: Any, pool: str, *, virt_type: str, limit: float) -> Iterator[None]:
    """Wait until no other run is at the images of this pool, and keep others from them until the block ends.

    virt_type: auto, kvm or qemu. limit: seconds to wait for each other run. Raises HypervisorError after that time.
    """
    import libvirt  # noqa: PLC0415

    document = _domain(name(pool), domain_spec.virt_type_used(connection, virt_type))
    deadline, refusals, holder = time.monotonic() + limit, 0, None
    with progress(lambda: f"pool {pool}: another run is at its images (domain {name(pool)})"):
        while True:
            try:
                lock = connection.createXML(document, libvirt.VIR_DOMAIN_START_PAUSED | libvirt.VIR_DOMAIN_START_AUTODESTROY)
                break
            except libvirt.libvirtError:
                # The other one's may end between the two calls, but not each time.
                other = find(connection.lookupByName, name(pool))
                refusals = 0 if other else refusals + 1
                if refusals == _REFUSALS:
                    raise
                if other and other.ID() != holder:
                    holder, deadline = other.ID(), time.monotonic() + limit
            if time.monotonic() >= deadline:
                raise HypervisorError(
                    f"another run has been at the images in pool {pool} for {limit:g} s (domain {name(pool)}). Say `up` again when "
                    f"it has ended; if there is none, end that domain: virsh destroy {name(pool)}"
                )
            time.sleep(_LOOK_SECONDS)
    try:
        yield
    finally:
        with contextlib.suppress(libvirt.libvirtError):
            power_off(lock)


def _domain(domain: str, virt_type: str) -> str:
    root = ET.Element("domain", type=virt_type)
    child(root, "name", domain)
    child(
        root, "description", "Keeps other runs of k3s-macvlan from the images of the pool while one is at them. It ends by itself."
    )
    child(root, "memory", "16", unit="MiB")
    child(root, "vcpu", "1")
    child(child(root, "os"), "type", "hvm", arch="x86_64", machine="q35")
    devices = child(root, "devices")
    child(devices, "controller", type="usb", model="none")
    child(devices, "memballoon", model="none")
    return text_of(root)
