"""Which K3s the stories run on: K3s's own binary, and the closed test network's stand-in for the old layout.

In the closed test network (LAB_E2E_STACK=testnet) each story that does not say otherwise runs on both. On another stack it runs
on what that stack's own settings name, which is K3s's own.
"""

from __future__ import annotations

import urllib.request
from dataclasses import dataclass
from pathlib import Path

import yaml

MIRROR = "http://10.99.0.1"
CLOSED = "testnet"
"""LAB_E2E_STACK in the closed test network."""


@dataclass(frozen=True, kw_only=True)
class Build:
    """A K3s that stories run on.

    name: in the tests' names. stack: the stack file. version: its k3s.version. later: a newer release that can be installed over
    it, or "". own: whether it is K3s's own binary. missing: why nothing runs on it here, or "".
    """

    name: str
    stack: str
    version: str
    later: str
    own: bool
    missing: str = ""

    def __str__(self) -> str:
        words = ["K3s itself" if self.own else "stand-in", self.version]
        return " ".join([*words, *(["then", self.later] if self.later else []), *([f"({self.missing})"] if self.missing else [])])


def served(path: str) -> bool:
    """Whether the closed test network's mirror has this file."""
    request = urllib.request.Request(f"{MIRROR}/{path.replace('+', '%2B')}", method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def version_of(stack: str, root: Path) -> str:
    document = yaml.safe_load((root / f"Pulumi.{stack}.yaml").read_text(encoding="utf-8"))
    return str(document["config"].get("k3s-macvlan:k3s", {}).get("version", ""))


def builds(stack: str, root: Path) -> list[Build]:
    """What there is to run on, K3s's own first."""
    version = version_of(stack, root)
    if stack != CLOSED:
        return [Build(name=stack, stack=stack, version=version, later="", own=True)]
    own = served(f"k3s/releases/download/{version}/k3s") and served("k3s/own-install.sh")
    later = "v1.36.4+k3s1"
    return [
        Build(
            name="own",
            stack=CLOSED,
            version=version,
            later=later if served(f"k3s/releases/download/{later}/k3s") else "",
            own=True,
            missing="" if own else f"the mirror has no K3s {version} of its own",
        ),
        Build(
            name="stand-in",
            stack="testnet-stand-in",
            version=version_of("testnet-stand-in", root),
            later="v1.28.15+k3s1",
            own=False,
        ),
    ]
