"""The guests of a stack on one hypervisor, by their marks; powered off together where the whole stack is deleted.

The engine deletes servers one after another, because each of them is made after the one before it, and agents four at a time,
because a provider process has as many threads. Each of them would wait until its guest has ended. So the first one powers off all.
Which others are deleted a provider does not know: the run has to say so.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

from components.custom.provider import Props
from components.libvirt import domain_spec
from components.libvirt.connection import find
from components.libvirt.domain_removal import power_off

REQUEST = "K3S_MACVLAN_DESTROY"
"""The environment variable of a run that deletes all of a stack, with the value `WHOLE`."""
WHOLE = "whole"

AT_ONCE = 5
"""Calls of one connection that libvirtd works on at once (max_client_requests); more would wait there."""


class _Run:
    lock = threading.Lock()
    powered_off: ClassVar[dict[tuple[str, str, str], Mapping[str, str]]] = {}
    """By URI, owner and directory, what `power_off_together` has returned in this process."""


def of_stack(connection: Any, owner: str, directory: str, flags: int = 0) -> Iterator[tuple[Any, str]]:
    """Domains with the mark of `owner` whose console log is in the pool's directory, each with its stored definition.

    flags: those of libvirt's list of domains.
    """
    import libvirt  # noqa: PLC0415

    for domain in connection.listAllDomains(flags):
        stored = find(domain.XMLDesc, libvirt.VIR_DOMAIN_XML_INACTIVE)
        if stored is None:  # removed meanwhile
            continue
        facts = domain_spec.read_domain(stored)
        if facts.owner == owner and facts.console_log.startswith(f"{directory.rstrip('/')}/"):
            yield domain, stored


def power_off_together(connection: Any, state: Props) -> Mapping[str, str]:
    """In a run that deletes the whole stack, power off all of its guests, once in this process. state: of one of their `Domain`s.

    Returns the definitions that they had while they ran, by UUID: what is lost with them is named when each is removed. A guest
    that could not be powered off is left to its removal. Transient ones are too, since nothing of them is there afterwards.
    """
    if os.environ.get(REQUEST) != WHOLE:
        return {}
    directory = posixpath.dirname(state["console_log"])
    here = (state["uri"], state["owner"], directory)
    with _Run.lock:
        if here not in _Run.powered_off:
            _Run.powered_off[here] = _power_off(connection, state["owner"], directory)
        return _Run.powered_off[here]


def _power_off(connection: Any, owner: str, directory: str) -> dict[str, str]:
    import libvirt  # noqa: PLC0415

    def off(domain: Any) -> None:
        with contextlib.suppress(libvirt.libvirtError):
            power_off(domain)

    running: dict[str, str] = {}
    guests = []
    flags = libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE | libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT
    for domain, _ in of_stack(connection, owner, directory, flags):
        live = find(domain.XMLDesc, libvirt.VIR_DOMAIN_XML_SECURE)
        if live is not None:
            running[domain.UUIDString()] = live
            guests.append(domain)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(off, guests))
    return running
