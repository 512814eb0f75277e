"""What doctor finds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

LEVELS = ("error", "warning", "unknown", "ok")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """level: error (`up` fails or the pods are not reached), warning, unknown (could not be looked at), or ok.
    observed: what was seen. why: why it matters. fix: the command or setting that mends it."""

    level: str
    check: str
    observed: str
    why: str = ""
    fix: str = ""

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


def guarded(check: str, found: Iterable[Finding]) -> Findings:
    """The findings; a check that itself breaks becomes one, and the others still run."""
    try:
        yield from found
    except Exception as broken:
        yield unknown(check, f"could not be looked at: {' '.join(str(broken).split()) or type(broken).__name__}")
