"""A run of `up` as a timeline: SVG, one bar per resource, the critical path marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW = 1080, 300, 60, 96, 20
_INK, _SOFT, _LINE, _PAPER = "#1f2933", "#5b6770", "#dde3e8", "#ffffff"
_BAR, _CRITICAL = "#8fb4dc", "#c62828"
_FONT = "system-ui, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif"


def of(figures: Mapping[str, Any]) -> str:
    """The timeline of the last `up` in a benchmark's figures. ValueError where it has none."""
    if not figures.get("rounds"):
        raise ValueError("no `up` was measured yet: python -m bench compare")
    up = figures["rounds"][-1]["up"]
    path = sum(bar["end"] - bar["start"] for bar in up["bars"] if bar["critical"])
    subtitle = f"{figures['machine']['text']}; {path:.0f} of {up['seconds']:.0f} s are on the critical path (red)"
    return draw(up["bars"], title=f"./lab up, {_count(figures['nodes'])}: one bar per resource", subtitle=subtitle)


def _count(nodes: int) -> str:
    return "one node" if nodes == 1 else f"{nodes} nodes"


def draw(bars: Sequence[Mapping[str, Any]], *, title: str, subtitle: str) -> str:
    """The timeline. bars: name, kind, start, end (seconds), critical; drawn in the order of their start."""
    rows = sorted(bars, key=lambda bar: (bar["start"], bar["end"]))
    last = max((bar["end"] for bar in rows), default=1.0)
    step = tick(last)
    scale = (_WIDTH - _LEFT - _RIGHT) / (last or 1.0)
    bottom = _TOP + _ROW * len(rows)
    height = bottom + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'role="img" aria-label={quoteattr(title)} font-family="{_FONT}" font-size="12">',
        f"<title>{escape(title)}</title>",
        f"<desc>{escape(critical_path_text(rows))}</desc>",
        f'<rect width="{_WIDTH}" height="{height}" fill="{_PAPER}"/>',
        _text(24, 34, title, size=18, bold=True),
        _text(24, 56, subtitle, color=_SOFT),
    ]
    at = 0.0
    while at <= last:
        x = _LEFT + at * scale
        parts.append(f'<path d="M{x:.1f} {_TOP - 8}V{bottom}" stroke="{_LINE}"/>')
        parts.append(_text(x, _TOP - 14, f"{at:g} s", color=_SOFT, anchor="middle"))
        at += step
    for index, bar in enumerate(rows):
        y = _TOP + _ROW * index
        x, width = _LEFT + bar["start"] * scale, max((bar["end"] - bar["start"]) * scale, 1.5)
        color = _CRITICAL if bar["critical"] else _BAR
        parts.append(_text(_LEFT - 10, y + 14, bar["name"], anchor="end", bold=bar["critical"]))
        parts.append(
            f'<rect x="{x:.1f}" y="{y + 4}" width="{width:.1f}" height="{_ROW - 7}" rx="2" fill="{color}">'
            f"<title>{escape(bar_text(bar))}</title></rect>"
        )
        # The text is next to the bar, on the side that has room.
        seconds = f"{bar['end'] - bar['start']:.1f}"
        if x + width + 44 < _WIDTH:
            parts.append(_text(x + width + 5, y + 14, seconds, color=_SOFT))
        else:
            parts.append(_text(x - 5, y + 14, seconds, color=_SOFT, anchor="end"))
    return "\n".join([*parts, "</svg>", ""])


def tick(last: float) -> float:
    """Seconds between the lines of the axis: 1, 2 or 5 times a power of ten, so that there are at most ten."""
    step, factors = 1.0, (2.0, 2.5, 2.0)
    index = 0
    while last / step > 10:
        step *= factors[index % 3]
        index += 1
    return step


def bar_text(bar: Mapping[str, Any]) -> str:
    """One bar in words."""
    path = ", on the critical path" if bar["critical"] else ""
    return f"{bar['kind']} {bar['name']}: {bar['start']:.1f} to {bar['end']:.1f} s{path}"


def critical_path_text(bars: Sequence[Mapping[str, Any]]) -> str:
    """The critical path in words."""
    return "Critical path: " + "; ".join(f"{bar['name']} {bar['end'] - bar['start']:.1f} s" for bar in bars if bar["critical"])


def _text(x: float, y: float, words: str, *, size: int = 12, color: str = _INK, bold: bool = False, anchor: str = "start") -> str:
    weight = ' font-weight="600"' if bold else ""
    where = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:g}" font-size="{size}" fill="{color}"{weight}{where}>{escape(words)}</text>'
