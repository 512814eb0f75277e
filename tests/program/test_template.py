"""`pulumi new` with this repository as the template, by the real engine: from a path, with a state of its own and no download."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.engine import PLUGINS, pinned

from .test_policy_engine import engine

pytestmark = pytest.mark.program

ROOT = Path(__file__).resolve().parents[2]
PIP = """
import json, os, sys
from importlib.metadata import distributions
with open(os.environ["PIP_LOG"], "a") as log:
    print(*sys.argv[1:], file=log)
if sys.argv[1] == "list":
    print(json.dumps([{"name": found.name, "version": found.version} for found in distributions()]))
"""
"""In place of pip: it installs nothing, and lists what there is."""


@dataclass(frozen=True)
class Made:
    """A project that `pulumi new` has made, and its folder's neighbours: the template, the state and pip's log."""

    path: Path

    def pulumi(self, *words: str) -> subprocess.CompletedProcess[str]:
        around = self.path.parent
        env = {
            "PATH": f"{engine()}:{os.environ['PATH']}",
            "HOME": os.environ["HOME"],
            "PULUMI_HOME": str(around / "home"),
            "PULUMI_CREDENTIALS_PATH": str(around),
            "PULUMI_BACKEND_URL": f"file://{around}/state",
            "PULUMI_CONFIG_PASSPHRASE": "",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PIP_NO_INDEX": "1",
            "PIP_LOG": str(around / "pip.log"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return subprocess.run(
            ["pulumi", *words, "--non-interactive"],
            cwd=self.path,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def new(self, *words: str) -> str:
        """`pulumi new` with the template; into a folder that has a .venv, hence --force."""
        done = self.pulumi("new", str(self.path.parent / "template"), "--force", "--yes", "--offline", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def yaml(self, name: str) -> Any:
        return yaml.safe_load((self.path / name).read_text())


def give_plugins(home: Path, folder: Path) -> None:
    """The pinned resource plugins in a PULUMI_HOME: `pulumi new` downloads those that are only next to pulumi, or on PATH."""
    installed = Path(os.environ.get("PULUMI_HOME", Path.home() / ".pulumi")) / "plugins"
    for name in PLUGINS:
        plugin, program = f"resource-{name}-v{pinned()[f'pulumi-{name}']}", f"pulumi-resource-{name}"
        paths = [installed / plugin / program, folder / program, Path(shutil.which(program) or folder / program)]
        found = next((path for path in paths if path.is_file()), None)
        if found is None:
            pytest.skip(f"the plugin {plugin} is neither installed nor next to pulumi")
        (home / "plugins" / plugin).mkdir(parents=True)
        (home / "plugins" / plugin / program).symlink_to(found)


def tracked() -> list[str]:
    """What a clone of this checkout has, and what is about to be committed."""
    words = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split("\0")
    return [name for name in listed if name and (ROOT / name).is_file()]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    folder = engine()
    if folder is None:
        pytest.skip("there is no pulumi as new as Pulumi.yaml requires, on PATH or in ~/.pulumi/bin")
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("this is no checkout, of which git lists the files")
    give_plugins(tmp_path / "home", Path(folder))
    for name in tracked():
        copy = tmp_path / "template" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy)
    (tmp_path / "state").mkdir()
    path = tmp_path / "made"
    venv.create(path / ".venv", symlinks=True)
    [packages] = (path / ".venv/lib").glob("python*/site-packages")
    theirs = [folder for folder in site.getsitepackages() if Path(folder).is_dir()]
    (packages / "theirs.pth").write_text("".join(f"import site; site.addsitedir({folder!r})\n" for folder in theirs))
    (packages / "pip").mkdir()
    (packages / "pip/__init__.py").touch()
    (packages / "pip/__main__.py").write_text(PIP)
    return Made(path)


def test_no_file_has_what_pulumi_new_would_replace() -> None:
    """In each text file it puts the project's name and description in place of these."""
    words = [name.encode() for name in ("${" + "PROJECT}", "${" + "DESCRIPTION}")]
    assert [name for name in tracked() if any(word in (ROOT / name).read_bytes() for word in words)] == []


def test_a_stack_is_made_with_settings_and_previews(made: Made) -> None:
    """All files come along as they are; of Pulumi.yaml the template's part is left out, and its schema of the settings is kept."""
    nodes = "192.168.122.160-192.168.122.169"
    output = made.new("--stack", "mine", "-c", f"network.nodes={nodes}", "--config-path")
    assert "Created stack 'mine'" in output and "./lab up" in output
    assert "install -r requirements.txt" in (made.path.parent / "pip.log").read_text().splitlines()
    assert made.yaml("Pulumi.mine.yaml")["config"] == {"k3s-macvlan:network": {"nodes": nodes}}

    others = [name for name in tracked() if name != "Pulumi.yaml"]
    assert [name for name in others if (made.path / name).read_bytes() != (ROOT / name).read_bytes()] == []
    assert os.access(made.path / "lab", os.X_OK)
    ours, theirs = yaml.safe_load((ROOT / "Pulumi.yaml").read_text()), made.yaml("Pulumi.yaml")
    del ours["template"], theirs["config"]["pulumi:tags"]
    assert theirs == ours

    done = made.pulumi("preview", "--stack", "mine", "--json")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    inputs = [step["newState"].get("inputs", {}) for step in json.loads(done.stdout)["steps"]]
    assert len(inputs) > 40
    text = json.dumps(inputs)
    assert "192.168.122.160" in text and "192.168.122.180" not in text, "the node has an address of the range that was given"


def test_a_copy_says_its_version_without_a_commit(made: Made) -> None:
    made.new("--generate-only")
    env = {**os.environ, "LAB_PYTHON": sys.executable}
    done = subprocess.run([str(made.path / "lab"), "--version"], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == f"k3s-macvlan {(ROOT / 'VERSION').read_text()}"


def test_keys_under_the_template_s_name_are_refused_in_a_project_of_another(made: Made) -> None:
    """Otherwise the stack cn would come up with every default, next to its file that says something else."""
    made.new("--generate-only", "--name", "mine")
    assert made.yaml("Pulumi.yaml")["name"] == "mine"
    assert made.pulumi("stack", "init", "cn").returncode == 0
    done = made.pulumi("preview", "--stack", "cn")
    assert done.returncode != 0
    conflict = "k3s-macvlan:plugins: is under the name k3s-macvlan, which nothing reads; write mine:plugins"
    assert conflict in " ".join((done.stdout + done.stderr).split())

    file = made.path / "Pulumi.cn.yaml"
    file.write_text(file.read_text().replace("k3s-macvlan:", "mine:"))
    done = made.pulumi("preview", "--stack", "cn")
    assert done.returncode == 0 and "to create" in done.stdout, done.stdout[-3000:] + done.stderr[-3000:]
