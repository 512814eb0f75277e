"""What stands in the way of changing a disk: a snapshot over it, or another file in its place, made by hand. Pure."""

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
        for alias, disk in domain_disks.attached(document).items():
            source, below = domain_xml.source(disk), list(domain_xml.below(disk))
            path = paths.get(alias) or (below[-1] if below else "")
            if source == path or alias in sentences or (only is not None and alias not in only):
                continue
            over = [snapshot for snapshot, made in snapshots().items() if {source, *below} & set(made)]
            if not path and not over:
                continue
            label, target = alias.removeprefix(domain_disks.ALIAS), domain_xml.target(disk)
            if path in below or over:
                sentences[alias] = snapshot_over(
                    f"data disk {label}", source, path, over, domain=name, target=target, runs=live is not None
                )
            else:
                sentences[alias] = moved(f"data disk {label}", source, path, name)
    return list(sentences.values())


def snapshot_over(disk: str, source: str, path: str, snapshots: Collection[str], *, domain: str, target: str, runs: bool) -> str:
    """disk: which one, in words. source: its file. path: of the file below that this program made; "" where that is not known.
    snapshots, domain: their names. target: the disk's name in the domain. runs: whether the domain does."""
    name = quote(domain)
    start = "" if runs else f"virsh start {name}; "
    # Without --base the whole chain is merged: a root disk's into the image that all nodes share. Below a data disk's own file is
    # nothing.
    base = f" --base {quote(path)}" if path else ""
    merge = f"{start}virsh blockcommit {name} {target}{base} --active --pivot --wait"
    ends = "".join(f"; virsh snapshot-delete {name} {quote(snapshot)} --metadata" for snapshot in snapshots)
    return (
        f"its {disk} is {source}, a snapshot{''.join(f' {snapshot!r}' for snapshot in snapshots)} over {path or 'its own file'}; "
        f"what was written since is in it alone. Merge it: {merge}{ends}"
    )


def moved(disk: str, source: str, path: str, domain: str) -> str:
    """As `snapshot_over`, of a disk that has another file in place of the one at path."""
    name = quote(domain)
    return (
        f"its {disk} is {source or 'empty'}, not {path}: it was moved. Move it back: virsh shutdown {name}; "
        f"mv {quote(source or 'FILE')} {quote(path)}; virsh edit {name}"
    )
