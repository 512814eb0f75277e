"""The host of the e2e tier, and a stack on it, driven as a user drives it: by `./lab` in a clean copy of the checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from builds import CLOSED, Build, builds
from host import drop_reservations
from interruptible_run import Run

from components.cluster.kubernetes_api import NO_ANSWER

ROOT = Path(__file__).resolve().parents[2]
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""What the engine writes for a value that a preview does not know."""


class NodeCommandError(AssertionError):
    """A command on a node did not end with 0, or not at all. said: what it wrote to stderr."""

    def __init__(self, command: str, said: str) -> None:
        super().__init__(f"{command}: {said}")
        self.said = said


@dataclass(frozen=True)
class Checkout:
    """A clean copy of what git tracks, with a state of its own, and one stack in it."""

    path: Path
    stack: str
    said: list[str] = field(default_factory=list)
    """Everything that `lab` and `run` have printed."""

    def run(self, *words: str) -> Run:
        """Start `./lab -s STACK WORDS`. Its output is kept in `said` when `finished` is called with it."""
        return Run(["./lab", "-s", self.stack, *words], self.path, environment())

    def finished(self, run: Run, limit: int = 600) -> tuple[int, str]:
        """Wait for the end of what `run` started: its exit code and what it printed."""
        code = run.end(limit)
        print(run.text)
        self.said.append(run.text)
        return code, run.text

    def lab(self, *words: str, ok: bool = True, limit: int = 1200) -> str:
        """Run `./lab -s STACK WORDS`; what it prints. Fails the test unless it ends as expected.

        Where Pulumi's Kubernetes provider met a K3s that restarted by itself at a moment that the program cannot bridge, it runs
        once more, as it says that its user should; the summary counts that. A rotation of the token is completed by `up`.
        """
        done = self._lab(words, limit)
        if ok and done.returncode and restarted_by_itself(words, done.stdout):
            REPEATED.append(" ".join(words))
            assert len(REPEATED) <= MOST_REPEATED, f"K3s restarts too often to show anything: {REPEATED}"
            former, rotates = done.stdout, words[-2:] == ("rotate", "token")
            done = self._lab(("-y", "up") if rotates else words, limit)
            done.stdout = former + done.stdout if rotates else done.stdout
        assert (done.returncode == 0) == ok, f"./lab {' '.join(words)} ended with {done.returncode}:\n{done.stdout[-6000:]}"
        return done.stdout

    def _lab(self, words: tuple[str, ...], limit: int) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["./lab", "-s", self.stack, *words],
            cwd=self.path,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=limit,
            check=False,
        )
        print(done.stdout)
        self.said.append(done.stdout)
        return done

    def clear(self) -> None:
        """Destroy the stack, also after a test that was ended by force, which leaves Pulumi's lock."""
        subprocess.run(["./lab", "pulumi", "cancel", "-s", self.stack, "--yes"], cwd=self.path, env=environment(), check=False)
        self.lab("-y", "destroy")

    def preview(self) -> tuple[dict[str, str], list[str]]:
        """Resource name -> operation, for all that `up` would change; and the values that the preview does not know."""
        done = subprocess.run(
            ["./lab", "-s", self.stack, "preview", "--json"],
            cwd=self.path,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        self.said.append(done.stdout + done.stderr)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
        text = done.stdout[done.stdout.index("{") :]
        steps = json.loads(text)["steps"]
        changed = {step["urn"].rsplit("::", 1)[1]: step["op"] for step in steps if step["op"] != "same"}
        return changed, [part for part in text.split('"') if part == UNKNOWN]

    def outputs(self) -> dict[str, Any]:
        done = subprocess.run(
            ["./lab", "pulumi", "stack", "output", "-s", self.stack, "--json", "--show-secrets"],
            cwd=self.path,
            env=environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        document = json.loads(done.stdout)
        assert isinstance(document, dict)
        return document

    def pulumi(self, *words: str, stdin: str = "") -> str:
        """Run `./lab pulumi WORDS -s STACK` and give back what it prints; it is not in `said`."""
        done = subprocess.run(
            ["./lab", "pulumi", *words, "-s", self.stack],
            cwd=self.path,
            env=environment(),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"pulumi {' '.join(words)}: {done.stderr}"
        return done.stdout

    def set(self, key: str, **fields: Any) -> None:
        """Set fields of one top-level setting in the stack's file; None removes one."""
        file = self.path / f"Pulumi.{self.stack}.yaml"
        document = yaml.safe_load(file.read_text())
        setting = {**document["config"].get(f"k3s-macvlan:{key}", {}), **fields}
        document["config"][f"k3s-macvlan:{key}"] = {name: value for name, value in setting.items() if value is not None}
        file.write_text(yaml.safe_dump(document))

    def setting(self, key: str) -> dict[str, Any]:
        """One top-level setting of the stack's file."""
        file = self.path / f"Pulumi.{self.stack}.yaml"
        return dict(yaml.safe_load(file.read_text())["config"].get(f"k3s-macvlan:{key}", {}))

    def network(self, **fields: Any) -> None:
        """Set fields of the network macvlan-conf in the stack's file; None removes one."""
        networks = self.setting("podNetworks")
        network = {"range": "192.168.122.200-192.168.122.210", **networks.get("macvlan-conf", {}), **fields}
        self.set("podNetworks", **{"macvlan-conf": {name: value for name, value in network.items() if value is not None}})

    def node(self, command: str, name: str = "server-1") -> str:
        """Run a command on a node, as root. NodeCommandError unless it ends with 0 within two minutes."""
        outputs = self.outputs()
        key = self.path / ".lab" / "e2e-key"
        key.touch(mode=0o600)
        key.write_text(outputs["sshPrivateKey"])
        hosts = self.path / ".lab" / "e2e-hosts"
        node = next(candidate for candidate in outputs["nodes"] if candidate["name"] == name)
        hosts.write_text(f"{node['address']} {node['hostKey']}\n")
        options = [f"-oUserKnownHostsFile={hosts}", "-oStrictHostKeyChecking=yes", "-oConnectTimeout=20", "-oIdentitiesOnly=yes"]
        *words, login = outputs["sshCommand"].split()
        login = f"{login.split('@')[0]}@{node['address']}"
        try:
            done = subprocess.run(
                [words[0], "-i", str(key), *options, *words[1:], login, "sudo", "-n", "bash", "-s"],
                input=command,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise NodeCommandError(command, "no end within 120 s") from None
        finally:
            key.unlink()
        if done.returncode:
            raise NodeCommandError(command, done.stderr)
        return done.stdout


# What the provider queries outside of what a hook of the program can retry: as it starts, and when it has created a definition.
BY_ITSELF = re.compile("configured Kubernetes cluster is unreachable|Failed to fetch OpenAPI schema")
# A refresh runs no program, and so no hook.
IN_A_REFRESH = re.compile(rf'"https://[^"]*:6443/[^"]*": .*(?:{NO_ANSWER.pattern})', re.IGNORECASE)
REPEATED: list[str] = []
"""Runs of `lab` that were repeated because of it, for the summary."""
MOST_REPEATED = 3


def restarted_by_itself(words: tuple[str, ...], said: str) -> bool:
    """Whether a run failed for that alone. One that must change nothing is not repeated: the first might have."""
    met = BY_ITSELF.search(said) or ("refresh" in words and IN_A_REFRESH.search(said))
    return bool(met) and "--expect-no-changes" not in words


FAULTS: list[str] = []
"""The faults that a story has met, for the summary."""


TOLD: dict[str, int] = {}
"""Chapters run on each K3s, for the summary."""


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if BUILDS:
        terminalreporter.section("K3s")
        for build in BUILDS:
            terminalreporter.write_line(f"{build}: {TOLD.get(str(build), 0)} chapters")
        terminalreporter.write_line(f"repeated because K3s restarted by itself: {', '.join(REPEATED) or 'nothing'}")
    if FAULTS:
        terminalreporter.section("faults on the way to the page")
        terminalreporter.write_line(", ".join(FAULTS))
        terminalreporter.write_line(f"cases: {len(FAULTS)}")


def environment() -> dict[str, str]:
    """Of this process, without what would lead Pulumi to another state."""
    ours = {"LAB_TESTNET": "none"}  # this tier is inside it already
    return {key: value for key, value in os.environ.items() if not key.startswith("PULUMI_")} | ours


STACK = os.environ.get("LAB_E2E_STACK", "")
BUILDS = builds(STACK, ROOT) if STACK else []
HERE = [candidate for candidate in BUILDS if not candidate.missing]
"""Those that stories run on, in their order."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each story once on every K3s; a story's fixtures are its module's, so that it runs to its end before the next begins."""
    if "build" in metafunc.fixturenames:
        stories = [pytest.param(build, id=build.name, marks=[pytest.mark.further] if build in HERE[1:] else []) for build in BUILDS]
        metafunc.parametrize("build", stories or [pytest.param(None, id="none")], indirect=True, scope="module")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a story is not told on: `k3s_own` needs K3s's own binary, `stand_in` is about the old layout, and `once` shows
    the same on either, so it runs on the first that is here."""
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        build = getattr(item, "callspec", None) and item.callspec.params.get("build")  # type: ignore[attr-defined]
        marks = {mark.name for mark in item.iter_markers()}
        other = build is not None and (
            ("k3s_own" in marks and not build.own)
            or ("stand_in" in marks and build.own)
            or ("once" in marks and bool(HERE) and build != HERE[0])
        )
        (left_out if other else kept).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


FAILED: dict[tuple[str, str], str] = {}
"""By story: the chapter that failed first."""


def story_of(item: pytest.Item) -> tuple[str, str]:
    """The story that a test is a chapter of: its file, on the K3s that it runs on. ("", "") of a test that stands alone."""
    if item.get_closest_marker("chapters") is None:
        return "", ""
    callspec = getattr(item, "callspec", None)
    build = callspec.params.get("build") if callspec else None
    return str(item.path), str(build)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and item.get_closest_marker("chapters") and not item.get_closest_marker("observes"):
        FAILED.setdefault(story_of(item), item.name)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A chapter starts from what those before it leave, so after one that changes something and failed it would show nothing."""
    if failed := FAILED.get(story_of(item)):
        pytest.skip(f"an earlier chapter of its story failed: {failed}")


@pytest.fixture(scope="session")
def engine() -> str:
    """The stack that `./lab test` has chosen: there is an engine and a host to test with."""
    if not STACK:
        pytest.skip("LAB_E2E_STACK is not set: ./lab test e2e chooses the host")
    return STACK


@pytest.fixture(scope="session")
def prepared_images(engine: str) -> Iterator[None]:
    """The stories share prepared images; none of them stays on the host."""
    yield
    if not os.environ.get("LAB_E2E_KEEP"):
        subprocess.run(["./lab", "-s", engine, "image", "--remove"], cwd=ROOT, env=environment(), check=False)


@pytest.fixture(scope="module")
def build(engine: str, request: pytest.FixtureRequest) -> Build:
    """The K3s that the story runs on."""
    chosen: Build = request.param
    if chosen.missing:
        pytest.skip(f"SKIPPED on {chosen.name}: {chosen.missing}")
    TOLD[str(chosen)] = TOLD.get(str(chosen), 0)
    return chosen


@pytest.fixture(autouse=True)
def _count(request: pytest.FixtureRequest) -> None:
    if "build" in request.fixturenames:
        TOLD[str(request.getfixturevalue("build"))] += 1


@pytest.fixture(scope="module")
def checkout(build: Build, prepared_images: None) -> Iterator[Checkout]:
    stack = build.stack
    if os.environ.get("LAB_E2E_CHECKOUT"):
        # One that LAB_E2E_KEEP kept: continue where it stands.
        yield Checkout(Path(os.environ["LAB_E2E_CHECKOUT"]), stack)
        return
    # Not pytest's own temporary folder, which later runs remove, and with it the state of what is on the host.
    path = ROOT / ".lab" / "e2e"
    if path.exists():
        for other in BUILDS:
            Checkout(path, other.stack).clear()
            drop_reservations(other.stack)
        shutil.rmtree(path)
    copy_of_the_checkout(path)
    use_the_registry_s_multus(path, stack)
    made = Checkout(path, stack)
    if stack.startswith(CLOSED):
        # To make one takes minutes there, and stories that change releases or images want several; test_prepared_image.py is about
        # them.
        made.set("image", prepare="never")
    yield made
    # Whatever failed, nothing stays on the host. With LAB_E2E_KEEP the stack is left for a look.
    if not os.environ.get("LAB_E2E_KEEP"):
        made.clear()


def copy_of_the_checkout(path: Path) -> None:
    """What git tracks, as a user clones it, with this checkout's environment."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, path / name)
    (path / ".venv").symlink_to(ROOT / ".venv")


def use_the_registry_s_multus(path: Path, stack: str) -> None:
    """The closed test network has whichever Multus release was built there; query its registry."""
    if not stack.startswith(CLOSED):
        return
    import urllib.request  # noqa: PLC0415

    name = "k8snetworkplumbingwg/multus-cni"
    with urllib.request.urlopen(f"http://10.99.0.1:5000/v2/{name}/tags/list", timeout=10) as answer:
        tags = sorted(json.load(answer)["tags"])
    file = path / f"Pulumi.{stack}.yaml"
    document = yaml.safe_load(file.read_text())
    document["config"].setdefault("k3s-macvlan:multus", {})["image"] = f"ghcr.io/{name}:{tags[-1]}"
    file.write_text(yaml.safe_dump(document))
