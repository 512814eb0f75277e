"""Names keep to CONTRIBUTING's words: a variable is called what it holds, of which `found`, `each` and `seen` say nothing, and a
function has none of the words that the glossary replaces."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit
ROOT = Path(__file__).resolve().parents[2]
EMPTY = {"found", "each", "seen"}
KEPT = {
    "components/custom/page_check.py": {"seen"},  # an output, and so in states
    # Texts of the user data: another word recreates all nodes.
    "components/node/scripts/nic.py": {"found"},
    "components/node/scripts/lan_probe.py": {"found"},
    "components/node/scripts/pod_interfaces.py": {"found"},  # with another text the daemon of dhcp is restarted
}
FILES = [
    path
    for folder in ("components", "cli", "policy", "bench", "tools", "examples")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "tests" not in path.parts
]


REPLACED = {"anew", "asks", "beside", "foreign", "goes", "gone", "stranger", "tells", "told"}
FUNCTIONS_IN = [*FILES, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "policy/tests").rglob("*.py"))]


def bound(text: str) -> set[str]:
    """Names of arguments and variables that a program binds."""
    nodes = list(ast.walk(ast.parse(text)))
    arguments = {node.arg for node in nodes if isinstance(node, ast.arg)}
    return arguments | {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def test_each_way_of_binding_is_known() -> None:
    text = "def f(found, *, each=1):\n  for seen, (a, b) in c: d = e = [g for h in i]\n  j: int = (k := lambda l: m)"
    assert bound(text) == {"found", "each", "seen", "a", "b", "d", "e", "h", "j", "k", "l"}


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_no_variable_has_a_name_that_says_nothing(path: Path) -> None:
    assert bound(path.read_text()) & EMPTY <= KEPT.get(str(path.relative_to(ROOT)), set())


@pytest.mark.parametrize("path", FUNCTIONS_IN, ids=[str(path.relative_to(ROOT)) for path in FUNCTIONS_IN])
def test_no_function_has_a_word_that_the_glossary_replaces(path: Path) -> None:
    functions = [node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    assert not [name for name in functions if REPLACED & set(name.split("_"))]
