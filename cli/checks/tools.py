"""The programs on this machine: Python packages, Pulumi and its plugins, at the versions this project pins."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess

from cli import engine
from cli.errors import LabError
from cli.findings import Finding, Findings, error, ok, warning


def check(*, needs_binding: bool) -> Findings:
    pins = engine.pinned()
    yield from _pulumi(pins["pulumi"])
    for name in engine.PLUGINS:
        yield _plugin(name, pins[f"pulumi-{name}"])
    if needs_binding:
        yield _binding()


def version(text: str) -> tuple[int, ...]:
    """(3, 260, 0) of v3.260.0; shorter or odd versions give what numbers they have."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def _pulumi(required: str) -> Findings:
    try:
        program = engine.path()
    except LabError as absent:
        yield error("pulumi", str(absent), "it does the work", f"./lab preview, which installs {required}; or put it on PATH")
        return
    completed = subprocess.run([program, "version"], capture_output=True, text=True, check=False, timeout=30)  # noqa: S603
    yield assess_pulumi(completed.stdout.strip(), required)


def assess_pulumi(installed: str, required: str) -> Finding:
    if not version(installed) or version(installed) < version(required):
        return error(
            "pulumi",
            f"Pulumi {installed or 'without a version'}, {required} is needed",
            "earlier releases do not replace what lives in a replaced machine (requiredPulumiVersion)",
            f"./lab preview, which installs {required} in ~/.pulumi; or put it on PATH",
        )
    return ok("pulumi", f"Pulumi {installed}")


def _plugin(name: str, required: str) -> Finding:
    on_path = shutil.which(f"pulumi-resource-{name}") or shutil.which(f"pulumi-resource-{name}", path=str(engine.home() / "bin"))
    return assess_plugin(name, required, engine.plugin_folder(name, required).is_dir(), on_path)


def assess_plugin(name: str, required: str, installed: bool, on_path: str | None) -> Finding:
    if installed:
        return ok("pulumi plugins", f"{name} {required}")
    if on_path:
        return ok("pulumi plugins", f"{name} from {on_path} (its version is not checked)")
    return warning(
        "pulumi plugins",
        f"the plugin {name} {required} is not installed",
        "`up` downloads it, which takes the internet",
        f"pulumi plugin install resource {name} {required}; from a file: add -f FILE",
    )


def _binding() -> Finding:
    if importlib.util.find_spec("libvirt") is None:
        return error(
            "libvirt binding",
            "libvirt-python cannot be imported",
            "`up` and the checks of the hypervisor talk to libvirt through it",
            "./lab up installs it with what it is built with: apt install gcc libc6-dev pkg-config libvirt-dev python3-dev",
        )
    return ok("libvirt binding", "libvirt-python can be imported")


def run_json(*words: str) -> object:
    """What a program prints as JSON; None if it is not there or fails."""
    program = shutil.which(words[0]) or shutil.which(words[0], path="/usr/sbin:/sbin")
    if program is None:
        return None
    completed = subprocess.run([program, *words[1:]], capture_output=True, text=True, check=False, timeout=20)  # noqa: S603
    try:
        document: object = json.loads(completed.stdout)
    except ValueError:
        return None
    return document
