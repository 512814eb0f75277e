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


def _pulumi(wanted: str) -> Findings:
    try:
        program = engine.path()
    except LabError as absent:
        yield error("pulumi", str(absent), "it does the work", f"./lab preview, which installs {wanted}; or put it on PATH")
        return
    done = subprocess.run([program, "version"], capture_output=True, text=True, check=False, timeout=30)  # noqa: S603
    yield judge_pulumi(done.stdout.strip(), wanted)


def judge_pulumi(found: str, wanted: str) -> Finding:
    if not version(found) or version(found) < version(wanted):
        return error(
            "pulumi",
            f"Pulumi {found or 'without a version'}, {wanted} is needed",
            "earlier releases do not replace what lives in a replaced machine (requiredPulumiVersion)",
            f"./lab preview, which installs {wanted} in ~/.pulumi; or put it on PATH",
        )
    return ok("pulumi", f"Pulumi {found}")


def _plugin(name: str, wanted: str) -> Finding:
    on_path = shutil.which(f"pulumi-resource-{name}") or shutil.which(f"pulumi-resource-{name}", path=str(engine.home() / "bin"))
    return judge_plugin(name, wanted, engine.plugin_folder(name, wanted).is_dir(), on_path)


def judge_plugin(name: str, wanted: str, installed: bool, on_path: str | None) -> Finding:
    if installed:
        return ok("pulumi plugins", f"{name} {wanted}")
    if on_path:
        return ok("pulumi plugins", f"{name} from {on_path} (its version is not asked for)")
    return warning(
        "pulumi plugins",
        f"the plugin {name} {wanted} is not installed",
        "`up` downloads it, which takes the internet",
        f"pulumi plugin install resource {name} {wanted}; from a file: add -f FILE",
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
    done = subprocess.run([program, *words[1:]], capture_output=True, text=True, check=False, timeout=20)  # noqa: S603
    try:
        found: object = json.loads(done.stdout)
    except ValueError:
        return None
    return found
