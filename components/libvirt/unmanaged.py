"""What was added to a domain by hand: it is named, kept in every change, and lost only with the domain itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from components.custom.reporting import say
from components.libvirt import domain_additions, domain_xml, obstacles, volume_store
from components.libvirt.connection import find
from components.libvirt.domain_spec import DomainSpec


def definitions(domain: Any) -> tuple[str, str | None]:
    """(the definition of the next start, that of the running guest or None), with what libvirt keeps as secret in them."""
    import libvirt  # noqa: PLC0415

    secure = libvirt.VIR_DOMAIN_XML_SECURE
    stored = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | secure)
    return stored, domain.XMLDesc(secure) if domain.isActive() else None


def attached(connection: Any, pool_name: str, spec: DomainSpec, known: Collection[str], *documents: str | None) -> set[str]:
    """Files of extra disks that this program has attached: `known`, those of `spec`, and read-only disks of the domain that are
    volumes of the stack's pool."""
    known_paths = {*known, *spec.extra_disks}
    others = {path for document in documents if document is not None for path in domain_xml.shared_files(document)}
    others -= {*known_paths, spec.disk_path, spec.seed_path}
    return known_paths | owned(connection, pool_name, others)


def owned(connection: Any, pool_name: str, paths: Collection[str]) -> set[str]:
    """Those of the files that are volumes of the stack's pool with the stack's mark."""
    if not paths:
        return set()
    pool = find(connection.storagePoolLookupByName, pool_name)
    return set() if pool is None or not pool.isActive() else set(paths) & volume_store.owned_paths(pool)


def inventory(domain: Any, stored: str, live: str | None, spec: DomainSpec, former: Collection[str]) -> list[str]:
    """All that is unmanaged in the domain, one phrase each, without what may be secret."""
    phrases = domain_additions.unmanaged(stored, spec, former)
    if live is not None:
        only = domain_additions.only_running(live, stored, spec, former)
        phrases += [f"{device.words}, attached to the running guest only" for device in only]
    return phrases + [f"snapshot {snapshot}" for snapshot in obstacles.snapshots(domain)]


def say_what_stays(connection: Any, pool_name: str, domain: Any, documents: Sequence[str | None], ours: Collection[str]) -> None:
    """Name the files that are left when the domain is removed, because this program has not made them.

    documents: the domain's definitions.
    """
    paths = [path for document in documents if document is not None for path in domain_xml.files(document)]
    paths += [path for files in obstacles.external_snapshots(domain).values() for path in files]
    others = dict.fromkeys(path for path in paths if path not in ours)
    made = owned(connection, pool_name, others)
    left = [path for path in others if path not in made]
    if left:
        say(
            f"{domain.name()}: {', '.join(left)} stay, because this stack did not make them. What is a snapshot over a disk of the "
            "stack is of no use without it."
        )
