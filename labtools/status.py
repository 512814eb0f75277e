"""`lab status`: a stack on one screen, from its outputs and, where they answer, from Kubernetes and libvirt."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from labtools import hypervisor, kube
from labtools.stack import Stack, load_settings

_PAGE_SECONDS = 2


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was found beside the outputs. None: not known; `notes` says why."""

    states: dict[str, str] = field(default_factory=dict)
    nodes: list[kube.KubeNode] | None = None
    pods: list[kube.Pod] | None = None
    pages: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def look(stack: Stack) -> Seen:
    """Ask libvirt, the Kubernetes API and the page. Never raises."""
    notes = list(stack.notes)
    states: dict[str, str] = {}
    try:
        config, _plan = load_settings(stack.name)
        states, unseen = hypervisor.domain_states(hypervisor.uris(config.hypervisors), stack.nodes)
        notes += unseen
    except Exception as error:
        notes.append(f"machines not looked at: {error}")
    nodes = pods = None
    if stack.kubeconfig:
        try:
            nodes, pods = kube.read(stack.kubeconfig)
        except Exception as error:
            notes.append(f"the Kubernetes API does not answer: {error}")
    return Seen(states=states, nodes=nodes, pods=pods, pages=pages(stack), notes=tuple(notes))


def pages(stack: Stack) -> dict[str, str]:
    """What each page says now by its URL, all asked at the same time."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        known = [page for page in stack.pages if page.get("url")]
        return {str(page["url"]): found for page, found in zip(known, pool.map(_page, known), strict=True)}


def _page(page: Mapping[str, Any]) -> str:
    from components.proof import prove  # noqa: PLC0415 - imports Pulumi

    try:
        status, found = prove(str(page["url"]), str(page.get("title") or ""), _PAGE_SECONDS)
    except Exception as error:
        text = str(error)
        _before, _sign, seen = text.partition("seen last: ")
        return f"not served to this machine: {seen.split('. ', 1)[0] or text}"
    return f"served to this machine: {status} {found!r}"


def plain(stack: Stack, seen: Seen) -> dict[str, Any]:
    """The status as plain data, without any secret."""
    known = {node.name: node for node in seen.nodes or ()}
    return {
        "stack": stack.name,
        "url": stack.url,
        "pages": [{**page, "now": seen.pages.get(str(page.get("url")), "")} for page in stack.pages],
        "kubernetes": seen.nodes is not None,
        "nodes": [
            {
                "name": node.name,
                "role": node.role,
                "address": node.address,
                "mac": node.mac,
                "domain": node.domain,
                "hypervisor": node.hypervisor,
                "machine": seen.states.get(node.name),
                "ready": known[node.name].ready if node.name in known else None,
                "version": known[node.name].version if node.name in known else None,
            }
            for node in stack.nodes
        ],
        "pods": None if seen.pods is None else [pod.plain() for pod in seen.pods],
        "notes": list(seen.notes),
    }


def render(status: dict[str, Any], console: Any) -> None:
    """The status as tables."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    def table(title: str, *columns: str) -> Table:
        made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 3, 0, 0))
        for column in columns:
            made.add_column(column, style="default", header_style="dim", overflow="fold")
        return made

    def word(value: str, good: bool | None) -> Text:
        return Text(value, style={True: "green", False: "bold red", None: "yellow"}[good])

    nodes = table(f"Stack {status['stack']}", "node", "address", "machine", "K3s", "version", "hypervisor")
    for node in status["nodes"]:
        state = node["machine"] or "not known"
        ready = {True: "Ready", False: "not Ready", None: "not known"}[node["ready"]]
        nodes.add_row(
            node["name"],
            node["address"],
            word(state, None if node["machine"] is None else state == "running"),
            word(ready, node["ready"]),
            node["version"] or "-",
            node["hypervisor"],
        )
    console.print(nodes if status["nodes"] else Text(f"Stack {status['stack']}: no nodes", style="bold"))
    console.print()
    if status["pods"] is not None:
        pods = table("Pods on the network", "pod", "interface", "address", "network", "node", "state")
        for pod in status["pods"]:
            second = [each for each in pod["interfaces"] if each["name"] != "eth0"] or [None]
            for index, each in enumerate(second):
                state = pod["phase"] + (", Ready" if pod["ready"] else ", not Ready")
                if not pod["complete"]:
                    state += ", LACKS a network it asks for: delete it, so that it is made again"
                first = index == 0
                pods.add_row(
                    f"{pod['namespace']}/{pod['name']}" if first else "",
                    each["name"] if each else "none",
                    each["address"] if each else "-",
                    each["network"] if each else "-",
                    pod["node"] if first else "",
                    word(state, pod["ready"] and pod["complete"]) if first else "",
                )
        console.print(pods if status["pods"] else Text("No pod has an address on the network.", style="bold"))
        console.print()
    if status["pages"]:
        pages = table("Pages", "url", "pod", "proven by the last up", "now")
        for page in status["pages"]:
            proven = f"{page['status']:g} {page.get('title')!r}" if page.get("status") else "no proof (proof.enabled)"
            served = page["now"].startswith("served")
            pages.add_row(page.get("url", ""), page.get("pod", ""), proven, word(page["now"] or "not asked", served))
        console.print(pages)
    for note in status["notes"]:
        console.print(Text(f"note: {note}", style="yellow"))


def main(stack: Stack, arguments: Sequence[str]) -> int:
    """0 if the stack could be read, whatever state it is in."""
    parser = argparse.ArgumentParser(prog="./lab status", description="nodes, pods on the network and the proof of a stack")
    parser.add_argument("--json", action="store_true", help="as JSON")
    options = parser.parse_args(arguments)
    status = plain(stack, look(stack))
    if options.json:
        sys.stdout.write(json.dumps(status, indent=2) + "\n")
        return 0
    from rich.console import Console  # noqa: PLC0415

    render(status, Console(width=None if sys.stdout.isatty() else 120))
    return 0
