"""Imports go one way: each room imports only from those before it, and files of a room make no circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]

ROOMS = ("node", "config", "custom", "libvirt", "machine", "cluster", "network")
"""Of `components`, in the order in which they may import."""

EVERYWHERE = ("completion", "interrupt", "redact", "sdk_shortcuts")
"""Files of `components` that import nothing of it, so that every room may import them."""

LAST = "outputs"
"""The file of `components` that may import every room."""

PROGRAMS = {"cli": (), "tools": (), "bench": ("cli",), "policy": ()}
"""What may import `components`, or nothing of this repository, and which other programs each may import."""


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Full names of what the file imports, in functions too; of `from x import y` both x and x.y."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(ROOT)}:{node.lineno} imports by a relative name"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


FILES = {module_of(path): path for path in sorted((ROOT / "components").rglob("*.py"))}
IMPORTS = {name: sorted(set(imports(path)) & FILES.keys() - {name}) for name, path in FILES.items()}


def room_of(module: str) -> str:
    """The name after `components.`, "" for `components` itself."""
    return module.partition(".")[2].partition(".")[0]


def test_every_file_is_in_a_room_or_named_here() -> None:
    assert {room_of(name) for name in FILES} == {"", LAST, *ROOMS, *EVERYWHERE}


@pytest.mark.parametrize("module", FILES)
def test_a_file_imports_only_from_its_room_and_those_before_it(module: str) -> None:
    room = room_of(module)
    if room == LAST:
        return
    before = ROOMS[: ROOMS.index(room) + 1] if room in ROOMS else ()
    allowed = {*before, *EVERYWHERE} if room in ROOMS else set()
    wrong = [name for name in IMPORTS[module] if FILES[name].name != "__init__.py" and room_of(name) not in allowed]
    assert not wrong, f"{module} may import from {sorted(allowed)}"


def test_no_files_import_each_other_in_a_circle() -> None:
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for name in IMPORTS[module]:
                walk(name, (*path, module))
            done.add(module)

    for module in FILES:
        walk(module, ())


@pytest.mark.parametrize("program", ["components", "__main__", *PROGRAMS])
def test_nothing_imports_a_program_but_what_is_named_here(program: str) -> None:
    paths = [ROOT / "__main__.py"] if program == "__main__" else sorted((ROOT / program).rglob("*.py"))
    assert paths
    for path in paths:
        others = {name.partition(".")[0] for name in imports(path)} & PROGRAMS.keys() - {program, *PROGRAMS.get(program, ())}
        assert not others, f"{path.relative_to(ROOT)} imports {sorted(others)}"
        assert program != "policy" or not any(name.startswith("components") for name in imports(path)), path
