"""`lab diagram`: the stack's network as a picture: hypervisor, network, machines, pods, and who reaches whom.

`view` turns what is known of a stack into a plain dictionary, `draw` turns such a dictionary into SVG. Both are pure: the
same stack gives the same bytes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from cli import hypervisor as hosts
from cli import stack as stacks
from cli.folders import caller
from cli.kube import Pod
from cli.networks import Interface
from cli.report import say
from cli.stack import Stack, on_bridge
from cli.verbs import status
from components.config.plan import Plan
from components.config.settings import Settings

# The scenario's own values, for the picture in README.md; a test compares them with Pulumi.dev.yaml.
EXAMPLE: dict[str, Any] = {
    "stack": "dev",
    "network": {"name": "default", "bridge": "virbr0", "cidr": "192.168.122.0/24", "gateway": "192.168.122.1"},
    "attachment": {"name": "macvlan-conf", "type": "macvlan", "mode": "bridge", "range": "192.168.122.200-192.168.122.210"},
    "interface": "enp1s0",
    "access": False,
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
                                {"name": "net1", "address": "192.168.122.200", "own": True},
                                {"name": "eth0", "address": "10.42.0.x", "own": False},
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
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """What `draw` needs. pods: None if the API did not answer; then only the stack's own pods are drawn."""
    shown = _own_pods(stack, config) if pods is None else [pod for pod in pods if pod.secondary and not pod.ended]
    names = [node.name for node in stack.nodes]
    placed = {name: [_pod(pod) for pod in shown if pod.node == name] for name in names}
    attachment = config.macvlan
    return {
        "stack": stack.name,
        "network": {
            "name": config.network.name,
            "bridge": bridge,
            "cidr": str(config.network.cidr),
            "gateway": "" if on_bridge(config) else str(config.network.gateway),  # of a bridge, the gateway is another machine
        },
        "attachment": {
            "name": attachment.name,
            "type": attachment.type,
            "mode": attachment.mode,
            "range": str(attachment.range),
        },
        "interface": plan.master,
        "access": config.node_access.enabled,
        "hypervisors": [
            {
                "name": pool.hypervisor,
                "uri": pool.uri,
                "nodes": [
                    {
                        "name": node.name,
                        "address": node.address,
                        "version": versions.get(node.name, ""),
                        "pods": placed[node.name],
                    }
                    for node in stack.nodes
                    if node.hypervisor == pool.hypervisor
                ],
            }
            for pool in plan.pools
        ],
        "unplaced": [_pod(pod) for pod in shown if pod.node not in names],
        "url": stack.url,
        "title": next((str(page["title"]) for page in stack.pages if page.get("title")), ""),
        "notes": list(notes),
    }


def _own_pods(stack: Stack, config: Settings) -> list[Pod]:
    """The stack's pods by its outputs alone, on the node they are bound to, or on the only one."""
    only = stack.nodes[0].name if len(stack.nodes) == 1 else ""
    return [
        Pod(
            namespace=config.workload.namespace,
            name=str(page.get("pod") or config.workload.name),
            node=str(page.get("node") or only),
            phase="",
            ready=False,
            interfaces=(
                Interface(
                    name="net1",
                    network=f"{config.macvlan.namespace}/{config.macvlan.name}",
                    addresses=(str(page["address"]),),
                    mac=str(page.get("mac") or ""),
                ),
            ),
        )
        for page in stack.pages
        if page.get("address")
    ]


def _pod(pod: Pod) -> dict[str, Any]:
    cluster_interfaces = [interface for interface in pod.interfaces if not interface.own]
    return {
        "name": pod.name,
        "namespace": pod.namespace,
        "interfaces": [
            {"name": interface.name, "address": address, "own": interface.own}
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
# Neighbours, the network's bar, machines: left edges and widths.
_LEFT, _LEFT_WIDTH = 44, 288
_BAR, _BAR_WIDTH = 378, 14
_BOX, _BOX_WIDTH = 448, 588
_NODE_WIDTH, _POD_WIDTH = 178, 244
_ROW = 19


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
    network, attachment = data["network"], data["attachment"]
    what = f"{network['name']} {network['cidr']}"
    top = 84.0
    parts: list[str] = []
    y = top
    bar_from = y + 72
    bar_to = bar_from
    for index, hypervisor in enumerate(data["hypervisors"]):
        last = index == len(data["hypervisors"]) - 1
        drawn, height, bar_to = _hypervisor(y, hypervisor, data, first=index == 0, unplaced=data["unplaced"] if last else [])
        parts += drawn
        y += height + 18
    bar = [
        _rect(_BAR, bar_from, _BAR_WIDTH, bar_to - bar_from, _BUS, _BUS),
        _text(_BAR + _BAR_WIDTH / 2, bar_from - 24, network["bridge"] or network["name"], _Text(14, _INK, True, "middle")),
        _text(_BAR + _BAR_WIDTH / 2, bar_from - 8, network["cidr"], _Text(12, _SOFT, False, "middle")),
    ]
    legend, y = _legend(y + 6, data)
    height = y + 10
    subtitle = f"Network {what}; pods {_dash(attachment['range'])} by {attachment['type']}, mode {attachment['mode']}"
    title = f"Stack {data['stack']}: pods with addresses of their own on the network"
    described = "; ".join(
        f"{node['name']} {node['address']}: "
        + (", ".join(f"{pod['name']} {_secondary(pod)}" for pod in node["pods"]) or "no pod on the network")
        for hypervisor in data["hypervisors"]
        for node in hypervisor["nodes"]
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:g}" width="{_WIDTH}" height="{height:g}" '
            f'role="img" aria-label={quoteattr(title)} font-family="system-ui, \'Segoe UI\', Helvetica, Arial, '
            "'DejaVu Sans', sans-serif\">",
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(described)}</desc>",
            f'<rect width="{_WIDTH}" height="{height:g}" fill="{_PAPER}"/>',
            _text(_MARGIN, 40, title, _Text(20, _INK, True), _WIDTH - 2 * _MARGIN),
            _text(_MARGIN, 64, subtitle, _Text(13, _SOFT), _WIDTH - 2 * _MARGIN),
            *parts,
            *bar,
            *legend,
            "</svg>",
            "",
        ]
    )


def _dash(range_: str) -> str:
    return range_.replace("-", " \u2013 ")


def _secondary(pod: Mapping[str, Any]) -> str:
    return " ".join(interface["address"] for interface in pod["interfaces"] if interface["own"])


def _hypervisor(
    y: float, hypervisor: Mapping[str, Any], data: Mapping[str, Any], *, first: bool, unplaced: Sequence[Mapping[str, Any]]
) -> tuple[list[str], float, float]:
    """Its parts, its height, and where the network's bar ends in it."""
    inner: list[str] = []
    row = y + 56
    for node in hypervisor["nodes"]:
        drawn, height = _machine(row, node, data["interface"], access=data["access"])
        inner += drawn
        row += height + 16
    if unplaced:
        drawn, height = _unplaced(row, unplaced)
        inner += drawn
        row += height + 16
    if not hypervisor["nodes"] and not unplaced:
        inner.append(_text(_BOX, row + 20, "no machine yet", _SMALL))
        row += 40
    if first:
        drawn, bottom = _neighbours(y + 86, data)
        inner += drawn
        row = max(row, bottom + 16)
    title = f"Hypervisor {hypervisor['name']}  ·  {hypervisor['uri']}"
    box = [
        _rect(_MARGIN, y, _WIDTH - 2 * _MARGIN, row - y + 4, _HOST),
        _text(_LEFT, y + 26, title, _HEAD, _WIDTH - 2 * _LEFT),
    ]
    return box + inner, row - y + 4, row - 8


def _neighbours(y: float, data: Mapping[str, Any]) -> tuple[list[str], float]:
    """Who else is on the network: the hypervisor itself, and any other machine."""
    network, url = data["network"], data["url"]
    boxes = [
        (
            "The hypervisor itself",
            [
                (" on ".join(filter(None, [network["gateway"], network["bridge"]])), _PLAIN),
                *([(f"GET {url}", _ADDRESS)] if url else []),
                *([(f"“{data['title']}”", _SMALL)] if data["title"] else []),
            ],
        ),
        ("Any machine of the network", [(f"{network['cidr']}", _PLAIN)]),
    ]
    parts = []
    for title, lines in boxes:
        height = 38 + _ROW * len(lines)
        parts += [_rect(_LEFT, y, _LEFT_WIDTH, height, _PAPER), _text(_LEFT + 14, y + 24, title, _STRONG, _LEFT_WIDTH - 28)]
        for index, (words, style) in enumerate(lines):
            parts.append(_text(_LEFT + 14, y + 24 + _ROW * (index + 1), words, style, _LEFT_WIDTH - 28))
        middle, edge = y + height / 2, _LEFT + _LEFT_WIDTH
        parts += [_path(f"M{edge} {middle:g}H{_BAR}", _GREEN), _dot(edge, middle, _GREEN)]
        y += height + 20
    return parts, y - 20


def _pod_height(pod: Mapping[str, Any]) -> float:
    return 34 + _ROW * len(pod["interfaces"])


def _pods(x: float, y: float, pods: Sequence[Mapping[str, Any]]) -> Iterator[tuple[list[str], float]]:
    """Each pod's parts and its middle."""
    for pod in pods:
        height = _pod_height(pod)
        name = pod["name"] if pod["namespace"] == "default" else f"{pod['namespace']}/{pod['name']}"
        parts = [_rect(x, y, _POD_WIDTH, height, _POD, _GREEN), _text(x + 14, y + 22, name, _STRONG, _POD_WIDTH - 28)]
        for index, interface in enumerate(pod["interfaces"]):
            in_cluster = not interface["own"]
            words = f"{interface['name']} {interface['address']}" + (" in the cluster" if in_cluster else "")
            style = _SMALL if in_cluster else _ADDRESS
            parts.append(_text(x + 14, y + 22 + _ROW * (index + 1), words, style, _POD_WIDTH - 28))
        yield parts, y + height / 2
        y += height + 12


def _machine(y: float, node: Mapping[str, Any], interface: str, *, access: bool) -> tuple[list[str], float]:
    """A virtual machine with the node itself on its left, its pods on its right, and the ways between them."""
    pods = node["pods"]
    stack_height = sum(_pod_height(pod) + 12 for pod in pods) - 12 if pods else 0
    content = max(stack_height, 34 + 2 * _ROW)
    trunk, content_y = y + 48, y + 66
    height = 66 + content + 18
    version = f"  ·  K3s {node['version']}" if node["version"] else ""
    parts = [
        _rect(_BOX, y, _BOX_WIDTH, height, _MACHINE),
        _text(_BOX + 20, y + 26, f"{node['name']}", _HEAD, 150),
        _text(_BOX + 170, y + 26, f"virtual machine{version}", _SMALL, _BOX_WIDTH - 190),
    ]
    node_x, pod_x, riser = _BOX + 44, _BOX + 300, _BOX + _BOX_WIDTH - 20
    node_y = content_y + (content - 34 - 2 * _ROW) / 2
    node_middle = node_y + 17 + _ROW
    # The way in: from the network's bar to the NIC, then to the node itself and to every pod.
    end = riser if pods else node_x + 40
    parts += [
        _path(f"M{_BAR + _BAR_WIDTH} {trunk:g}H{end:g}", _GREEN),
        _path(f"M{node_x + 40:g} {trunk:g}V{node_y:g}", _GREEN),
        _rect(_BOX - 33, trunk - 12, 66, 24, _PAPER, _BUS),
        _text(_BOX, trunk + 4, interface, _Text(12, _INK, True, "middle"), 62),
        _rect(node_x, node_y, _NODE_WIDTH, 34 + 2 * _ROW, _PAPER),
        _text(node_x + 14, node_y + 22, "the node itself", _STRONG),
        _text(node_x + 14, node_y + 22 + _ROW, node["address"], _PLAIN, _NODE_WIDTH - 28),
        _text(node_x + 14, node_y + 22 + 2 * _ROW, "K3s, host network", _SMALL, _NODE_WIDTH - 28),
    ]
    crosses = []
    for drawn, middle in _pods(pod_x, content_y, pods):
        parts += [
            _path(f"M{riser:g} {trunk:g}V{middle:g}H{pod_x + _POD_WIDTH:g}", _GREEN),
            *drawn,
            _dot(pod_x + _POD_WIDTH, middle, _GREEN),
            _path(
                f"M{node_x + _NODE_WIDTH:g} {node_middle:g}L{pod_x:g} {middle:g}",
                _GREEN if access else _RED,
                dash="" if access else "6 5",
            ),
        ]
        # Nearer to the pod, so that the crosses of several pods stand apart.
        crosses.append(
            _cross(node_x + _NODE_WIDTH + 0.55 * (pod_x - node_x - _NODE_WIDTH), node_middle + 0.55 * (middle - node_middle))
        )
    return parts + ([] if access else crosses), height


def _unplaced(y: float, pods: Sequence[Mapping[str, Any]]) -> tuple[list[str], float]:
    """Pods whose node is not known."""
    content = sum(_pod_height(pod) + 12 for pod in pods) - 12
    height = 66 + content + 18
    pod_x, riser, trunk = _BOX + 300, _BOX + _BOX_WIDTH - 20, y + 48
    parts = [
        _rect(_BOX, y, _BOX_WIDTH, height, _HOST, dash="5 4"),
        _text(_BOX + 20, y + 26, "on a node that is not known now", _SMALL),
        _path(f"M{_BAR + _BAR_WIDTH} {trunk:g}H{riser:g}", _GREEN),
    ]
    for drawn, middle in _pods(pod_x, y + 66, pods):
        parts += [_path(f"M{riser:g} {trunk:g}V{middle:g}H{pod_x + _POD_WIDTH:g}", _GREEN), *drawn]
        parts.append(_dot(pod_x + _POD_WIDTH, middle, _GREEN))
    return parts, height


def _reach(data: Mapping[str, Any]) -> list[tuple[bool, str]]:
    """Who reaches a pod at its address on the network, and who does not."""
    kind, mode = data["attachment"]["type"], data["attachment"]["mode"]
    cidr = data["network"]["cidr"]
    nodes = sum(len(hypervisor["nodes"]) for hypervisor in data["hypervisors"])
    lines = [(True, f"the hypervisor and every other machine of {cidr} reach the pods at their addresses on it")]
    if mode in ("l3", "l3s"):
        lines = [(True, f"machines of {cidr} that have a route to the pods by way of their node reach them (ipvlan, mode {mode})")]
    if nodes > 1:
        lines.append((True, "other nodes and pods on other nodes reach them too"))
    if mode in ("private", "passthru"):
        lines.append((False, f"pods on one node do not reach each other (mode {mode})"))
    elif mode == "vepa":
        lines.append((False, "pods on one node reach each other only if the switch sends their frames back (mode vepa)"))
    else:
        lines.append((True, "pods on one node reach each other"))
    if data["access"]:
        return [*lines, (True, "a node and its own pods reach each other by the node's own macvlan interface (nodeAccess)")]
    lines.append((False, f"a node and its own pods do not: the kernel passes nothing between an interface and its {kind} children"))
    return lines


def _legend(y: float, data: Mapping[str, Any]) -> tuple[list[str], float]:
    parts = []
    for good, words in _reach(data):
        y += 26
        mark = _tick(_MARGIN + 14, y - 4) if good else _cross(_MARGIN + 14, y - 4, 5.5, _PAPER)
        parts += [mark, _text(_MARGIN + 36, y, words, _PLAIN, _WIDTH - 3 * _MARGIN - 20)]
    for note in data["notes"]:
        y += 24
        parts.append(_text(_MARGIN + 36, y, note, _SMALL, _WIDTH - 3 * _MARGIN - 20))
    return parts, y + 14


def main(options: argparse.Namespace) -> int:
    """0; the picture goes to stdout or into a file of the folder `lab` was called in."""
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
    return view(stack, config, plan, pods=observation.pods, versions=versions, bridge=bridge, notes=observation.notes)
