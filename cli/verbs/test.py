"""`lab test`: the tests by tier, each with its result, and the sum of them."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import FrameType
from xml.etree import ElementTree

from cli import engine, process
from cli.closed_network import ClosedNetwork
from cli.command_line import TIERS
from cli.errors import LabError
from cli.folders import LAB, ROOT
from cli.needs import HYPERVISOR_PACKAGES
from cli.report import say

PYTHON = ".venv/bin/python"

SCRIPTS = ("lab", ".ci/run", "components/node/scripts/*.sh", "components/node/scripts/parts/*.sh", "bench/*.sh")
"""What shellcheck reads, from the project's folder."""

QUICK = ("lint", "unit", "program")
"""Tiers that need nothing but Python and change nothing on this machine, so that they can run at once."""

PROGRESS_SECONDS = 15.0
"""Between two lines while tiers run in parallel."""

_NO_TESTS = 5
"""pytest's status when it has collected none."""


def main(options: argparse.Namespace) -> int:
    """0 if at least one test ran, and none failed."""
    os.environ["PATH"] = f"{ROOT}/.venv/bin:{os.environ['PATH']}"
    run = Run()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    try:
        for tiers in groups(options.tiers or TIERS):
            if len(tiers) > 1:
                run.in_parallel(tiers)
            else:
                run.tier(tiers[0])
    finally:
        run.network.stop()
    return run.close()


def groups(tiers: Sequence[str]) -> list[list[str]]:
    """The tiers in their order; those that need nothing but Python, and stand next to each other, as one group."""
    result: list[list[str]] = []
    for tier in tiers:
        if result and tier in QUICK and result[-1][-1] in QUICK and tier not in result[-1]:
            result[-1].append(tier)
        else:
            result.append([tier])
    return result


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


class Run:
    """One run of tiers, and the sum of their results."""

    def __init__(self) -> None:
        self.network = ClosedNetwork()
        self.summary: list[str] = []
        """A line for each tier."""
        self.passed = self.failed = self.skipped = 0
        """Tests of all tiers."""
        self.tier_failed = False
        self.tested = False
        """A tier with tests was to run: any but lint."""
        self._begin = time.monotonic()

    def tier(self, name: str) -> None:
        """Run a tier and record its result."""
        _print(f"\n== {name} ==")
        self._begin = time.monotonic()
        self.tested = self.tested or name != "lint"
        if name in QUICK:
            self._run(name)
        elif name == "provider":
            self._provider()
        else:
            self._e2e(name)

    def in_parallel(self, names: Sequence[str]) -> None:
        """Run tiers at once, and print what each has written when all before it have ended."""
        _print(f"\n{', '.join(names)} run in parallel; the output of each is printed at its end")
        self._begin = time.monotonic()
        self.tested = self.tested or any(name != "lint" for name in names)
        outputs = {name: LAB / f"{name}.log" for name in names}
        with ThreadPoolExecutor(len(names)) as pool:
            running = {name: pool.submit(_run_quietly, commands(name), outputs[name]) for name in names}
            for name in names:
                while not running[name].done():
                    wait([running[name]], timeout=PROGRESS_SECONDS)
                    if not running[name].done():
                        under_way = ", ".join(other for other in names if not running[other].done())
                        _print(f"{int(time.monotonic() - self._begin)} s: {under_way} under way")
                _print(f"\n== {name} ==\n{outputs[name].read_text(encoding='utf-8', errors='replace').rstrip()}")
                self._record(name, running[name].result())

    def close(self) -> int:
        """Print the results and the sum of them; the status of all."""
        _print("\n" + "\n".join(self.summary))
        if self.tested and not self.passed + self.failed:
            _print("No test was run.")
            self.tier_failed = True
        _print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        return 1 if self.tier_failed or self.failed else 0

    def _report(self, tier: str, result: str, detail: str = "") -> None:
        self.tier_failed = self.tier_failed or result == "FAILED"
        self.summary.append(f"{tier:<8}  {result:<7}  {int(time.monotonic() - self._begin):>4}s  {detail}")

    def _skip(self, tier: str, why: str) -> None:
        _print(f"SKIPPED {tier}: {why}")
        self._report(tier, "SKIPPED", why)

    def _provider(self) -> None:
        why = self.network.obstacle()
        if not why:
            self._inside("provider", "LAB_LIBVIRT_URI=qemu:///system")
        elif _has_binding():
            uri = os.environ.get("LAB_LIBVIRT_URI") or "test:///default"
            say(f"the provider tests run on {uri}: {why}")
            self._run("provider", ["env", f"LAB_LIBVIRT_URI={uri}"])
        else:
            self._skip("provider", f"{why}, and libvirt-python cannot be imported")

    def _e2e(self, tier: str) -> None:
        if os.environ.get("LAB_E2E_STACK"):
            if _prepare_host():
                self._run(tier)
            else:
                self._skip(tier, "what it needs cannot be installed (see above)")
            return
        why = self.network.obstacle()
        if why:
            self._skip(tier, f"{why}, and LAB_E2E_STACK is not set")
        else:
            self._inside(tier, "LAB_E2E_STACK=testnet", "LAB_LIBVIRT_URI=qemu:///system")

    def _inside(self, tier: str, *variables: str) -> None:
        """On the closed test network. That it does not start is a failure and no reason to skip."""
        if self.network.start():
            self._run(tier, self.network.inside(*variables))
        else:
            why = "the closed test network does not start (.lab/testnet.log); LAB_TESTNET=none does without it"
            self._report(tier, "FAILED", why)

    def _run(self, tier: str, prefix: Sequence[str] = ()) -> None:
        """Run the commands of a tier and record its result. prefix: the command that runs them, as of the closed test network."""
        self._record(tier, [process.run([*prefix, *command]) for command in commands(tier)])

    def _record(self, tier: str, statuses: Sequence[int]) -> None:
        """Record a tier that has run. statuses: of its commands."""
        if tier == "lint":
            self._report(tier, "FAILED" if any(statuses) else "ok")
            return
        status, folder, results = statuses[0], _folder(tier), _results(tier)
        if status == _NO_TESTS or not (ROOT / folder).is_dir():
            self._skip(tier, f"there are no tests in {folder}")
            return
        try:
            passed, failed, skipped = _counts(results.read_bytes()) if results.exists() else (0, 0, 0)
        except ElementTree.ParseError:
            passed, failed, skipped, status = 0, 0, 0, status or 1
        if status and not failed:
            failed = 1
        self.passed, self.failed, self.skipped = self.passed + passed, self.failed + failed, self.skipped + skipped
        counts = f"{passed} passed, {failed} failed, {skipped} skipped"
        if status:
            self._report(tier, "FAILED", counts)
        elif not passed:
            self._report(tier, "SKIPPED", f"each of its {skipped} tests says why")
        else:
            self._report(tier, "ok", counts)


def commands(tier: str) -> list[list[str]]:
    """The commands of a tier, each of which runs whatever becomes of the others. Removes the results of an earlier run."""
    if tier == "lint":
        scripts = [str(path.relative_to(ROOT)) for pattern in SCRIPTS for path in sorted(ROOT.glob(pattern))]
        return [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy", "--strict"], ["shellcheck", *scripts]]
    results = _results(tier)
    results.unlink(missing_ok=True)
    return [[PYTHON, "-m", "pytest", "--junitxml", str(results.relative_to(ROOT)), _folder(tier), *_selection(tier)]]


def _run_quietly(tier_commands: Sequence[Sequence[str]], output: Path) -> list[int]:
    """The statuses of the commands, whose output is written into a file. A Ctrl-C at the terminal reaches them by itself."""
    with output.open("wb") as file:
        return [
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False).returncode  # noqa: S603
            for command in tier_commands
        ]


def _folder(tier: str) -> str:
    return f"tests/{tier.removesuffix('-nodes')}"


def _results(tier: str) -> Path:
    return LAB / f"junit-{tier}.xml"


def _selection(tier: str) -> list[str]:
    """pytest's words for the tests of a tier, its folder apart."""
    # Tests of a file share what they make on this machine, so they stay together. Many unit tests wait: more workers than cores.
    parallel = ["--dist", "loadfile", "--no-loadscope-reorder", "-n"]
    cores = os.cpu_count() or 1
    return {
        "unit": [*parallel, str(5 * cores // 2), "policy/tests"],
        "program": [*parallel, str(cores)],
        "e2e": ["-m", "(not nodes or both) and not further"],
        "e2e-nodes": ["-m", "nodes or both or further"],
    }.get(tier, [])


def _counts(results: bytes) -> tuple[int, int, int]:
    """Passed, failed and skipped tests of a JUnit file. Raises ElementTree.ParseError."""
    suites = list(ElementTree.fromstring(results).iter("testsuite"))  # noqa: S314 - pytest has written it
    total, failures, errors, skipped = (
        sum(int(suite.get(key, 0)) for suite in suites) for key in ("tests", "failures", "errors", "skipped")
    )
    return max(0, total - failures - errors - skipped), failures + errors, skipped


def _has_binding() -> bool:
    command = [PYTHON, "-c", "import libvirt"]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0  # noqa: S603 - no shell is meant


def _prepare_host() -> bool:
    """What e2e needs on this machine's own libvirt: system packages, Pulumi, its plugins."""
    if process.run(["./lab", "--prepare", *HYPERVISOR_PACKAGES]):
        return False
    try:
        engine.install_plugins()
    except LabError as error:
        say(str(error))
        return False
    return True


def _print(text: str) -> None:
    """Print a line at once: the output of the tests themselves does not pass through this process."""
    print(text, flush=True)  # noqa: T201
