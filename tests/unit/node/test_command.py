"""Scripts as commands: parameters and documents arrive as data whatever they hold, and comments are not part of what is sent."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.node import command

pytestmark = pytest.mark.unit
steady = settings(deadline=None, database=None, derandomize=True, max_examples=60)

SCRIPTS = sorted(path.name for path in command.SCRIPTS.glob("*.sh"))
SUDO = '#!/bin/sh\n[ "$1" = -n ] || exit 9\nshift\nexec "$@"\n'
TIMEOUT = "#!/bin/bash\nenv -0\nprintf 'ARG %s\\0' \"$@\"\n"
EVIL = [
    "", " ", "x", "$(touch pwned)", "`touch pwned`", "'; touch pwned; '", '"; touch pwned; "', "a\nb", "a\\", "$HOME",
    "*", "~", "!x",
    "&& touch pwned", "| touch pwned", "> pwned", "-n", "--", "A=B", "'", '"', "\\'", "ä€😀", "\x01\x7f", "x" * 5000, "%s%n",
    "{a,b}",
    "\r\n", "#no comment", "${IFS}touch${IFS}pwned", "\t",
]  # fmt: skip


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stubs")
    for name, text in (("sudo", SUDO), ("timeout", TIMEOUT)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def arrived(line: str, stubs: Path, shell: str = "bash") -> tuple[dict[str, str], list[str]]:
    """Environment and arguments that a script gets when a node's shell runs this line."""
    environment = {"PATH": f"{stubs}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    before = set(stubs.iterdir())
    done = subprocess.run([shell, "-c", line], env=environment, cwd=stubs, capture_output=True, check=True, timeout=20)
    assert done.stderr == b""
    assert set(stubs.iterdir()) == before, "something of it was run"
    words = [word.decode("utf-8", "surrogateescape") for word in done.stdout.split(b"\0")[:-1]]
    variables = dict(word.split("=", 1) for word in words if not word.startswith("ARG "))
    return variables, [word.removeprefix("ARG ") for word in words if word.startswith("ARG ")]


@pytest.mark.parametrize("value", EVIL)
@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_a_parameter_arrives_as_it_is(stubs: Path, value: str, shell: str) -> None:
    line = command.command_line("node-ready.sh", {"A_VALUE": value, "LIMIT_SECONDS": "7"}, 7)
    assert subprocess.run([shell, "-n", "-c", line], capture_output=True, check=True).stderr == b""
    variables, arguments = arrived(line, stubs, shell)
    assert variables["A_VALUE"] == value
    assert variables["LIMIT_SECONDS"] == "7"
    assert arguments[:4] == ["--kill-after=10", "7", "bash", "-c"]
    assert arguments[5:] == ["node-ready.sh"]


@steady
@given(st.dictionaries(st.sampled_from(["A", "B", "LONG_NAME"]), st.text(st.characters(exclude_characters="\0", codec="utf-8"))))
def test_any_parameters_arrive_as_they_are(stubs: Path, environment: dict[str, str]) -> None:
    variables, _ = arrived(command.command_line("node-ready.sh", environment, 1), stubs)
    assert {name: variables.get(name) for name in environment} == environment


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_whole_without_its_comments(name: str) -> None:
    text = command.text(name)
    assert text.startswith("set -euo pipefail")
    assert subprocess.run(["bash", "-n", "-c", text], capture_output=True, check=True).stderr == b""
    assert len(text.encode()) < 100_000, "one word of a command line holds 128 KiB at most"
    assert len(command.command_line(name, {}, 1)) < 400, "a failed command is quoted whole in its error"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(command, "SCRIPTS", tmp_path)
    command.text.cache_clear()
    yield tmp_path
    command.text.cache_clear()


def test_comments_and_blank_lines_are_not_part_of_what_is_sent(folder: Path) -> None:
    (folder / "a.sh").write_text("#!/usr/bin/env bash\n# What it does.\nset -euo pipefail\n\necho '#' # tail\n  # inner\necho b\n")
    first = command.text("a.sh")
    command.text.cache_clear()
    (folder / "a.sh").write_text("#!/bin/bash\n\n# Said better.\n#\nset -euo pipefail\necho '#' # tail\n\n\necho b\n# End.\n")
    assert command.text("a.sh") == first == "set -euo pipefail\necho '#' # tail\necho b"


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_comment_more_in_a_script_changes_nothing(folder: Path, name: str) -> None:
    source = Path(command.__file__).parent / "scripts" / name
    lines = source.read_text().splitlines()
    shutil.copytree(source.parent, folder, dirs_exist_ok=True)
    (folder / "one.sh").write_text("\n".join(lines) + "\n")
    (folder / "two.sh").write_text("\n".join([lines[0], "# another word", "", *lines[1:], "# the end"]) + "\n\n")
    assert command.text("one.sh") == command.text("two.sh")


ECHO = 'set -euo pipefail\necho "$0: $A"\ncat\n'
"""Says its name, its parameter and what it was given."""


def ran(line: str, stdin: bytes, stubs: Path) -> subprocess.CompletedProcess[bytes]:
    environment = {"PATH": f"{stubs}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    return subprocess.run(["sh", "-c", line], input=stdin, env=environment, capture_output=True, check=False, timeout=20)


@pytest.fixture
def sudo(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sudo").write_text(SUDO)
    (tmp_path / "bin/sudo").chmod(0o755)
    return tmp_path / "bin"


@pytest.mark.parametrize("document", [b"", b"one\ntwo\n\n", b"\x00\xff$(touch pwned)\n", b"x" * 200_000])
def test_a_script_comes_by_stdin_and_its_document_after_it(folder: Path, sudo: Path, document: bytes) -> None:
    (folder / "a.sh").write_text(ECHO + 'echo "ä€😀"\n')
    (folder / "undo.sh").write_text("echo undone\n")
    both = (command.text("a.sh") + command.text("undo.sh")).encode()
    before, after = len(command.text("a.sh").encode()), len(command.text("undo.sh").encode())
    done = ran(command.command_line("a.sh", {"A": "1"}, 9, after=after), both + document, sudo)
    assert (done.returncode, done.stdout) == (0, b"a.sh: 1\n" + document + "ä€😀\n".encode()), done.stderr
    done = ran(command.command_line("undo.sh", {}, 9, before=before), both + document, sudo)
    assert (done.returncode, done.stdout) == (0, b"undone\n"), done.stderr


def test_a_script_that_is_cut_off_is_not_run(folder: Path, sudo: Path) -> None:
    (folder / "a.sh").write_text("echo one\necho two\n")
    done = ran(command.command_line("a.sh", {}, 9), command.text("a.sh").encode()[:-5], sudo)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"a.sh did not arrive whole\n")


@pytest.mark.parametrize("sudo", [None, "exit 1", 'echo "sudo: a password is required" >&2; exit 1', "exit 0"])
def test_a_machine_without_sudo_is_reported_before_anything_needs_it(tmp_path: Path, sudo: str | None) -> None:
    if sudo is not None:
        (tmp_path / "sudo").write_text(f"#!/bin/sh\n{sudo}\n")
        (tmp_path / "sudo").chmod(0o755)
    for shell in ("/bin/bash", "/bin/sh"):
        done = subprocess.run(
            [shell, "-c", command.LET_IN],
            env={"PATH": str(tmp_path), "USER": "ubuntu"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == (0 if sudo == "exit 0" else 1)
        assert (f"ubuntu {command.NO_SUDO}" in done.stderr) == (sudo != "exit 0")
