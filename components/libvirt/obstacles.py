"""What stands in the way of redefining or restarting a domain: what was done by hand and would be lost, and how to end it."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote
from typing import Any

from components.libvirt import domain_disks, domain_xml, xml
from components.libvirt.connection import code, find
from components.libvirt.disk_obstacles import data_disk_obstacles, moved, snapshot_over
from components.libvirt.domain_spec import DomainSpec

JOBS = ("unknown", "pull", "copy", "commit", "active commit", "backup")
"""virDomainBlockJobType."""


def obstacles(domain: Any, stored: str, live: str | None, spec: DomainSpec) -> list[str]:
    """Each as a sentence with the commands that lead out. stored, live: the domain's two definitions; live None if it is off."""
    sentences = []
    if domain.name() != spec.name:
        name = quote(domain.name())
        sentences.append(
            f"it was renamed from {spec.name}. Rename it back: virsh shutdown {name}; virsh domrename {name} {spec.name}"
        )
    paths = domain_disks.paths(spec.devices)
    sentences += data_disk_obstacles(domain.name(), stored, live, paths, lambda: external_snapshots(domain))
    return sentences + under_way(domain, stored, live, spec.disk_path)


def under_way(domain: Any, stored: str, live: str | None, path: str) -> list[str]:
    """Obstacles that also prevent a change of the disk. path: of the file that this program created for it."""
    return disk_obstacles(domain, stored, live, path) + saved_or_busy(domain, live)


def saved_or_busy(domain: Any, live: str | None) -> list[str]:
    """Obstacles that concern the whole domain: its memory is saved, or a job is under way. live: None if it is off."""
    name = quote(domain.name())
    if live is None:
        if domain.hasManagedSaveImage(0):
            return [
                f"its memory is saved (managed save), and fits the definition and the disk as they are. Resume it: virsh start "
                f"{name}; or give the saved memory up: virsh managedsave-remove {name}"
            ]
        return []
    jobs = list(_block_jobs(domain, name, live))
    if not jobs and domain.jobInfo()[0] != _no_job():
        jobs.append(
            f"libvirt has a job under way on it (virsh domjobinfo {name}). Wait for its end, or end it: virsh domjobabort {name}"
        )
    return jobs


def disk_obstacles(domain: Any, stored: str, live: str | None, path: str) -> list[str]:
    """Those that concern the disk the guest boots from. path: of the file that this program made for it."""
    for document in (live, stored):
        disk = None if document is None else domain_xml.root_disk(document, path)
        if disk is None or disk.source == path:
            continue
        root = f"disk {disk.target}"
        files = {disk.source, *domain_xml.files(document or "")}
        snapshots = [snapshot for snapshot, made in external_snapshots(domain).items() if files & set(made)]
        if disk.over or snapshots:
            return [
                snapshot_over(root, disk.source, path, snapshots, domain=domain.name(), target=disk.target, runs=live is not None)
            ]
        return [moved(root, disk.source, path, domain.name())]
    return []


def _block_jobs(domain: Any, name: str, live: str) -> Iterator[str]:
    for target in domain_xml.targets(live):
        job = domain.blockJobInfo(target, 0)
        if job:
            kind = JOBS[job["type"]] if job["type"] < len(JOBS) else JOBS[0]
            yield (
                f"a block job ({kind}) is under way on its disk {target} (virsh blockjob {name} {target}). Wait for its end, or "
                f"end it: virsh blockjob {name} {target} --abort, or with --pivot for one that is ready"
            )


def _no_job() -> int:
    import libvirt  # noqa: PLC0415

    return int(libvirt.VIR_DOMAIN_JOB_NONE)


def external_snapshots(domain: Any) -> dict[str, list[str]]:
    """Names of the domain's snapshots that have files of their own, with these files."""
    files_of = {}
    for name, document in _snapshots(domain):
        root = xml.parse(document)
        files = [source.get("file", "") for source in root.findall("disks/disk/source")]
        memory = root.find("memory")
        if memory is not None and memory.get("file"):
            files.append(memory.get("file", ""))
        if files:
            files_of[name] = files
    return files_of


def snapshots(domain: Any) -> list[str]:
    """Names of all snapshots."""
    return [name for name, _ in _snapshots(domain)]


def _snapshots(domain: Any) -> Iterator[tuple[str, str]]:
    import libvirt  # noqa: PLC0415

    try:
        listed = domain.listAllSnapshots(0)
    except libvirt.libvirtError as error:
        if code(error) == libvirt.VIR_ERR_NO_SUPPORT:
            return
        raise
    for snapshot in listed:
        document = find(snapshot.getXMLDesc, 0)
        if document is not None:
            yield snapshot.getName(), document
