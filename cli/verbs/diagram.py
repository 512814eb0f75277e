"""`lab diagram`: the stack's networks as a picture: hypervisor, networks, machines, pods, and who reaches whom.

`view` turns what is known of a stack into a plain dictionary, `draw` turns such a dictionary into SVG. Both are pure: the
same stack gives the same bytes.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from cli import hypervisor as hosts
from cli import stack as stacks
from cli.duplicates import Segments, segments
from cli.folders import caller
from cli.kube import Definition, Pod
from cli.networks import Interface
from cli.report import say
from cli.stack import Stack, on_bridge
from cli.verbs import status
from components.config.network_plan import NetworkPlan
from components.config.plan import Plan
from components.config.settings import Settings

# The scenario's own values, for the picture in README.md; a test compares them with Pulumi.dev.yaml.
EXAMPLE: dict[str, Any] = {
    "stack": "dev",
    "network": {"name": "default", "bridge": "virbr0", "cidr": "192.168.122.0/24", "gateway": "192.168.122.1"},
    "interface": "enp1s0",
    "networks": [
        {
            "name": "macvlan-conf",
            "type": "macvlan",
            "mode": "bridge",
            "link": "enp1s0",
            "parent": "enp1s0",
            "on": "",
            "vlan": None,
            "cidr": "192.168.122.0/24",
            "gateway": "192.168.122.1",
            "ipam": "host-local",
            "range": "192.168.122.200-192.168.122.210",
            "booked": 0,
            "ipv6": "ignore",
            "access": False,
            "of_nodes": True,
        }
    ],
    "hypervisors": [
        {
            "name": "local",
            "uri": "qemu:///system",
            "nodes": [
                {
                    "name": "server-1",
                    "address": "192.168.122.180",
                    "version": "v1.36.4+k3s1",
                    "pods": [
                        {
                            "name": "nginx-macvlan",
                            "namespace": "default",
                            "interfaces": [
                                {
                                    "name": "net1",
                                    "address": "192.168.122.200",
                                    "own": True,
                                    "network": "macvlan-conf",
                                    "link": "enp1s0",
                                },
                                {"name": "eth0", "address": "10.42.0.x", "own": False, "network": "", "link": ""},
                            ],
                        }
                    ],
                }
            ],
        }
    ],
    "unplaced": [],
    "url": "http://192.168.122.200/",
    "title": "Welcome to nginx!",
    "notes": [],
}


# --- from a stack to the dictionary ---


def view(
    stack: Stack,
    config: Settings,
    plan: Plan,
    *,
    pods: Sequence[Pod] | None,
    versions: Mapping[str, str],
    bridge: str,
    definitions: Sequence[Definition] = (),
    virtual_address_on: str | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """What `draw` needs. pods: None if the API did not answer; then only the stack's own pods are drawn. virtual_address_on: name
    of the node that has k3s.virtualAddress."""
    shown = _own_pods(stack, config, plan) if pods is None else [pod for pod in pods if pod.secondary and not pod.ended]
    names = [node.name for node in stack.nodes]
    on = segments(config, plan, definitions)
    placed = {name: [_pod(pod, plan, on) for pod in shown if pod.node == name] for name in names}
    virtual = config.k3s.virtual_address
    return {
        "stack": stack.name,
        "network": {
            "name": config.network.name,
            "bridge": bridge,
            "cidr": str(config.network.cidr),
            "gateway": "" if on_bridge(config) else str(config.network.gateway),  # of a bridge, the gateway is another machine
        },
        "interface": config.network.interface,
        **({"virtual_address": {"address": str(virtual), "on": virtual_address_on or ""}} if virtual else {}),
        "networks": [{**_network(network), "on": _place(network, plan)} for network in plan.networks],
        "hypervisors": [
            {
                "name": pool.hypervisor,
                "uri": pool.uri,
                "nodes": [
                    {
                        "name": node.name,
                        "address": node.address,
                        "version": versions.get(node.name, ""),
                        **({"disks": [f"{disk['name']} {disk['gib']:g} GiB" for disk in node.disks]} if node.disks else {}),
                        "pods": placed[node.name],
                    }
                    for node in stack.nodes
                    if node.hypervisor == pool.hypervisor
                ],
            }
            for pool in plan.pools
        ],
        "unplaced": [_pod(pod, plan, on) for pod in shown if pod.node not in names],
        "url": stack.url,
        "title": next((str(page["title"]) for page in stack.pages if page.get("title")), ""),
        "notes": list(notes),
    }


def _place(network: NetworkPlan, plan: Plan) -> str:
    """What the network's NIC is plugged into, of a further one of the nodes that is plugged in alike everywhere."""
    places = {nic.settings.place for node in plan.nodes for nic in node.nics if nic.name == network.parent}
    return places.pop() if len(places) == 1 else ""


def _network(network: NetworkPlan) -> dict[str, Any]:
    settings = network.settings
    return {
        "name": network.name,
        "type": settings.type,
        "mode": settings.mode_or_default,
        "link": network.link,
        "parent": network.parent,
        "vlan": settings.vlan,
        "cidr": str(network.cidr),
        "gateway": "" if network.gateway is None else str(network.gateway),
        "ipam": settings.ipam,
        "range": "" if settings.range is None else str(settings.range),
        "booked": len(settings.addresses),
        "ipv6": settings.ipv6 if isinstance(settings.ipv6, str) else str(settings.ipv6.cidr),
        "access": settings.node_access is not None,
        "of_nodes": network.of_nodes,
    }


def _own_pods(stack: Stack, config: Settings, plan: Plan) -> list[Pod]:
    """The stack's pods by its outputs alone, on the node they are bound to, or on the only one."""
    only = stack.nodes[0].name if len(stack.nodes) == 1 else ""
    pages_of: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for page in stack.pages:
        if page.get("address"):
            pages_of[str(page.get("pod") or config.workload.name)].append(page)
    references = {network.name: network.reference for network in plan.networks}
    first = plan.networks[0].name
    return [
        Pod(
            namespace=config.workload.namespace,
            name=name,
            node=next((str(page["node"]) for page in pages if page.get("node")), only),
            phase="",
            ready=False,
            interfaces=tuple(
                Interface(
                    name=f"net{number}",
                    network=references.get(str(page.get("network") or first), str(page.get("network"))),
                    addresses=(str(page["address"]),),
                    mac=str(page.get("mac") or ""),
                )
                # A page for each network, in the order of the interfaces.
                for number, page in enumerate(pages, start=1)
            ),
        )
        for name, pages in pages_of.items()
    ]


def _pod(pod: Pod, plan: Plan, on: Segments) -> dict[str, Any]:
    names = {network.reference: network.name for network in plan.networks}
    cluster_interfaces = [interface for interface in pod.interfaces if not interface.own]
    return {
        "name": pod.name,
        "namespace": pod.namespace,
        "interfaces": [
            {
                "name": interface.name,
                "address": address,
                "own": interface.own,
                "network": names.get(interface.network, interface.network) if interface.own else "",
                "link": on.parents.get(interface.network, "") if interface.own else "",
            }
            for interface in (*pod.secondary, *cluster_interfaces)
            for address in interface.addresses or ("",)
        ],
    }


# --- from the dictionary to SVG ---

_WIDTH = 1080
_MARGIN = 24
_INK, _SOFT, _LINE = "#1f2933", "#5b6770", "#9aa5ad"
_GREEN, _RED = "#1a7f37", "#c62828"
_PAPER, _HOST, _MACHINE, _POD, _BUS = "#ffffff", "#f5f7f9", "#e8f0fb", "#e7f5ea", "#43607c"
# One for each interface of the nodes that pods are on, and again from the first.
_LINES = (_GREEN, "#0b62a8", "#9a4f00", "#7a3fa0", "#00707c", "#a8316b")
# Neighbours, the network's bar, machines: left edges and widths.
_LEFT, _LEFT_WIDTH = 44, 288
_BAR, _BAR_WIDTH = 378, 14
_BOX, _BOX_WIDTH = 448, 588
_NODE_WIDTH, _POD_WIDTH = 178, 244
_ROW = 19
# What each further link takes: a bar, an interface of the machine, a way to the pods. With several, pods say which network it is.
_NEXT_BAR, _NEXT_TRUNK, _NEXT_RISER, _WIDER_POD = 32, 28, 14, 86


@dataclass(frozen=True)
class _Layout:
    """Where the links are: interfaces of the nodes that pods are on, the nodes' own first."""

    links: tuple[str, ...]
    networks: tuple[Mapping[str, Any], ...]

    @property
    def further(self) -> int:
        return len(self.links) - 1

    @property
    def plain(self) -> bool:
        """One network, and it is the nodes' own."""
        return len(self.networks) == 1 and bool(self.networks[0]["of_nodes"])

    @property
    def pod_width(self) -> int:
        return _POD_WIDTH + (0 if self.plain else _WIDER_POD)

    @property
    def box(self) -> int:
        """Left edge of machines."""
        return _BOX + _NEXT_BAR * self.further

    @property
    def box_width(self) -> int:
        return _BOX_WIDTH + self.pod_width - _POD_WIDTH + _NEXT_RISER * self.further

    @property
    def width(self) -> int:
        """Of the picture."""
        return _WIDTH + self.box + self.box_width - _BOX - _BOX_WIDTH

    def bar(self, link: str) -> int:
        """Left edge of a link's bar."""
        return _BAR + _NEXT_BAR * self.links.index(link)

    def trunk(self, y: float, link: str) -> float:
        """Height of a link in a machine at `y`: the nodes' own lies next to the node."""
        return y + 48 + _NEXT_TRUNK * (self.further - self.links.index(link))

    def riser(self, link: str) -> int:
        """Where a link rises to the pods."""
        return self.box + 300 + self.pod_width + 24 + _NEXT_RISER * self.links.index(link)

    def color(self, link: str) -> str:
        return _LINES[self.links.index(link) % len(_LINES)]

    def on(self, link: str) -> list[Mapping[str, Any]]:
        """The networks on a link."""
        return [network for network in self.networks if network["link"] == link]


def _layout(data: Mapping[str, Any]) -> _Layout:
    networks = tuple(data["networks"])
    return _Layout(links=tuple(dict.fromkeys([data["interface"], *(network["link"] for network in networks)])), networks=networks)


@dataclass(frozen=True)
class _Text:
    size: int = 13
    color: str = _INK
    bold: bool = False
    anchor: str = "start"


_PLAIN, _STRONG = _Text(), _Text(bold=True)
_SMALL = _Text(size=12, color=_SOFT)
_ADDRESS = _Text(color=_GREEN, bold=True)
_HEAD = _Text(size=14, bold=True)


def _text(x: float, y: float, words: str, style: _Text = _PLAIN, room: float | None = None) -> str:
    """A line of text; cut off with an ellipsis where it would not fit into `room`."""
    if room is not None:
        fits = int(room / (style.size * (0.64 if style.bold else 0.585)))
        words = words if len(words) <= fits else words[: max(1, fits - 1)] + "…"
    weight = ' font-weight="600"' if style.bold else ""
    anchor = "" if style.anchor == "start" else f' text-anchor="{style.anchor}"'
    return f'<text x="{x:g}" y="{y:g}" font-size="{style.size}" fill="{style.color}"{weight}{anchor}>{escape(words)}</text>'


def _rect(x: float, y: float, width: float, height: float, fill: str, stroke: str = _LINE, *, dash: str = "") -> str:  # noqa: PLR0917
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" fill="{fill}" stroke="{stroke}" '
        f'stroke-width="1.2"{dashed}/>'
    )


def _path(points: str, color: str, *, width: float = 2, dash: str = "") -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<path d="{points}" fill="none" stroke="{color}" stroke-width="{width:g}"{dashed} stroke-linecap="round" '
        'stroke-linejoin="round"/>'
    )


def _cross(x: float, y: float, size: float = 6, under: str = _MACHINE) -> str:
    disc = f'<circle cx="{x:g}" cy="{y:g}" r="{size + 5:g}" fill="{under}"/>'
    arms = f"M{x - size:g} {y - size:g}L{x + size:g} {y + size:g}M{x + size:g} {y - size:g}L{x - size:g} {y + size:g}"
    return disc + _path(arms, _RED, width=3)


def _tick(x: float, y: float) -> str:
    return _path(f"M{x - 6:g} {y:g}L{x - 2:g} {y + 5:g}L{x + 7:g} {y - 6:g}", _GREEN, width=3)


def _dot(x: float, y: float, color: str) -> str:
    return f'<circle cx="{x:g}" cy="{y:g}" r="4" fill="{color}"/>'


def draw(data: Mapping[str, Any]) -> str:
    """The picture as an SVG document."""
    network, layout = data["network"], _layout(data)
    width = layout.width
    top = 84.0
    parts: list[str] = []
    y = top
    bar_from = y + 72
    bar_to = bar_from
    for index, hypervisor in enumerate(data["hypervisors"]):
        last = index == len(data["hypervisors"]) - 1
        drawn, height, bar_to = _hypervisor(
            y, hypervisor, data, layout, first=index == 0, unplaced=data["unplaced"] if last else []
        )
        parts += drawn
        y += height + 18
    bars = [
        _rect(_BAR, bar_from, _BAR_WIDTH, bar_to - bar_from, _BUS, _BUS),
        _text(_BAR + _BAR_WIDTH / 2, bar_from - 24, network["bridge"] or network["name"], _Text(14, _INK, True, "middle")),
        _text(_BAR + _BAR_WIDTH / 2, bar_from - 8, network["cidr"], _Text(12, _SOFT, False, "middle")),
    ]
    for link in layout.links[1:]:
        bars.append(_rect(layout.bar(link), bar_from, _BAR_WIDTH, bar_to - bar_from, layout.color(link), layout.color(link)))
        names = ", ".join(str(item["name"]) for item in layout.on(link))
        bars.append(
            _downwards(layout.bar(link) + _BAR_WIDTH + 4, bar_from + 6, f"{_where(layout.on(link)[0])}: {names}", bar_to - bar_from)
        )
    legend, y = _legend(y + 6, data, layout)
    height = y + 10
    title = f"Stack {data['stack']}: pods with addresses of their own on the network{'' if layout.plain else 's'}"
    described = "; ".join(
        f"{node['name']} {node['address']}: "
        + (", ".join(f"{pod['name']} {_secondary(pod)}" for pod in node["pods"]) or "no pod on the network")
        for hypervisor in data["hypervisors"]
        for node in hypervisor["nodes"]
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}" width="{width}" height="{height:g}" '
            f'role="img" aria-label={quoteattr(title)} font-family="system-ui, \'Segoe UI\', Helvetica, Arial, '
            "'DejaVu Sans', sans-serif\">",
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(described)}</desc>",
            f'<rect width="{width}" height="{height:g}" fill="{_PAPER}"/>',
            _text(_MARGIN, 40, title, _Text(20, _INK, True), width - 2 * _MARGIN),
            _text(_MARGIN, 64, _subtitle(data, layout), _Text(13, _SOFT), width - 2 * _MARGIN),
            *parts,
            *bars,
            *legend,
            "</svg>",
            "",
        ]
    )


def _subtitle(data: Mapping[str, Any], layout: _Layout) -> str:
    what = f"Network {data['network']['name']} {data['network']['cidr']}"
    if layout.plain:
        network = layout.networks[0]
        return f"{what}; pods {_given(network)} by {network['type']}, mode {network['mode']}"
    return f"{what} of the nodes; networks of pods: {', '.join(network['name'] for network in layout.networks)}"


def _given(network: Mapping[str, Any]) -> str:
    """Which addresses pods have."""
    booked = f"{network['booked']} booked"
    if network["ipam"] == "dhcp":
        return "at the DHCP server's addresses" + (f", {booked}" if network["booked"] else "")
    if not network["range"]:
        return f"at {booked} address{'' if network['booked'] == 1 else 'es'}"
    return _dash(network["range"]) + (f" and {booked}" if network["booked"] else "")


def _where(network: Mapping[str, Any]) -> str:
    where = network["link"] if network["vlan"] is None else f"VLAN {network['vlan']} of {network['parent']}"
    return f"{where} on {network['on']}" if network["on"] else where


def _dash(range_: str) -> str:
    return range_.replace("-", " \u2013 ")


def _downwards(x: float, y: float, words: str, room: float) -> str:
    """A line of text from top to bottom, in front of lines that cross it."""
    line = _text(x, y, words, _Text(size=11, bold=True), room)
    turned = f'transform="rotate(90 {x:g} {y:g})" paint-order="stroke" stroke="{_HOST}" stroke-width="4"'
    return line.replace("<text ", f"<text {turned} ", 1)


def _secondary(pod: Mapping[str, Any]) -> str:
    return " ".join(interface["address"] for interface in pod["interfaces"] if interface["own"])


def _hypervisor(
    y: float,
    hypervisor: Mapping[str, Any],
    data: Mapping[str, Any],
    layout: _Layout,
    *,
    first: bool,
    unplaced: Sequence[Mapping[str, Any]],
) -> tuple[list[str], float, float]:
    """Its parts, its height, and where the networks' bars end in it."""
    inner: list[str] = []
    row = y + 56
    for node in hypervisor["nodes"]:
        virtual = data.get("virtual_address", {})
        drawn, height = _machine(row, node, layout, virtual["address"] if virtual.get("on") == node["name"] else "")
        inner += drawn
        row += height + 16
    if unplaced:
        drawn, height = _unplaced(row, unplaced, layout)
        inner += drawn
        row += height + 16
    if not hypervisor["nodes"] and not unplaced:
        inner.append(_text(layout.box, row + 20, "no machine yet", _SMALL))
        row += 40
    if first:
        drawn, bottom = _neighbours(y + 86, data, layout)
        inner += drawn
        row = max(row, bottom + 16)
    title = f"Hypervisor {hypervisor['name']}  ·  {hypervisor['uri']}"
    box = [
        _rect(_MARGIN, y, layout.width - 2 * _MARGIN, row - y + 4, _HOST),
        _text(_LEFT, y + 26, title, _HEAD, layout.width - 2 * _LEFT),
    ]
    return box + inner, row - y + 4, row - 8


def _neighbours(y: float, data: Mapping[str, Any], layout: _Layout) -> tuple[list[str], float]:
    """Who else is on the networks: the hypervisor itself, and any other machine."""
    network, url = data["network"], data["url"]
    boxes = [
        (
            "The hypervisor itself",
            [
                (" on ".join(filter(None, [network["gateway"], network["bridge"]])), _PLAIN),
                *([(f"GET {url}", _ADDRESS)] if url else []),
                *([(f"“{data['title']}”", _SMALL)] if data["title"] else []),
            ],
            layout.links[0],
        ),
        ("Any machine of the network", [(f"{network['cidr']}", _PLAIN)], layout.links[0]),
    ]
    for link in layout.links[1:]:
        lines = [(str(item["cidr"]), _PLAIN) for item in layout.on(link)]
        lines += [(f"router {item['gateway']}", _SMALL) for item in layout.on(link) if item["gateway"]]
        boxes.append((f"Machines on {_where(layout.on(link)[0])}", list(dict.fromkeys(lines)), link))
    parts = []
    for title, lines, link in boxes:
        height = 38 + _ROW * len(lines)
        parts += [_rect(_LEFT, y, _LEFT_WIDTH, height, _PAPER), _text(_LEFT + 14, y + 24, title, _STRONG, _LEFT_WIDTH - 28)]
        for index, (words, style) in enumerate(lines):
            parts.append(_text(_LEFT + 14, y + 24 + _ROW * (index + 1), words, style, _LEFT_WIDTH - 28))
        middle, edge, color = y + height / 2, _LEFT + _LEFT_WIDTH, layout.color(link)
        parts += [_path(f"M{edge} {middle:g}H{layout.bar(link)}", color), _dot(edge, middle, color)]
        y += height + 20
    return parts, y - 20


def _pod_height(pod: Mapping[str, Any]) -> float:
    return 34 + _ROW * len(pod["interfaces"])


def _pods(
    x: float, y: float, pods: Sequence[Mapping[str, Any]], layout: _Layout
) -> Iterator[tuple[list[str], Mapping[str, float], float]]:
    """Each pod's parts, where each of its links arrives, and its middle."""
    for pod in pods:
        height = _pod_height(pod)
        name = pod["name"] if pod["namespace"] == "default" else f"{pod['namespace']}/{pod['name']}"
        width = layout.pod_width
        parts = [_rect(x, y, width, height, _POD, _GREEN), _text(x + 14, y + 22, name, _STRONG, width - 28)]
        arrivals: dict[str, float] = {}
        for index, interface in enumerate(pod["interfaces"]):
            row = y + 22 + _ROW * (index + 1)
            link = interface["link"] if interface["link"] in layout.links else ""
            parts.append(_text(x + 14, row, _words(interface, layout), _style(link, layout), width - 28))
            if link:
                arrivals.setdefault(link, y + height / 2 if layout.plain else row - 4)
        yield parts, arrivals, y + height / 2
        y += height + 12


def _words(interface: Mapping[str, Any], layout: _Layout) -> str:
    words = f"{interface['name']} {interface['address']}"
    if not interface["own"]:
        return f"{words} in the cluster"
    own = any(network["name"] == interface["network"] for network in layout.networks)
    return words if own and layout.plain else f"{words} {interface['network']}"


def _style(link: str, layout: _Layout) -> _Text:
    """Of an address: small where it is on no link of the picture."""
    return _Text(color=layout.color(link), bold=True) if link else _SMALL


def _ways(trunks: Mapping[str, float], arrivals: Mapping[str, float], right: float, layout: _Layout) -> tuple[list[str], list[str]]:
    """The lines to a pod whose right edge is `right`, and the dots at their ends."""
    lines = [
        _path(f"M{layout.riser(link):g} {trunks[link]:g}V{end:g}H{right:g}", layout.color(link)) for link, end in arrivals.items()
    ]
    return lines, [_dot(right, end, layout.color(link)) for link, end in arrivals.items()]


def _machine(y: float, node: Mapping[str, Any], layout: _Layout, virtual: str) -> tuple[list[str], float]:
    """A virtual machine with the node itself on its left, its pods on its right, and the ways between them. virtual: the virtual
    address, where it has it."""
    pods, box = node["pods"], layout.box
    stack_height = sum(_pod_height(pod) + 12 for pod in pods) - 12 if pods else 0
    content = max(stack_height, 34 + 2 * _ROW)
    head = 66 + _NEXT_TRUNK * layout.further
    trunks = {link: layout.trunk(y, link) for link in layout.links}
    own = layout.links[0]
    trunk, content_y = trunks[own], y + head
    height = head + content + 18
    version = f"  ·  K3s {node['version']}" if node["version"] else ""
    disks = f"  ·  data disks {', '.join(node['disks'])}" if node.get("disks") else ""
    parts = [
        _rect(box, y, layout.box_width, height, _MACHINE),
        _text(box + 20, y + 26, f"{node['name']}", _HEAD, 150),
        _text(box + 170, y + 26, f"virtual machine{version}{disks}", _SMALL, layout.box_width - 190),
    ]
    node_x, pod_x = box + 44, box + 300
    node_y = content_y + (content - 34 - 2 * _ROW) / 2
    node_middle = node_y + 17 + _ROW
    drawn_pods = list(_pods(pod_x, content_y, pods, layout))
    arrived = {link for _drawn, arrivals, _middle in drawn_pods for link in arrivals}
    # The way in: from the network's bar to the NIC, then to the node itself and to every pod.
    end = layout.riser(own) if own in arrived else node_x + 40
    parts += [
        _path(f"M{_BAR + _BAR_WIDTH} {trunk:g}H{end:g}", _GREEN),
        _path(f"M{node_x + 40:g} {trunk:g}V{node_y:g}", _GREEN),
    ]
    for link in layout.links[1:]:
        end = layout.riser(link) if link in arrived else box
        parts.append(_path(f"M{layout.bar(link) + _BAR_WIDTH} {trunks[link]:g}H{end:g}", layout.color(link)))
    for link in layout.links:
        room = 62 if layout.plain else max(62, 9 * len(link))
        parts += [
            _rect(box - 33, trunks[link] - 12, room + 4, 24, _PAPER, _BUS if link == own else layout.color(link)),
            _text(box - 31 + room / 2, trunks[link] + 4, link, _Text(12, _INK, True, "middle"), room),
        ]
    parts += [
        _rect(node_x, node_y, _NODE_WIDTH, 34 + 2 * _ROW, _PAPER),
        _text(node_x + 14, node_y + 22, "the node itself", _STRONG),
        _text(node_x + 14, node_y + 22 + _ROW, node["address"], _PLAIN, _NODE_WIDTH - 28),
        _text(node_x + 14, node_y + 22 + 2 * _ROW, f"and {virtual}" if virtual else "K3s, host network", _SMALL, _NODE_WIDTH - 28),
    ]
    crosses = []
    for pod, (drawn, arrivals, middle) in zip(pods, drawn_pods, strict=True):
        lines, dots = _ways(trunks, arrivals, pod_x + layout.pod_width, layout)
        parts += [*lines, *drawn, *dots]
        if own not in arrivals:
            continue
        access = _reached_by_node(pod, layout)
        parts.append(
            _path(
                f"M{node_x + _NODE_WIDTH:g} {node_middle:g}L{pod_x:g} {middle:g}",
                _GREEN if access else _RED,
                dash="" if access else "6 5",
            )
        )
        if not access:
            # Nearer to the pod, so that the crosses of several pods stand apart.
            crosses.append(
                _cross(node_x + _NODE_WIDTH + 0.55 * (pod_x - node_x - _NODE_WIDTH), node_middle + 0.55 * (middle - node_middle))
            )
    return parts + crosses, height


def _reached_by_node(pod: Mapping[str, Any], layout: _Layout) -> bool:
    """Whether its node reaches it on its own interface."""
    reached = {network["name"] for network in layout.on(layout.links[0]) if network["access"]}
    return any(interface["network"] in reached for interface in pod["interfaces"])


def _unplaced(y: float, pods: Sequence[Mapping[str, Any]], layout: _Layout) -> tuple[list[str], float]:
    """Pods whose node is not known."""
    content = sum(_pod_height(pod) + 12 for pod in pods) - 12
    head = 66 + _NEXT_TRUNK * layout.further
    height = head + content + 18
    pod_x, trunks = layout.box + 300, {link: layout.trunk(y, link) for link in layout.links}
    drawn_pods = list(_pods(pod_x, y + head, pods, layout))
    arrived = {link for _drawn, arrivals, _middle in drawn_pods for link in arrivals}
    parts = [
        _rect(layout.box, y, layout.box_width, height, _HOST, dash="5 4"),
        _text(layout.box + 20, y + 26, "on a node that is not known now", _SMALL),
        *(
            _path(f"M{layout.bar(link) + _BAR_WIDTH} {trunks[link]:g}H{layout.riser(link):g}", layout.color(link))
            for link in layout.links
            if link in arrived
        ),
    ]
    for drawn, arrivals, _middle in drawn_pods:
        lines, dots = _ways(trunks, arrivals, pod_x + layout.pod_width, layout)
        parts += [*lines, *drawn, *dots]
    return parts, height


def _reach(network: Mapping[str, Any], data: Mapping[str, Any]) -> list[tuple[bool, str]]:
    """Who reaches a pod at its address on a network, and who does not."""
    kind, mode, cidr = network["type"], network["mode"], network["cidr"]
    on_nodes_link = network["link"] == data["interface"]
    nodes = sum(len(hypervisor["nodes"]) for hypervisor in data["hypervisors"])
    lines = [(True, f"the hypervisor and every other machine of {cidr} reach the pods at their addresses on it")]
    if not network["of_nodes"]:
        lines = [(True, f"every machine of {cidr} on {_where(network)} reaches the pods at their addresses on it")]
    if mode in ("l3", "l3s"):
        lines = [(True, f"machines of {cidr} that have a route to the pods by way of their node reach them (ipvlan, mode {mode})")]
    if nodes > 1:
        lines.append((True, f"{'other nodes and ' if on_nodes_link else ''}pods on other nodes reach them too"))
    if mode in ("private", "passthru"):
        lines.append((False, f"pods on one node do not reach each other (mode {mode})"))
    elif mode == "vepa":
        lines.append((False, "pods on one node reach each other only if the switch sends their frames back (mode vepa)"))
    else:
        lines.append((True, "pods on one node reach each other"))
    if network["access"]:
        return [*lines, (True, "a node and its own pods reach each other by the node's own macvlan interface (nodeAccess)")]
    if not on_nodes_link:
        router = f", and reach its pods by way of its router {network['gateway']} alone" if network["gateway"] else ""
        return [*lines, (False, f"nodes have no address of their own on it{router}")]
    lines.append((False, f"a node and its own pods do not: the kernel passes nothing between an interface and its {kind} children"))
    return lines


_IPV6 = {"ignore": "", "accept": "; IPv6 from any router that announces it"}


def _legend(y: float, data: Mapping[str, Any], layout: _Layout) -> tuple[list[str], float]:
    parts = []
    for network in layout.networks:
        if not layout.plain:
            y += 30
            pods = f"pods {_given(network)} ({network['ipam']}), {network['type']}, mode {network['mode']}"
            ipv6 = _IPV6.get(network["ipv6"], f"; IPv6 {network['ipv6']}")
            words = f"{network['name']}: {_where(network)}, {network['cidr']}, {pods}{ipv6}"
            color = layout.color(network["link"])
            parts += [_rect(_MARGIN + 8, y - 11, 14, 14, color, color), _text(_MARGIN + 36, y, words, _STRONG, _room(layout))]
        for good, text in _reach(network, data):
            y += 26
            mark = _tick(_MARGIN + 14, y - 4) if good else _cross(_MARGIN + 14, y - 4, 5.5, _PAPER)
            parts += [mark, _text(_MARGIN + 36, y, text, _PLAIN, _room(layout))]
    if virtual := data.get("virtual_address"):
        y += 26
        now = f", now {virtual['on']}" if virtual["on"] else ""
        words = f"the API of Kubernetes is at {virtual['address']} too, an address that one server has at a time{now}"
        parts += [_tick(_MARGIN + 14, y - 4), _text(_MARGIN + 36, y, words, _PLAIN, _room(layout))]
    for note in data["notes"]:
        y += 24
        parts.append(_text(_MARGIN + 36, y, note, _SMALL, _room(layout)))
    return parts, y + 14


def _room(layout: _Layout) -> float:
    return layout.width - 3 * _MARGIN - 20


def main(options: argparse.Namespace) -> int:
    """0; the picture is written to stdout or into a file of the folder `lab` was called in."""
    svg = draw(EXAMPLE if options.example else _of_stack(options.stack))
    if options.file == "-":
        sys.stdout.write(svg)
    else:
        (caller() / options.file).write_text(svg, encoding="utf-8")
        say(f"wrote {options.file}")
    return 0


def _of_stack(name: str) -> dict[str, Any]:
    """The dictionary for `draw` of a stack, with what its cluster and its hypervisor report."""
    stack = stacks.read_selected(name)
    config, plan = stacks.read_settings(name)
    observation = status.observe(stack)
    bridge = config.network.name
    if not on_bridge(config) and plan.pools:
        bridge = hosts.bridge(plan.pools[0].uri, config.network.name)
    versions = {node.name: node.version for node in observation.nodes or ()}
    return view(
        stack,
        config,
        plan,
        pods=observation.pods,
        versions=versions,
        bridge=bridge,
        definitions=observation.definitions,
        virtual_address_on=observation.virtual_address_on,
        notes=observation.notes,
    )
