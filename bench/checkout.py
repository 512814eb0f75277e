"""A copy of this checkout with a stack and a state of its own, so that a benchmark touches nobody's stacks."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.process import Cost, measure
from cli import stack_yaml
from components.config.raw import split_key
from components.config.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / ".lab" / "bench"
PROJECT = "k3s-macvlan"
Changes = Mapping[str, Mapping[str, Any]]
"""By top-level setting, the fields to change; of a field that is a mapping, what it holds."""


class BenchError(Exception):
    """A command of the benchmark failed; its text is meant for the user."""


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """A copy of this project to run `lab` in."""

    path: Path
    environment: Mapping[str, str]
    """Environment of the commands that are run in it."""

    def write_stack(self, name: str, document: Mapping[str, Any]) -> None:
        (self.path / f"Pulumi.{name}.yaml").write_text(yaml.safe_dump(dict(document), sort_keys=False), encoding="utf-8")

    def lab(self, stack: str, *words: str, **environment: str) -> Cost:
        """Run `./lab -s STACK -y WORDS` and measure it; raises BenchError with the end of its output."""
        command = ["./lab", "-s", stack, "-y", *words]
        cost = measure(command, cwd=self.path, environment={**self.environment, **environment})
        if cost.status:
            raise BenchError(f"{' '.join(command)} ended with status {cost.status}:\n{cost.output[-4000:]}")
        return cost

    def pulumi(self, *words: str, **environment: str) -> str:
        """What `./lab pulumi WORDS` prints; raises BenchError."""
        completed = subprocess.run(  # noqa: S603 - our own words
            ["./lab", "pulumi", *words],
            cwd=self.path,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if completed.returncode:
            raise BenchError(f"pulumi {' '.join(words)} ended with status {completed.returncode}:\n{completed.stderr[-4000:]}")
        return completed.stdout

    def forget(self, stack: str) -> None:
        """Remove the stack's state, whatever is in it. Only for states without real resources."""
        if (self.path / ".lab/state/.pulumi/stacks" / PROJECT / f"{stack}.json").exists():
            self.pulumi("stack", "rm", "--force", "--yes", "-s", stack)


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Without a Pulumi login of the user's: the benchmark keeps its state in its own folder."""
    return {name: value for name, value in environment.items() if not name.startswith("PULUMI_")} | {
        name: environment[name] for name in ("PULUMI_HOME",) if name in environment
    }


def prepare(place: Path = PLACE) -> Checkout:
    """A fresh copy of what git knows or would know. The state of an earlier one is kept: something may still be up in it."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S603
    if place.exists():
        for child in place.iterdir():
            if child.name == ".lab":
                continue
            shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(".lab"):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name)
    (place / ".venv").symlink_to(ROOT / ".venv")
    return Checkout(path=place, environment=clean_environment(os.environ))


def revision() -> str:
    """The commit that is measured, with a plus sign where files differ from it."""
    words = ["git", "describe", "--always", "--dirty=+", "--abbrev=10", "--exclude=*"]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603


def stack_document(base: Path, changes: Changes) -> dict[str, Any]:
    """A stack file's content with fields of top-level settings changed, without its salt."""
    document = stack_yaml.load(base.read_text(encoding="utf-8")) or {}
    document.pop("encryptionsalt", None)
    config = document.get("config") or {}
    document["config"] = {":".join(filter(None, split_key(key, PROJECT))) or key: value for key, value in config.items()}
    return changed(document, changes)


def changed(document: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    """The same content with more fields changed."""
    config = dict(document.get("config") or {})
    for key, fields in changes.items():
        config[f"{PROJECT}:{key}"] = _merged(config.get(f"{PROJECT}:{key}") or {}, fields)
    return {**document, "config": config}


def _merged(value: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The value with these fields; in a mapping that both have, what the fields do not name stays."""
    both = {name for name in fields if isinstance(value.get(name), Mapping) and isinstance(fields[name], Mapping)}
    return {**value, **{name: _merged(value[name], field) if name in both else field for name, field in fields.items()}}


def pod_network(document: Mapping[str, Any]) -> str:
    """Name of the stack's network for pods; BenchError where it has several, of which a benchmark changes none."""
    networks = (document.get("config") or {}).get(f"{PROJECT}:podNetworks") or Settings().pod_networks
    if len(networks) != 1:
        raise BenchError(f"the stack has the networks {', '.join(networks)} (podNetworks): take one with a single network")
    return str(next(iter(networks)))
