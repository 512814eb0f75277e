"""States of any number of nodes without any machine, and the cost of the verbs that need none."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import scale
from bench.checkout import BenchError, Checkout, changed, pod_network
from cli import engine

WITHOUT_MACHINES = {"LAB_DOCTOR": "off", "K3S_MACVLAN_API_ABSENT": "yes"}
"""Environment of `up`: no machine is made, so it does not matter that libvirt's test driver has no room for any, and nothing
answers as their Kubernetes API."""
FEW = 20
"""Up to so many nodes each verb is run as often as asked for; with more, which take a minute each, three times."""
PROVIDERS = ("command", "kubernetes", "pulumi-python")


def providers(folder: Path) -> dict[str, Path]:
    """The real providers by name: on PATH, in Pulumi's own folder or among its plugins. Raises BenchError."""
    plugins = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi") / "plugins"
    programs = {}
    for name in PROVIDERS:
        program = f"pulumi-resource-{name}"
        installed = sorted(plugins.glob(f"resource-{name}-v*/{program}"))
        program_path = shutil.which(program) or shutil.which(program, path=str(folder)) or (installed[-1] if installed else None)
        if program_path is None:
            raise BenchError(f"{program} is not here: ./lab preview installs it")
        programs[name] = Path(program_path)
    return programs


def wrappers(folder: Path, real: Mapping[str, Path], checkout: Path) -> None:
    """Put `pulumi-resource-NAME` of each stand-in into the folder. checkout: the program whose dynamic providers they use."""
    for name, program in real.items():
        words = shlex.join([sys.executable, "-u", "-m", "bench.standin", name, str(program)])
        path = folder / f"pulumi-resource-{name}"
        path.write_text(f'#!/bin/sh\nexport PYTHONPATH={shlex.quote(str(checkout))}\nexec {words} "$@"\n', encoding="utf-8")
        path.chmod(0o755)


def record(checkout: Checkout, stack: str) -> None:
    """`up` with the stand-ins in place of the providers: afterwards the stack's state says that all is there."""
    # Pulumi's folder, which may have the real providers, is on PATH behind the wrappers, so that lab does not put it before them.
    pulumi = Path(engine.path()).parent
    with TemporaryDirectory(prefix="standins-") as name:
        wrappers(Path(name), providers(pulumi), checkout.path)
        path = f"{name}:{pulumi}:{checkout.environment['PATH']}"
        checkout.lab(stack, "up", "--suppress-outputs", PATH=path, **WITHOUT_MACHINES)


def measure(
    checkout: Checkout, document: Mapping[str, Any], sizes: Sequence[int], *, times: int, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """For each number of nodes: a preview of the stack as new, and on its recorded state a preview and an `up` that change
    nothing."""
    rows = []
    for nodes in sizes:
        stack = f"bench-{nodes}"
        checkout.forget(stack)
        checkout.write_stack(stack, changed(document, scale.changes(nodes, pod_network(document))))
        verbs: dict[str, list[dict[str, float]]] = {"preview of a new stack": [], "preview": [], "no-op up": []}
        runs = times if nodes <= FEW else min(times, 3)
        for _ in range(runs):
            verbs["preview of a new stack"].append(checkout.lab(stack, "preview", "--suppress-outputs").figures())
        record(checkout, stack)
        for _ in range(runs):
            for verb, word in (("preview", "preview"), ("no-op up", "up")):
                cost = checkout.lab(stack, word, "--expect-no-changes", "--suppress-outputs", **WITHOUT_MACHINES)
                verbs[verb].append(cost.figures())
        checkout.forget(stack)
        say(f"{nodes} nodes: " + ", ".join(f"{verb} {runs[-1]['seconds']:.1f} s" for verb, runs in verbs.items()))
        rows.append({"nodes": nodes, "verbs": verbs})
    return rows
