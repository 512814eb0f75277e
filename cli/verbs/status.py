"""`lab status`: a stack on one screen, from its outputs and, where they answer, from Kubernetes and libvirt."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from cli import duplicates, hypervisor, kube, usage
from cli import stack as stacks
from cli.stack import Stack, read_settings
from components.config.plan import Plan
from components.config.settings import Settings

_PAGE_SECONDS = 2


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What was observed of a stack, in addition to its outputs. None: not known; `notes` says why."""

    settings: tuple[Settings, Plan] | None = None
    """Settings of the stack file, and the plan that follows from them."""
    states: dict[str, str] = field(default_factory=dict)
    """State of the domain (running, shut off, absent, ...) by node name."""
    nodes: list[kube.KubeNode] | None = None
    """Nodes that the Kubernetes API reports."""
    pods: list[kube.Pod] | None = None
    """Pods that have or request an interface of their own, as the API reports them."""
    definitions: tuple[kube.Definition, ...] = ()
    """NetworkAttachmentDefinitions of the cluster."""
    pages: Mapping[str, str] = field(default_factory=dict)
    """What each page answers now, as text, by URL."""
    notes: tuple[str, ...] = ()
    """What is not known, and why, one sentence each."""


def observe(stack: Stack) -> Observation:
    """Query libvirt, the Kubernetes API and the pages. Never raises."""
    notes = list(stack.notes)
    states: dict[str, str] = {}
    settings = None
    try:
        settings = read_settings(stack.name)
        states, unreachable = hypervisor.domain_states(hypervisor.uris(settings[0].hypervisors), stack.nodes)
        notes += unreachable
    except Exception as error:
        notes.append(f"machines not queried: {error}")
    observation = Observation(settings=settings, states=states, pages=pages(stack))
    if stack.kubeconfig:
        try:
            cluster = kube.read(stack.kubeconfig)
        except Exception as error:
            notes.append(f"the Kubernetes API does not answer: {error}")
        else:
            notes += cluster.notes
            observation = replace(observation, nodes=cluster.nodes, pods=cluster.pods, definitions=cluster.definitions)
    return replace(observation, notes=tuple(notes))


def pages(stack: Stack) -> dict[str, str]:
    """What each page says now by its URL, all requested in parallel."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        with_url = [page for page in stack.pages if page.get("url")]
        return {str(page["url"]): text for page, text in zip(with_url, pool.map(_page, with_url), strict=True)}


def _page(page: Mapping[str, Any]) -> str:
    from components.custom.page_check import prove  # noqa: PLC0415 - imports Pulumi

    try:
        status, title = prove(str(page["url"]), str(page.get("title") or ""), _PAGE_SECONDS)
    except Exception as error:
        text = str(error)
        _reason, _separator, last = text.partition("seen last: ")
        return f"not served to this machine: {last.split('. ', 1)[0] or text}"
    return f"served to this machine: {status} {title!r}"


def plain(stack: Stack, observation: Observation) -> dict[str, Any]:
    """The status as plain data, without any secret."""
    kube_nodes = {node.name: node for node in observation.nodes or ()}
    parts, duplicates_found, warnings = _addresses(stack, observation)
    return {
        "stack": stack.name,
        "url": stack.url,
        "pages": [{**page, "now": observation.pages.get(str(page.get("url")), "")} for page in stack.pages],
        "kubernetes": observation.nodes is not None,
        "nodes": [
            {
                "name": node.name,
                "role": node.role,
                "address": node.address,
                "mac": node.mac,
                "domain": node.domain,
                "hypervisor": node.hypervisor,
                "machine": observation.states.get(node.name),
                "ready": kube_nodes[node.name].ready if node.name in kube_nodes else None,
                "version": kube_nodes[node.name].version if node.name in kube_nodes else None,
            }
            for node in stack.nodes
        ],
        "pods": None if observation.pods is None else [pod.plain() for pod in observation.pods],
        "addresses": [part.plain() for part in parts],
        "duplicates": [asdict(duplicate) for duplicate in duplicates_found],
        "warnings": [*map(str, duplicates_found), *warnings],
        "notes": list(observation.notes),
    }


def _addresses(
    stack: Stack, observation: Observation
) -> tuple[Sequence[usage.Part], Sequence[duplicates.Duplicate], Sequence[str]]:
    """Of the pods: what is taken of the stack's range, what several have, and what to be warned of."""
    if observation.pods is None:
        return (), (), ()
    plan, segments = None, duplicates.Segments()
    parts: Sequence[usage.Part] = ()
    warnings: Sequence[str] = ()
    if observation.settings is not None:
        config, plan = observation.settings
        segments = duplicates.segments(config, plan, observation.definitions)
        parts = usage.parts(config, plan, observation.pods, [node.name for node in stack.nodes])
        warnings = usage.warnings(config, plan, observation.pods, parts)
    return parts, duplicates.duplicates(observation.pods, stack.nodes, observation.nodes or (), plan, segments), warnings


def render(status: dict[str, Any], console: Any) -> None:
    """The status as tables."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    def table(title: str, *columns: str) -> Table:
        rich_table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 3, 0, 0))
        for column in columns:
            rich_table.add_column(column, style="default", header_style="dim", overflow="fold")
        return rich_table

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
        _pods(status, console, table, word)
    if status["pages"]:
        pages = table("Pages", "url", "pod", "proven by the last up", "now")
        for page in status["pages"]:
            proven = f"{page['status']:g} {page.get('title')!r}" if page.get("status") else "no proof (proof.enabled)"
            served = page["now"].startswith("served")
            pages.add_row(page.get("url", ""), page.get("pod", ""), proven, word(page["now"] or "not requested", served))
        console.print(pages)
    for warning in (*_problems(status["pods"] or ()), *status["warnings"]):
        console.print(Text(f"warning: {warning}", style="bold red"))
    for note in status["notes"]:
        console.print(Text(f"note: {note}", style="yellow"))


def _pods(status: dict[str, Any], console: Any, table: Callable[..., Any], word: Callable[[str, bool | None], Any]) -> None:
    """The pods, a row for each address, and the addresses that are taken."""
    from rich.text import Text  # noqa: PLC0415

    pods = table("Pods on the network", "pod", "interface", "address", "network", "node", "state")
    for pod in status["pods"]:
        secondary = [interface for interface in pod["interfaces"] if interface["own"]]
        rows = [
            (interface["name"] if index == 0 else "", address, interface["network"] if index == 0 else "")
            for interface in secondary
            for index, address in enumerate(interface["addresses"] or ["-"])
        ]
        for index, row in enumerate(rows or [("none", "-", "-")]):
            name, node = (f"{pod['namespace']}/{pod['name']}", pod["node"]) if index == 0 else ("", "")
            pods.add_row(name, *row, node, word(*_state(pod)) if index == 0 else "")
    console.print(pods if status["pods"] else Text("No pod has an address on the network.", style="bold"))
    console.print()
    if status["addresses"]:
        parts = table("Addresses for pods (macvlan.range)", "node", "range", "addresses", "taken", "free")
        for part in status["addresses"]:
            free = word(str(part["free"]), False if part["free"] == 0 else None if part["free"] == 1 else True)
            parts.add_row(part["node"] or "all", part["range"], str(part["size"]), str(part["taken"]), free)
        console.print(parts)
        console.print()


def _state(pod: Mapping[str, Any]) -> tuple[str, bool | None]:
    """What is said of a pod, and whether that is good; None: neither."""
    if pod["ended"]:
        return f"{pod['phase']}: holds no address", None
    state = pod["phase"] + (", Ready" if pod["ready"] else ", not Ready") + (", being deleted" if pod["deleted"] else "")
    if pod["problems"]:
        return f"{state}, LACKS what it asks for (below)", False
    return state, None if pod["waiting"] else pod["ready"]


def _problems(pods: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"pod {pod['namespace']}/{pod['name']}: {problem}" for pod in pods for problem in pod["problems"]]


def main(options: argparse.Namespace) -> int:
    """0 if the stack could be read, whatever state it is in."""
    stack = stacks.read_selected(options.stack)
    status = plain(stack, observe(stack))
    if options.json:
        sys.stdout.write(json.dumps(status, indent=2) + "\n")
        return 0
    from rich.console import Console  # noqa: PLC0415

    render(status, Console(width=None if sys.stdout.isatty() else 120))
    return 0
