"""What doctor finds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

LEVELS = ("error", "warning", "unknown", "ok")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A result of one check."""

    level: str
    """error (`up` fails or the pods are not reached), warning, unknown (it could not be checked), or ok."""
    check: str
    """What was checked, in a word or two."""
    observed: str
    """What was observed."""
    why: str = ""
    """Why it matters; empty for what is ok."""
    fix: str = ""
    """The command or setting that corrects it; empty for what is ok."""

    def plain(self) -> dict[str, str]:
        return asdict(self)


Findings = Iterator[Finding]


def ok(check: str, observed: str) -> Finding:
    return Finding(level="ok", check=check, observed=observed)


def error(check: str, observed: str, why: str, fix: str) -> Finding:
    return Finding(level="error", check=check, observed=observed, why=why, fix=fix)


def warning(check: str, observed: str, why: str, fix: str) -> Finding:
    return Finding(level="warning", check=check, observed=observed, why=why, fix=fix)


def unknown(check: str, observed: str, why: str = "", fix: str = "") -> Finding:
    return Finding(level="unknown", check=check, observed=observed, why=why, fix=fix)


def guarded(check: str, findings: Iterable[Finding]) -> Findings:
    """The findings; a check that itself fails becomes one, and the others still run."""
    try:
        yield from findings
    except Exception as failure:
        yield unknown(check, f"could not be checked: {' '.join(str(failure).split()) or type(failure).__name__}")
