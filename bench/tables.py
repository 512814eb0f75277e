"""The figures as tables: for the terminal and, as Markdown, for docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from bench.compare import FIRST, WITHOUT
from bench.further_nodes import ADDED, REBUILT, THREE
from bench.stages import STAGES

BEGIN, END = "<!-- bench: written by `python -m bench readme` -->", "<!-- /bench -->"


def by_hand_and_up(rounds: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Rows of stage, seconds by hand, seconds in `up`, ratio: when each stage was done, the median of all rounds."""
    rows = []
    for stage in STAGES:
        hand = [round_["by hand"][stage.key] for round_ in rounds if stage.key in round_["by hand"]]
        up = [round_["up"]["stages"][stage.key] for round_ in rounds if stage.key in round_["up"]["stages"]]
        if hand and up:
            hand_median, up_median = median(hand), median(up)
            rows.append([stage.title, f"{hand_median:.0f}", f"{up_median:.0f}", f"{up_median / hand_median:.2f}"])
    return rows


def ways(rounds: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Rows of way to the page, seconds, and their ratio to those by hand: the median of all rounds."""
    hand = median(round_["by hand"]["page"] for round_ in rounds)
    rows = [["by hand", f"{hand:.0f}", "1.00"]]
    for title, key in (("`up`", "up"), (f"`up` {FIRST}", FIRST), (f"`up` {WITHOUT}", WITHOUT)):
        pages = [round_[key]["stages"]["page"] for round_ in rounds if key in round_]
        if pages:
            rows.append([title, f"{median(pages):.0f}", f"{median(pages) / hand:.2f}"])
    return rows


def nodes(rounds: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Rows of what was done with further nodes, seconds of the whole command, and their ratio to the page by hand and to the whole
    `up` of the stack's own nodes: the median of all rounds."""
    hand = median(round_["by hand"]["page"] for round_ in rounds)
    up = median(round_["up"]["seconds"] for round_ in rounds)
    rows = []
    for what in (ADDED, REBUILT, THREE):
        seconds = [round_["nodes"][what]["seconds"] for round_ in rounds if "nodes" in round_]
        if seconds:
            rows.append([what, f"{median(seconds):.0f}", f"{median(seconds) / hand:.2f}", f"{median(seconds) / up:.2f}"])
    return rows


def verbs(figures: Mapping[str, Any]) -> list[list[str]]:
    """Rows of verb, on what, seconds, CPU seconds, MiB, MiB without the engine, runs: the median of all runs."""
    measured = [(verb, _nodes(figures["nodes"], "running"), runs) for verb, runs in figures.get("verbs", {}).items()]
    if larger := figures.get("larger"):
        measured += [(verb, _nodes(larger["nodes"], "running"), runs) for verb, runs in larger["verbs"].items()]
    for recording in figures.get("recorded", ()):
        measured += [(verb, _nodes(recording["nodes"], "recorded"), runs) for verb, runs in recording["verbs"].items()]
    return [
        [
            verb,
            where,
            *(f"{median(run[key] for run in runs):.{digits}f}" for key, digits in (("seconds", 1), ("cpu", 1), ("memory", 0))),
            f"{median(run['beside'] for run in runs):.0f}",
            str(len(runs)),
        ]
        for verb, where, runs in measured
        if runs
    ]


def _rounds(count: int) -> str:
    return "one round" if count == 1 else f"median of {count} rounds, in turn"


def _nodes(count: int, kind: str) -> str:
    return f"{count} node{'s' if count > 1 else ''}, {kind}"


def plain(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for the terminal: the first column to the left, figures to the right, without Markdown's marks of code."""
    head, *rows = ([cell.replace("`", "") for cell in row] for row in [head, *rows])
    widths = [max(len(row[index]) for row in [head, *rows]) for index in range(len(head))]
    lines = []
    for row in [head, *rows]:
        cells = [
            cell.ljust(width) if not index or not _figures(rows, index) else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _figures(rows: Sequence[Sequence[str]], index: int) -> bool:
    return all(row[index].replace(".", "", 1).isdigit() for row in rows)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same as Markdown."""
    rule = ["--:" if _figures(rows, index) and rows else "---" for index in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])


NODES = "Further nodes over the prepared image, whole commands, next to the page by hand and to the whole `up` without them:"
WAY_HEAD = ("way", "page after, s", "ratio")
NODE_HEAD = ("further nodes", "wall, s", "ratio by hand", "ratio to `up`")
STAGE_HEAD = ("stage done", "by hand, s", "`up`, s", "ratio")
VERB_HEAD = ("verb", "on", "wall, s", "CPU, s", "memory, MiB", "without the engine", "runs")


def report(figures: Mapping[str, Any]) -> str:
    """Everything, for the terminal."""
    parts = [str(figures["machine"]["text"])]
    if figures.get("rounds"):
        parts.append(plain(WAY_HEAD, ways(figures["rounds"])))
        if rows := nodes(figures["rounds"]):
            parts.append(plain(NODE_HEAD, rows))
        parts.append(plain(STAGE_HEAD, by_hand_and_up(figures["rounds"])))
    if rows := verbs(figures):
        parts.append(plain(VERB_HEAD, rows))
    return "\n\n".join(parts) + "\n"


def section(figures: Mapping[str, Any]) -> str:
    """The part of docs/benchmarks.md between the two marks."""
    release = f", K3s {figures['k3s']}" if "k3s" in figures else ""
    parts = [f"Measured on {figures['date']}: {figures['machine']['text']}{release}."]
    if rounds := figures.get("rounds"):
        hand, up = (
            median(seconds) for seconds in ([r["by hand"]["page"] for r in rounds], [r["up"]["stages"]["page"] for r in rounds])
        )
        parts += [
            f"From nothing to the served page `up` takes {up / hand:.2f} of the time of a shell script that does the same by hand, "
            f"where the [prepared image](prepared-image.md) is there ({_rounds(len(rounds))}):",
            markdown(WAY_HEAD, ways(rounds)),
            *([NODES, markdown(NODE_HEAD, rows)] if (rows := nodes(rounds)) else []),
            "When each stage was done, in seconds since the start:",
            markdown(STAGE_HEAD, by_hand_and_up(rounds)),
            "[The last `up`, resource by resource](bench-up.svg). What each command takes as a whole, the median of its runs:",
        ]
    parts.append(markdown(VERB_HEAD, verbs(figures)))
    return "\n\n".join([BEGIN, *parts, END])


def with_section(page: str, text: str) -> str:
    """The page with `text` in place of what is between the marks; ValueError unless each is there once."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in tail:
        raise ValueError(f"the page must have {BEGIN} and {END} once each, in this order")
    return head + text + tail
