"""What doctor finds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

LEVELS = ("error", "warning", "unknown", "ok")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """level: error (`up` fails or the pods are not reached), warning, unknown (could not be looked at), or ok.
    seen: what was seen. why: why it matters. cure: the command or setting that cures it."""

    level: str
    check: str
    seen: str
    why: str = ""
    cure: str = ""

    def plain(self) -> dict[str, str]:
        return asdict(self)


Findings = Iterator[Finding]


def ok(check: str, seen: str) -> Finding:
    return Finding(level="ok", check=check, seen=seen)


def error(check: str, seen: str, why: str, cure: str) -> Finding:
    return Finding(level="error", check=check, seen=seen, why=why, cure=cure)


def warning(check: str, seen: str, why: str, cure: str) -> Finding:
    return Finding(level="warning", check=check, seen=seen, why=why, cure=cure)


def unknown(check: str, seen: str, why: str = "", cure: str = "") -> Finding:
    return Finding(level="unknown", check=check, seen=seen, why=why, cure=cure)


def guarded(check: str, found: Iterable[Finding]) -> Findings:
    """The findings; a check that itself breaks becomes one, and the others still run."""
    try:
        yield from found
    except Exception as broken:
        yield unknown(check, f"could not be looked at: {' '.join(str(broken).split()) or type(broken).__name__}")
