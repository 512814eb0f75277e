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
from cli.stack import load_settings
from components.config import conflicts
from components.config.problems import Problem, SettingsError


def examine(stack: str, *, offline: bool = False) -> list[Finding]:
    """All findings about a stack, the worst first."""
    findings: list[Finding] = []
    name = stack_file(stack).name
    try:
        config, plan = load_settings(stack)
    except SettingsError as mistakes:
        findings += _mistakes(name, mistakes.problems)
        findings.append(unknown("hypervisor", "not checked until the stack file is right"))
        return by_severity([*findings, *guarded("tools", tools.check(needs_binding=True))])
    except LabError as absent:
        return [
            error(
                "stack file",
                str(absent),
                "it has the settings",
                "write or correct the file, or name another stack: ./lab -s STACK doctor",
            )
        ]
    findings.append(ok("stack file", f"{name}: {len(plan.nodes)} node(s), no mistake"))
    findings += [warning("stack file", *_halves(text), f"{name}; docs/settings.md") for text in conflicts.warnings(plan, config)]
    findings += guarded("tools", tools.check(needs_binding=True))
    for pool in plan.pools:
        findings += guarded(f"hypervisor {pool.hypervisor}", hypervisor.check(pool, plan, config))
    # Artifacts are on this machine.
    if offline and not config.artifacts.directory:
        findings.append(unknown("downloads", "not probed (--offline)"))
    else:
        findings += guarded("downloads", download_sites.check(config))
    return by_severity(findings)


def host_problems(stack: str) -> list[Finding]:
    """What `lab up` checks before it calls Pulumi: the hosts alone, as far as something is wrong there, the worst first.

    Mistakes in the stack file, in the tools and at the download sites are reported by `up` itself, before they do harm.
    """
    try:
        config, plan = load_settings(stack)
    except (SettingsError, LabError):
        return []
    hosts = (guarded(f"hypervisor {pool.hypervisor}", hypervisor.check(pool, plan, config)) for pool in plan.pools)
    return by_severity([finding for host in hosts for finding in host if finding.level in ("error", "warning")])


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
    """What was observed and why it matters, of a warning in one sentence."""
    for sign in (": ", ", so "):
        observed, separator, reason = text.partition(sign)
        if separator:
            return observed, reason
    return text, ""


def by_severity(findings: Sequence[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def plain(stack: str, findings: Sequence[Finding]) -> dict[str, Any]:
    counts = {level: sum(finding.level == level for finding in findings) for level in LEVELS}
    return {"stack": stack, "counts": counts, "findings": [finding.plain() for finding in findings]}


def render(stack: str, findings: Sequence[Finding], console: Any) -> None:
    from rich.padding import Padding  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    styles = {"error": "bold red", "warning": "yellow", "unknown": "cyan", "ok": "green"}
    for finding in findings:
        line = Text(f"{finding.level:<8}", style=styles[finding.level])
        line.append(f"{finding.check}: ", style="bold" if finding.level != "ok" else "default")
        console.print(line.append(finding.observed, style="default"))
        for label, text in (("why", finding.why), ("fix", finding.fix)):
            if text:
                console.print(Padding(Text(f"{label:<5} ", style="dim").append(text, style="default"), (0, 0, 0, 8)))
    counts = plain(stack, findings)["counts"]
    summary = ", ".join(
        f"{counts[level]} {word}"
        for level, word in (("error", "error(s)"), ("warning", "warning(s)"), ("unknown", "not checked"), ("ok", "ok"))
    )
    console.print(Text(f"stack {stack}: {summary}", style="bold"))


def main(options: argparse.Namespace) -> int:
    """1 if there is an error, else 0."""
    stack: str = options.stack
    findings = examine(stack, offline=options.offline)
    if options.json:
        sys.stdout.write(json.dumps(plain(stack, findings), indent=2) + "\n")
    else:
        from rich.console import Console  # noqa: PLC0415

        render(stack, findings, Console(width=None if sys.stdout.isatty() else 120, highlight=False))
    return 1 if any(finding.level == "error" for finding in findings) else 0


def before_up(stack: str) -> bool:
    """Print what is wrong with the hosts alone. True if there is an error."""
    findings = host_problems(stack)
    for finding in findings:
        say(f"{finding.level}: {finding.check}: {finding.observed}")
        sys.stderr.write(f"     why:  {finding.why}\n     fix:  {finding.fix}\n")
    return any(finding.level == "error" for finding in findings)
