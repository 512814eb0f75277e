"""The end of a virtual machine: shut down for a change, powered off, removed with what it leaves."""

from __future__ import annotations

import contextlib
import functools
import time
from pathlib import PurePosixPath
from typing import Any

from components.custom.provider import Props
from components.custom.reporting import progress, say
from components.libvirt import domain_agent, domain_disks, domain_firmware, domain_spec, volume_store
from components.libvirt.connection import code, find, when_free
from components.libvirt.unmanaged import attached, inventory, say_what_stays


def no_longer_exists(error: Exception) -> bool:
    import libvirt  # noqa: PLC0415

    return isinstance(error, libvirt.libvirtError) and code(error) == libvirt.VIR_ERR_NO_DOMAIN


AGENT_SHARE = 0.5
"""Of the time to shut down, how much a guest agent that was sent the request gets before the power button is pressed."""


def stop(domain: Any, timeout: float) -> None:
    """Shut down in order within `timeout` seconds, by the guest agent if one answers and by the power button (ACPI); else power
    off."""
    import libvirt  # noqa: PLC0415

    if timeout > 0:
        with contextlib.suppress(libvirt.libvirtError):
            name, begin = domain.name(), time.monotonic()
            agent = domain_agent.answers(domain.XMLDesc(0))
            way = " by its guest agent" if agent else ""
            say(f"{name}: shutting down for a change{way}, {timeout:g} s at most")
            with progress(lambda: f"{name}: still shutting down"):
                if agent and _asked(domain) and _off(domain, begin + AGENT_SHARE * timeout):
                    return
                # Without flags libvirt would send the request to an agent that is there once more.
                domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN) if agent else domain.shutdown()
                _off(domain, begin + timeout)
    power_off(domain)


def _asked(domain: Any) -> bool:
    """Whether the guest agent has taken the request to shut down. It may have ended since its channel was seen."""
    import libvirt  # noqa: PLC0415

    try:
        domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)
    except libvirt.libvirtError:
        return not domain.isActive()
    return True


def _off(domain: Any, end: float) -> bool:
    """Whether the domain is off before `end`, of the monotonic clock."""
    while domain.isActive():
        if time.monotonic() >= end:
            return False
        time.sleep(0.25)
    return True


def power_off(domain: Any) -> None:
    import libvirt  # noqa: PLC0415

    if domain.isActive():
        try:
            domain.destroy()
        except libvirt.libvirtError as error:
            # It stopped by itself between the two calls.
            if code(error) not in {libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN}:
                raise


def remove(domain: Any) -> None:
    """Power off and undefine, with saved state, snapshot and checkpoint metadata and NVRAM; one that is deleted already too."""
    import libvirt  # noqa: PLC0415

    power_off(domain)
    most = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    flags = most | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    try:
        domain.undefineFlags(flags)
    except libvirt.libvirtError as error:
        if no_longer_exists(error):
            return
        if code(error) not in {libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_NO_SUPPORT}:
            raise
        find(domain.undefineFlags, most)


def remove_log(connection: Any, pool_name: str, console_log: str) -> None:
    """Remove the console log and the older parts virtlogd made of it (NAME.0, NAME.1, …) from the pool's directory."""
    pool = find(connection.storagePoolLookupByName, pool_name)
    if pool is not None and pool.isActive():
        when_free(lambda: pool.refresh(0))
        _delete_log(pool, console_log)


def _delete_log(pool: Any, console_log: str) -> None:
    name = PurePosixPath(console_log).name
    for volume in pool.listAllVolumes(0):
        other = volume.name()
        if other == name or (other.startswith(name + ".") and other[len(name) + 1 :].isdigit()):
            when_free(functools.partial(find, volume.delete, 0))


def remove_nvram(connection: Any, pool_name: str, node: str, document: str) -> None:
    """Remove the variables of UEFI that are in the pool's directory and that the domain's definition does not name: those of a
    firmware that it had."""
    pool = find(connection.storagePoolLookupByName, pool_name)
    if pool is not None and pool.isActive():
        volume_store.refresh(pool)
        _delete_nvram(pool, node, document)


def remove_files(connection: Any, pool_name: str, node: str, console_log: str) -> None:
    """`remove_log` and `remove_nvram` of a domain that no longer exists."""
    pool = find(connection.storagePoolLookupByName, pool_name)
    if pool is not None and pool.isActive():
        when_free(lambda: pool.refresh(0))
        _delete_log(pool, console_log)
        _delete_nvram(pool, node, "")


def _delete_nvram(pool: Any, node: str, document: str) -> None:
    for name in domain_firmware.nvram_names(node):
        if f"/{name}<" not in document:
            volume_store.delete(pool, name)


def say_what_is_lost(connection: Any, domain: Any, stored: str, live: str | None, state: Props) -> None:
    """With a domain that is about to be removed; and which of its files stay."""
    spec = domain_spec.from_inputs(domain_disks.resolved(connection, state), virt_type=state["virt_type"])
    former = attached(connection, state["pool"], spec, (), stored, live)
    lost = inventory(domain, stored, live, spec, former)
    if lost:
        say(f"{domain.name()}: removed with what is unmanaged in it: {'; '.join(lost)}")
    say_what_stays(
        connection,
        state["pool"],
        domain,
        (live, stored),
        {spec.disk_path, spec.seed_path, *former, *domain_disks.paths(spec.devices).values()},
    )
