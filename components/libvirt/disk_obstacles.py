"""What stands in the way of changing a data disk: a snapshot over it, or another file in its place, made by hand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from shlex import quote

from components.libvirt import domain_disks, domain_xml


def data_disk_obstacles(
    name: str,
    stored: str,
    live: str | None,
    paths: Mapping[str, str],
    snapshots: Callable[[], Mapping[str, list[str]]],
    *,
    only: Collection[str] | None = None,
) -> list[str]:
    """Each as a sentence with the commands that lead out.

    name: of the domain. stored, live: its two definitions. paths: by alias the file that this program made; a data disk in a
    definition that is not in it is to be taken off. snapshots: the domain's snapshots that have files of their own. only: aliases
    of those that are looked at; None: all.
    """
    sentences: dict[str, str] = {}
    for document in (live, stored):
        for alias, disk in domain_disks.attached(document or "<domain/>").items():
            source, below = domain_xml.source(disk), list(domain_xml.below(disk))
            path = paths.get(alias) or (below[-1] if below else "")
            if source == path or alias in sentences or (only is not None and alias not in only):
                continue
            over = [snapshot for snapshot, made in snapshots().items() if {source, *below} & set(made)]
            if not path and not over:
                continue
            label, target = alias.removeprefix(domain_disks.ALIAS), domain_xml.target(disk)
            if path in below or over:
                start = "" if live is not None else f"virsh start {quote(name)}; "
                # Nothing is below the stack's own file, so without its name the whole chain is merged into it.
                base = f" --base {quote(path)}" if path else ""
                merge = f"{start}virsh blockcommit {quote(name)} {target}{base} --active --pivot --wait"
                ends = "".join(f"; virsh snapshot-delete {quote(name)} {quote(snapshot)} --metadata" for snapshot in over)
                sentences[alias] = (
                    f"its data disk {label} is {source}, a snapshot{''.join(f' {snapshot!r}' for snapshot in over)} over "
                    f"{path or 'its own file'}; what was written since is in it alone. Merge it: {merge}{ends}"
                )
            else:
                sentences[alias] = (
                    f"its data disk {label} is {source or 'empty'}, not {path}: it was moved. Move it back: virsh shutdown "
                    f"{quote(name)}; mv {quote(source or 'FILE')} {quote(path)}; virsh edit {quote(name)}"
                )
    return list(sentences.values())
