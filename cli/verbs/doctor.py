"""`lab doctor`: what stands in the way of a stack on this machine, before `up` runs into it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from cli.checks import download_sites, hypervisor, tools
from cli.errors import LabError
from cli.findings import LEVELS, Finding, error, guarded, ok, unknown, warning
from cli.folders import stack_file
from cli.report import say
from cli.stack import load_settings, unread
from components.config import conflicts
from components.config.problems import Problem, SettingsError


def examine(stack: str, *, offline: bool = False) -> list[Finding]:
    """All findings about a stack, the worst first."""
    found: list[Finding] = []
    name = stack_file(stack).name
    try:
        config, plan = load_settings(stack)
    except SettingsError as mistakes:
        found += _mistakes(name, mistakes.problems)
        found.append(unknown("hypervisor", "not looked at until the stack file is right"))
        return ordered([*found, *guarded("tools", tools.check(needs_binding=True))])
    except LabError as absent:
        return [
            error(
                "stack file",
                str(absent),
                "it has the settings",
                "write or correct the file, or name another stack: ./lab -s STACK doctor",
            )
        ]
    found.append(ok("stack file", f"{name}: {len(plan.nodes)} node(s), no mistake"))
    found += [warning("stack file", *_halves(text), f"{name}; docs/settings.md") for text in conflicts.warnings(config)]
    found += guarded("tools", tools.check(needs_binding=True))
    for pool in plan.pools:
        found += guarded(f"hypervisor {pool.hypervisor}", hypervisor.check(pool, plan, config))
    if offline:
        found.append(unknown("downloads", "not asked (--offline)"))
    else:
        found += guarded("downloads", download_sites.check(config))
    return ordered(found)


def stoppers(stack: str) -> list[Finding]:
    """What `lab up` asks before it calls Pulumi: the hosts alone, as far as something is wrong there, the worst first.

    Mistakes in the stack file, the tools and the download sites tell for themselves in `up`, before or without harm; but for what
    Pulumi reads past, which is told here alone.
    """
    try:
        mistakes = unread(stack)
        if mistakes:
            return _mistakes(stack_file(stack).name, mistakes)
        config, plan = load_settings(stack)
    except (SettingsError, LabError):
        return []
    found = (guarded(f"hypervisor {pool.hypervisor}", hypervisor.check(pool, plan, config)) for pool in plan.pools)
    return ordered([finding for each in found for finding in each if finding.level in ("error", "warning")])


def _mistakes(name: str, problems: Sequence[Problem]) -> list[Finding]:
    """Mistakes of the stack file of this name."""
    return [
        error(
            "stack file",
            f"{name}: {problem.setting}{f' = {problem.value}' if problem.value else ''}",
            problem.conflict,
            f"correct {name}; docs/settings.md",
        )
        for problem in problems
    ]


def _halves(text: str) -> tuple[str, str]:
    """What was seen and why it matters, of a warning in one sentence."""
    for sign in (": ", ", so "):
        before, found, after = text.partition(sign)
        if found:
            return before, after
    return text, ""


def ordered(found: Sequence[Finding]) -> list[Finding]:
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


def plain(stack: str, found: Sequence[Finding]) -> dict[str, Any]:
    count = {level: sum(finding.level == level for finding in found) for level in LEVELS}
    return {"stack": stack, "counts": count, "findings": [finding.plain() for finding in found]}


def render(stack: str, found: Sequence[Finding], console: Any) -> None:
    from rich.padding import Padding  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    styles = {"error": "bold red", "warning": "yellow", "unknown": "cyan", "ok": "green"}
    for finding in found:
        line = Text(f"{finding.level:<8}", style=styles[finding.level])
        line.append(f"{finding.check}: ", style="bold" if finding.level != "ok" else "default")
        console.print(line.append(finding.observed, style="default"))
        for label, text in (("why", finding.why), ("fix", finding.fix)):
            if text:
                console.print(Padding(Text(f"{label:<5} ", style="dim").append(text, style="default"), (0, 0, 0, 8)))
    count = plain(stack, found)["counts"]
    summary = ", ".join(
        f"{count[level]} {word}"
        for level, word in (("error", "error(s)"), ("warning", "warning(s)"), ("unknown", "not looked at"), ("ok", "ok"))
    )
    console.print(Text(f"stack {stack}: {summary}", style="bold"))


def main(options: argparse.Namespace) -> int:
    """1 if there is an error, else 0."""
    stack: str = options.stack
    found = examine(stack, offline=options.offline)
    if options.json:
        sys.stdout.write(json.dumps(plain(stack, found), indent=2) + "\n")
    else:
        from rich.console import Console  # noqa: PLC0415

        render(stack, found, Console(width=None if sys.stdout.isatty() else 120, highlight=False))
    return 1 if any(finding.level == "error" for finding in found) else 0


def before_up(stack: str) -> bool:
    """Print what is wrong with the hosts alone. True if there is an error."""
    found = stoppers(stack)
    for finding in found:
        say(f"{finding.level}: {finding.check}: {finding.observed}")
        sys.stderr.write(f"     why:  {finding.why}\n     fix:  {finding.fix}\n")
    return any(finding.level == "error" for finding in found)
