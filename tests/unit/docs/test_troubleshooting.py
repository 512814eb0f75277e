"""Each error text of ours is found in docs/troubleshooting.md by words of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
RAISED = {
    "HypervisorError", "AddressInUseError", "PageError", "TimeoutError", "RunError", "ValueError", "RuntimeError", "LabError",
    "Problem", "_problem", "following", "_clash", "Mistake", "matching", "remark", "RenewalError", "NodeScriptError",
    "NodeUnreachableError",
}  # fmt: skip
# Where a text is too long for the call, it is in one of these first; those of pydantic's mistakes are in a table.
VARIABLES = {"conflict", "told", "needed", "_TEXTS"}
SENTENCES = {("obstacles.py", None), ("domain_edit.py", "contradictions")}
"""Modules, or functions in them, whose f-strings are parts of an error that another module raises."""
SHORTEST = 12


def plain(text: str) -> str:
    """Words of a text, without the marks of Markdown and of quoting."""
    return " ".join(re.sub(r"[`'\"\\]", "", text).split())


def texts(node: ast.AST) -> Iterator[str]:
    """Constant pieces of the strings in an expression."""
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def raised() -> Iterator[tuple[str, list[str]]]:
    """(where, constant pieces) of each error that Python raises or logs."""
    for path in sorted((ROOT / "components").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
                names = {ast.unparse(target) for target in (node.targets if isinstance(node, ast.Assign) else [node.target])}
                if names & VARIABLES:
                    for part in node.value.values if isinstance(node.value, ast.Dict) else [node.value]:
                        yield where, list(texts(part))
            if isinstance(node, ast.Yield) and path.name == "k3s_options.py" and node.value:
                yield where, list(texts(node.value))
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            on_node = path.parent.name == "scripts" and name in {"fail", "fail_environment", "sys.exit"}
            if name.rpartition(".")[2] in RAISED or name.endswith("log.error") or on_node:
                pieces = [piece for argument in node.args for piece in texts(argument)]
                yield f"{path.relative_to(ROOT)}:{node.lineno}", pieces


def sentences() -> Iterator[tuple[str, list[str]]]:
    """The same of what is put together before it is raised."""
    for name, function in sorted(SENTENCES, key=str):
        path = ROOT / "components/libvirt" / name
        for scope in ast.walk(ast.parse(path.read_text())):
            if isinstance(scope, ast.FunctionDef) and function in {None, scope.name}:
                for node in ast.walk(scope):
                    if isinstance(node, ast.JoinedStr):
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", list(texts(node))


def failures() -> Iterator[tuple[str, list[str]]]:
    """The same of the scripts on nodes: what `fail` and what reports an error says."""
    for path in sorted((ROOT / "components/node/scripts").rglob("*.sh")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for text in re.findall(r'\bfail "([^"]+)"', line):
                yield f"{path.relative_to(ROOT)}:{number}", re.split(r"\$\{[^}]*\}|\$\([^)]*\)|\$\w+|\$\d", text)


MESSAGES = [
    (where, usable)
    for where, pieces in (*raised(), *sentences(), *failures())
    # A piece without a space is a setting's name: its message is in a variable.
    if (usable := [words for piece in pieces if len(words := plain(piece)) >= SHORTEST and " " in words])
]
SPANS = [
    words
    for span in re.findall(r"`([^`]+)`", re.sub(r"(?ms)^```.*?^```$", "", (ROOT / "docs/troubleshooting.md").read_text()))
    for part in span.split("…")
    if len(words := plain(part)) >= SHORTEST - 3
]


def test_there_are_messages() -> None:
    assert len(MESSAGES) > 100


@pytest.mark.parametrize(("where", "pieces"), MESSAGES, ids=[where for where, _ in MESSAGES])
def test_a_message_is_found_by_its_words(where: str, pieces: list[str]) -> None:
    assert any(span in words or words in span for words in pieces for span in SPANS), (
        f"{where}: add it to docs/troubleshooting.md: {' … '.join(pieces)}"
    )
