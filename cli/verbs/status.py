"""`lab status`: a stack on one screen, from its outputs and, where they answer, from Kubernetes and libvirt."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from cli import attachments, book, duplicates, hypervisor, images, kube, node_state, usage
from cli import stack as stacks
from cli.images import Image
from cli.stack import Stack, read_settings
from components.config.network_plan import NetworkPlan
from components.config.plan import GIB, Plan
from components.config.pod_networks import StaticIpv6
from components.config.settings import Settings

_PAGE_SECONDS = 2


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What was observed of a stack, in addition to its outputs. None: not known; `notes` says why."""

    settings: tuple[Settings, Plan] | None = None
    """Settings of the stack file, and the plan that follows from them."""
    states: dict[str, str] = field(default_factory=dict)
    """State of the domain (running, shut off, absent, ...) by node name."""
    inside: Mapping[str, node_state.NodeState] = field(default_factory=dict)
    """What nodes report of themselves over SSH, by node name."""
    nodes: list[kube.KubeNode] | None = None
    """Nodes that the Kubernetes API reports."""
    pods: list[kube.Pod] | None = None
    """Pods that have or request an interface of their own, as the API reports them."""
    definitions: tuple[kube.Definition, ...] = ()
    """NetworkAttachmentDefinitions of the cluster."""
    multus: Mapping[str, str] = field(default_factory=dict)
    """Image of Multus by name of the node that it runs on."""
    pages: Mapping[str, str] = field(default_factory=dict)
    """What each page answers now, as text, by URL."""
    virtual_address_on: str | None = None
    """Name of the node that has k3s.virtualAddress; empty: none."""
    images: tuple[Image, ...] = ()
    """Prepared images on the stack's hypervisors, and what they are over."""
    notes: tuple[str, ...] = ()
    """What is not known, and why, one sentence each."""


def observe(stack: Stack) -> Observation:
    """Query libvirt, the nodes, the Kubernetes API and the pages. Never raises."""
    notes = list(stack.notes)
    states: dict[str, str] = {}
    settings = None
    images_there: tuple[Image, ...] = ()
    try:
        settings = read_settings(stack.name)
        states, unreachable = hypervisor.domain_states(hypervisor.uris(settings[0].hypervisors), stack.nodes)
        notes += unreachable
        images_there, unseen = _images(settings[1])
        notes += unseen
    except Exception as error:
        notes.append(f"machines not queried: {error}")
    with ThreadPoolExecutor(max_workers=2) as pool:
        # Next to the connections over SSH, whose signals are this thread's.
        served = pool.submit(pages, stack, settings)
        virtual = settings is not None and settings[0].k3s.virtual_address is not None
        cluster_read = pool.submit(kube.read, stack.kubeconfig, virtual_address=virtual) if stack.kubeconfig else None
        inside, unanswered = _inside(stack, states)
        notes += unanswered
        observation = Observation(settings=settings, states=states, inside=inside, pages=served.result(), images=images_there)
        if cluster_read is not None:
            try:
                cluster = cluster_read.result()
            except Exception as error:
                notes.append(f"the Kubernetes API does not answer: {error}")
            else:
                notes += cluster.notes
                observation = replace(
                    observation,
                    nodes=cluster.nodes,
                    pods=cluster.pods,
                    definitions=cluster.definitions,
                    multus=cluster.multus,
                    virtual_address_on=cluster.virtual_address_on,
                )
    return replace(observation, notes=tuple(notes))


def _inside(stack: Stack, states: Mapping[str, str]) -> tuple[Mapping[str, node_state.NodeState], list[str]]:
    """What nodes report of themselves, and why some do not. One whose machine is known not to run is not queried."""
    running = [node for node in stack.nodes if states.get(node.name, "running") == "running"]
    try:
        return node_state.query(stack, running) if running else ({}, [])
    except Exception as error:
        return {}, [f"nodes not seen from inside: {error}"]


def _images(plan: Plan) -> tuple[tuple[Image, ...], list[str]]:
    """The prepared images, and why they are not known. Never raises."""
    try:
        return tuple(images.stored(images.pools(plan))), []
    except Exception as error:
        return (), [f"prepared images not seen: {error}"]


def pages(stack: Stack, settings: tuple[Settings, Plan] | None) -> dict[str, str]:
    """What each page says now by its URL, all requested in parallel. One that the last `up` has not seen, because this machine has
    no address on its network, is requested only where it has one now."""
    title = settings[0].proof.title if settings else ""
    with_url = [page for page in stack.pages if page.get("url") and (not page.get("unseen") or _is_neighbour(page, settings))]
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = pool.map(lambda page: _page(str(page["url"]), str(page.get("title") or title)), with_url)
        return {str(page["url"]): text for page, text in zip(with_url, answers, strict=True)}


def _is_neighbour(page: Mapping[str, Any], settings: tuple[Settings, Plan] | None) -> bool:
    """Whether this machine has an address of the page's network."""
    from components.custom.free_addresses import interfaces  # noqa: PLC0415 - imports Pulumi

    networks = settings[1].networks if settings else ()
    return any(
        network.name == page.get("network") and any(address in network.cidr for address in interfaces()) for network in networks
    )


def _page(url: str, expected: str) -> str:
    from components.custom.page_check import prove  # noqa: PLC0415 - imports Pulumi

    try:
        status, title = prove(url, expected, _PAGE_SECONDS)
    except Exception as error:
        text = str(error)
        _reason, _separator, last = text.partition("seen last: ")
        return f"not served to this machine: {last.split('. ', 1)[0] or text}"
    return f"served to this machine: {status} {title!r}"


@dataclass(frozen=True, kw_only=True)
class _Addresses:
    """What follows from the pods for networks and addresses."""

    parts: Sequence[usage.Part] = ()
    duplicates: Sequence[duplicates.Duplicate] = ()
    books: Sequence[book.Book] = ()
    outdated: Sequence[attachments.Outdated] = ()
    warnings: Sequence[str] = ()
    """All that is to be warned of, without the duplicates."""


def plain(stack: Stack, observation: Observation) -> dict[str, Any]:
    """The status as plain data, without any secret."""
    kube_nodes = {node.name: node for node in observation.nodes or ()}
    addresses = _addresses(stack, observation)
    return {
        "stack": stack.name,
        "url": stack.url,
        "pages": [{**page, "now": observation.pages.get(str(page.get("url")), "")} for page in stack.pages],
        "kubernetes": observation.nodes is not None,
        **_virtual_address(observation),
        "nodes": [
            {
                "name": node.name,
                "role": node.role,
                "address": node.address,
                "mac": node.mac,
                "domain": node.domain,
                "hypervisor": node.hypervisor,
                **({"disks": list(node.disks)} if node.disks else {}),
                "machine": observation.states.get(node.name),
                "ready": kube_nodes[node.name].ready if node.name in kube_nodes else None,
                "cordoned": kube_nodes[node.name].cordoned if node.name in kube_nodes else None,
                "version": kube_nodes[node.name].version if node.name in kube_nodes else None,
                "inside": observation.inside[node.name].plain() if node.name in observation.inside else None,
            }
            for node in stack.nodes
        ],
        "images": [image.plain() for image in observation.images],
        "nics": _nics(observation),
        "networks": _networks(addresses, observation),
        "pods": None if observation.pods is None else [pod.plain() for pod in observation.pods],
        "addresses": [part.plain() for part in addresses.parts],
        "duplicates": [asdict(duplicate) for duplicate in addresses.duplicates],
        "warnings": [*map(str, addresses.duplicates), *addresses.warnings, *node_state.warnings(observation.inside)],
        "notes": list(observation.notes),
    }


def _virtual_address(observation: Observation) -> dict[str, Any]:
    """Of the stack file, and the node that has it; nothing where there is none."""
    address = observation.settings[0].k3s.virtual_address if observation.settings else None
    return {"virtual_address": {"address": str(address), "on": observation.virtual_address_on}} if address else {}


def _nics(observation: Observation) -> list[dict[str, str]]:
    """The further NICs of the nodes, by the stack file."""
    nodes = observation.settings[1].nodes if observation.settings else ()
    return [
        {
            "node": node.name,
            "name": nic.name,
            "mac": nic.mac,
            "place": nic.settings.place,
            "address": "dhcp" if nic.settings.dhcp else _text(nic.settings.address),
        }
        for node in nodes
        for nic in node.nics
    ]


def _networks(addresses: _Addresses, observation: Observation) -> list[dict[str, Any]]:
    return (
        [_network(network, addresses, observation) for network in observation.settings[1].networks] if observation.settings else []
    )


def _network(network: NetworkPlan, addresses: _Addresses, observation: Observation) -> dict[str, Any]:
    """A network by the stack file, and what pods have of it; None: not known."""
    settings, ipv6 = network.settings, network.settings.ipv6
    own = [part for part in addresses.parts if part.network.name == network.name]
    outdated = [pod.plain() for pod in addresses.outdated if pod.network == network.reference]
    its_book = next((its for its in addresses.books if its.network.name == network.name), None)
    return {
        "name": network.name,
        "namespace": settings.namespace,
        "type": settings.type,
        "mode": settings.mode_or_default,
        "link": network.link,
        "parent": network.parent,
        "vlan": settings.vlan,
        "cidr": str(network.cidr),
        "gateway": _text(network.gateway),
        "ipam": settings.ipam,
        "range": _text(settings.range),
        "ipv6": {"cidr": str(ipv6.cidr), "range": _text(ipv6.range)} if isinstance(ipv6, StaticIpv6) else ipv6,
        "node_access": _text(settings.node_access),
        "booked": len(settings.addresses),
        "free": sum(part.free for part in own) if own else None,
        "book": None if its_book is None else [entry.plain() for entry in its_book.entries],
        "unbooked": None if its_book is None else [item.plain() for item in its_book.unbooked],
        "outdated": None if observation.pods is None else outdated,
    }


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _addresses(stack: Stack, observation: Observation) -> _Addresses:
    pods = observation.pods
    if pods is None:
        return _Addresses()
    plan = observation.settings[1] if observation.settings else None
    outdated = attachments.outdated(pods, observation.definitions)
    warnings = [
        *(pod.text for pod in outdated),
        *attachments.without_default_route(pods, observation.multus, plan),
    ]
    if observation.settings is None or plan is None:
        twice = duplicates.duplicates(pods, stack.nodes, observation.nodes or (), None, duplicates.Segments())
        return _Addresses(duplicates=twice, outdated=outdated, warnings=warnings)
    config = observation.settings[0]
    segments = duplicates.segments(config, plan, observation.definitions)
    parts = usage.parts(plan, pods, [node.name for node in stack.nodes])
    books = book.compare(config, plan, pods, segments)
    return _Addresses(
        parts=parts,
        duplicates=duplicates.duplicates(pods, stack.nodes, observation.nodes or (), plan, segments),
        books=books,
        outdated=outdated,
        warnings=[*usage.warnings(plan, pods, parts), *(text for compared in books for text in compared.warnings), *warnings],
    )


def render(status: dict[str, Any], console: Any) -> None:
    """The status as tables."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    def table(title: str, *columns: str, gap: int = 3) -> Table:
        rich_table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, gap, 0, 0))
        for column in columns:
            rich_table.add_column(column, style="default", header_style="dim", overflow="fold")
        return rich_table

    def word(value: str, good: bool | None) -> Text:
        return Text(value, style={True: "green", False: "bold red", None: "yellow"}[good])

    nodes = table(f"Stack {status['stack']}", "node", "address", "machine", "K3s", "version", "hypervisor")
    for node in status["nodes"]:
        state = node["machine"] or "not known"
        ready = {True: "Ready", False: "not Ready", None: "not known"}[node["ready"]] + (", cordoned" if node["cordoned"] else "")
        nodes.add_row(
            node["name"],
            node["address"],
            word(state, None if node["machine"] is None else state == "running"),
            word(ready, None if node["ready"] and node["cordoned"] else node["ready"]),
            node["version"] or "-",
            node["hypervisor"],
        )
    console.print(nodes if status["nodes"] else Text(f"Stack {status['stack']}: no nodes", style="bold"))
    if virtual := status.get("virtual_address"):
        holder = {None: "on which server is not known", "": "on no server"}.get(virtual["on"], f"on {virtual['on']}")
        good = None if virtual["on"] is None else bool(virtual["on"])
        console.print(Text(f"Virtual address {virtual['address']}:"), word(holder, good))
    console.print()
    _inside_table(status, console, table, word)
    _image_table(status, console, table, word)
    if status["nics"]:
        nics = table("Further NICs", "node", "NIC", "on", "address", "MAC address")
        for nic in status["nics"]:
            nics.add_row(nic["node"], nic["name"], nic["place"], nic["address"] or "-", nic["mac"])
        console.print(nics)
        console.print()
    _disks(status, console, table)
    if status["networks"]:
        _network_tables(status, console, table, word)
    if status["pods"] is not None:
        _pods(status, console, table, word)
    if status["pages"]:
        pages = table("Pages", "url", "pod", "network", "proven by the last up", "now")
        for page in status["pages"]:
            proven = page.get("unseen") or "no proof (proof.enabled)"
            if page.get("status"):
                proven = f"{page['status']:g} {page.get('title')!r}"
            served = None if page.get("unseen") and not page["now"] else page["now"].startswith("served")
            now = word(page["now"] or "not requested", served)
            pages.add_row(page.get("url", ""), page.get("pod", ""), page.get("network", ""), proven, now)
        console.print(pages)
    for warning in (*_problems(status["pods"] or ()), *status["warnings"]):
        console.print(Text(f"warning: {warning}", style="bold red"))
    for note in status["notes"]:
        console.print(Text(f"note: {note}", style="yellow"))


def _inside_table(status: dict[str, Any], console: Any, table: Callable[..., Any], word: Callable[[str, bool | None], Any]) -> None:
    """What nodes report of themselves: a row for each file system."""
    reported = [(node["name"], node["inside"]) for node in status["nodes"] if node["inside"]]
    if not reported:
        return
    inside = table("Inside the nodes", "node", "up for", "memory used", "file system", "used", "certificates", "reboot")
    for name, state in reported:
        memory = state["memory"]
        used = "-" if memory is None or memory["used_mib"] is None else f"{memory['used_mib']} of {memory['total_mib']} MiB"
        reboot = word("pending (below)", None) if state["reboot"] else "-"
        left = node_state.days_left(state["certificates_end"] or "", datetime.now(UTC))
        certificates = "-" if left is None else word(f"{left} d", left > node_state.CERTIFICATES_SOON or None)
        first = (name, node_state.duration(state["uptime_seconds"]), used)
        rows = [(row["mount"], _fullness(row), row["percent"]) for row in state["file_systems"]] or [("-", "-", 0)]
        for index, (mount, full, percent) in enumerate(rows):
            good = None if percent < node_state.NEARLY_FULL else False
            cells = (*first,) if index == 0 else ("", "", "")
            inside.add_row(
                *cells, mount, full if good is None else word(full, good), *((certificates, reboot) if index == 0 else ("", ""))
            )
    console.print(inside)
    console.print()


def _image_table(status: dict[str, Any], console: Any, table: Callable[..., Any], word: Callable[[str, bool | None], Any]) -> None:
    """The images that stacks share; nothing where there are none."""
    if not status["images"]:
        return
    prepared = table("Images that nodes' disks are over", "hypervisor", "image", "GiB", "over it")
    for image in status["images"]:
        over = str(len(image["over"])) if image["whole"] else word("not made to its end", None)
        prepared.add_row(image["hypervisor"], image["path"].rpartition("/")[2], f"{image['size'] / GIB:.1f}", over)
    console.print(prepared)
    console.print()


def _fullness(file_system: Mapping[str, Any]) -> str:
    return f"{file_system['used'] / GIB:.1f} of {file_system['size'] / GIB:.1f} GiB ({file_system['percent']} %)"


def _disks(status: dict[str, Any], console: Any, table: Callable[..., Any]) -> None:
    """The data disks of all nodes; nothing where there are none."""
    disks = [(node["name"], disk) for node in status["nodes"] for disk in node.get("disks", ())]
    if not disks:
        return
    rows = table("Data disks", "node", "disk", "GiB", "mounted on", "serial", "at destroy")
    for node, disk in disks:
        fate = "kept" if disk.get("keep") else "deleted"
        rows.add_row(node, disk["name"], f"{disk['gib']:g}", disk.get("mount") or "-", disk["serial"], fate)
    console.print(rows)
    console.print()


def _pods(status: dict[str, Any], console: Any, table: Callable[..., Any], word: Callable[[str, bool | None], Any]) -> None:
    """The pods, a row for each address, and the addresses of ranges that are taken."""
    from rich.text import Text  # noqa: PLC0415

    pods = table("Pods on networks", "pod", "interface", "address", "network", "node", "state")
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
    console.print(pods if status["pods"] else Text("No pod has an address on a network.", style="bold"))
    console.print()
    if status["addresses"]:
        parts = table("Addresses for pods (podNetworks.NETWORK.range)", "network", "node", "range", "addresses", "taken", "free")
        for part in status["addresses"]:
            good = True if part["free"] > 1 or part["booked"] else None if part["free"] else False
            cells = (part["network"], part["node"] or "all", part["range"], str(part["size"]), str(part["taken"]))
            parts.add_row(*cells, word(str(part["free"]), good))
        console.print(parts)
        console.print()


def _network_tables(
    status: dict[str, Any], console: Any, table: Callable[..., Any], word: Callable[[str, bool | None], Any]
) -> None:
    """The networks by the stack file, and their books against the pods."""
    columns = ("network", "link", "VLAN", "cidr", "ipam", "range", "booked", "free", "IPv6")
    # Closer, so that a whole range fits into 120 columns.
    networks = table("Networks for pods", *columns, gap=2)
    for network in status["networks"]:
        ipv6 = network["ipv6"]
        networks.add_row(
            network["name"],
            network["link"],
            str(network["vlan"] or "-"),
            network["cidr"],
            network["ipam"],
            network["range"] or "-",
            str(network["booked"] or "-"),
            "-" if network["free"] is None else str(network["free"]),
            word("accept", None) if ipv6 == "accept" else "-" if ipv6 == "ignore" else ipv6["cidr"],
        )
    console.print(networks)
    console.print()
    rows = [(network["name"], entry) for network in status["networks"] for entry in network["book"] or ()]
    if rows:
        title = "Booked addresses (podNetworks.NETWORK.addresses)"
        entries = table(title, "network", "name", "address", "MAC address", "pod", "state")
        for name, entry in rows:
            addresses = " ".join(filter(None, (entry["ip"], entry["ipv6"])))
            good = not entry["problems"] if entry["state"] == book.THERE else None
            state = f"{entry['state']}, DIFFERS (below)" if entry["problems"] else entry["state"]
            entries.add_row(
                name, entry["name"], addresses or "-", entry["mac"] or "-", ", ".join(entry["pods"]) or "-", word(state, good)
            )
        console.print(entries)
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
