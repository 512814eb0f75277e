"""`lab backup` and `lab restore`: what is sent to the nodes and to pulumi, in which order, and what is refused before."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import stat
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cli import backend as backends
from cli import (
    backup_file,
    command_line,
    consent,
    data_key,
    engine,
    hints,
    locks,
    needs,
    node_scripts,
    process,
    selection,
    stack_yaml,
)
from cli import stack as stacks
from cli.errors import LabError
from cli.node_scripts import Run
from cli.restore_checks import Running
from cli.stack import Stack
from cli.verbs import backup, restore
from components.config import reading
from components.config.raw import from_document

from .test_stack import NODE, OUTPUTS

pytestmark = pytest.mark.unit

KEY = bytes(32)
SNAPSHOT = bytes(range(256)) * 20000
SAID = {
    "release": "v1.36.4+k3s1",
    "cluster": "5d1c1ef8",
    "founded": "2026-11-01T10:00:00Z",
    "token": "s3cr3t-token",
    "config": "agent-token: 'agents-t0ken'\ncluster-cidr: 10.42.0.0/16\nservice-cidr: 10.43.0.0/16\n",
    "encrypted": False,
    "size": len(SNAPSHOT),
    "sha256": hashlib.sha256(SNAPSHOT).hexdigest(),
}
NODES = [
    NODE,
    {**NODE, "name": "server-2", "address": "192.168.122.181", "domain": "two"},
    {**NODE, "name": "agent-1", "role": "agent", "address": "192.168.122.182", "domain": "three"},
]


@pytest.fixture
def key() -> str:
    from cryptography.hazmat.primitives import serialization as form  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    made = Ed25519PrivateKey.generate()
    return made.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption()).decode()


@pytest.fixture
def stack(key: str) -> Stack:
    return replace(stacks.parse_outputs("dev", {**OUTPUTS, "nodes": NODES, "kubeconfig": ""}), private_key=key)


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ssh in front of PATH that keeps what it gets by stdin in `stdin` and runs the script `answer`; the agent is the real one."""
    for name in ("ssh-agent", "ssh-add"):
        if shutil.which(name) is None:
            pytest.skip(f"there is no {name}")
    program = tmp_path / "bin/ssh"
    program.parent.mkdir()
    program.write_text(f'#!/bin/bash\necho "$*" >> {tmp_path}/arguments\ncat >> {tmp_path}/stdin\nsource {tmp_path}/answer\n')
    program.chmod(0o755)
    (tmp_path / "answer").write_text("")
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return tmp_path


# --- scripts on nodes ---


def a_run(stack: Stack, **changed: Any) -> Run:
    return Run(**{"node": stack.nodes[0], "name": "k3s-restore.sh", "limit": 5, "environment": {"SIZE": "7"}, **changed})


def test_secrets_and_data_are_sent_by_stdin_after_the_script(stack: Stack, fake_ssh: Path) -> None:
    node_scripts.run_with(stack, a_run(stack, more_stdin=b"s3cr3t\n"), iter([b"snap", b"\0shot"]))
    sent, arguments = (fake_ssh / "stdin").read_bytes(), (fake_ssh / "arguments").read_text()
    assert sent.endswith(b"s3cr3t\nsnap\0shot") and b"membership has been reset" in sent
    assert "SIZE=7" in arguments and "timeout --kill-after=10 5" in arguments and "s3cr3t" not in arguments


def test_a_script_that_fails_before_it_has_read_everything_says_its_status(
    stack: Stack, fake_ssh: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (fake_ssh / "bin/ssh").write_text("#!/bin/bash\necho 'restore: no room' >&2; exit 1\n")
    with pytest.raises(LabError, match=r"k3s-restore.sh on server-1 ended with status 1: its own words are above"):
        node_scripts.run_with(stack, a_run(stack), (b"x" * 100000 for _ in range(50)))
    assert "restore: no room" in capfd.readouterr().err
    (fake_ssh / "bin/ssh").write_text("#!/bin/bash\nexit 255\n")
    with pytest.raises(LabError, match=r"192.168.122.180 does not answer on SSH"):
        node_scripts.run_with(stack, a_run(stack))


def test_several_nodes_run_in_parallel_and_each_failure_is_named(stack: Stack, fake_ssh: Path) -> None:
    (fake_ssh / "answer").write_text('[[ "$*" == *192.168.122.181* ]] && exit 3 || exit 0\n')
    runs = [a_run(stack, node=node) for node in stack.nodes]
    with pytest.raises(LabError) as raised:
        node_scripts.run_all(stack, runs)
    assert str(raised.value) == "k3s-restore.sh on server-2 ended with status 3: its own words are above"
    assert len((fake_ssh / "arguments").read_text().splitlines()) == 3


# --- backup ---


def about(stack: Stack) -> backup.About:
    return backup.About(stack, KEY, "wrapped: x\n", "0123456789abcdef", "config: {}\n")


def opened(path: Path) -> tuple[backup_file.Header, backup_file.Content, bytes]:
    with path.open("rb") as file:
        header = backup_file.read_header(file, path.name)
        reader = backup_file.Reader(file, path.name, header, KEY)
        return header, reader.content, b"".join(reader.snapshot())


def test_a_server_s_snapshot_becomes_a_file_for_its_owner_alone(stack: Stack, fake_ssh: Path) -> None:
    (fake_ssh / "snapshot").write_bytes(json.dumps(SAID).encode() + b"\n" + SNAPSHOT)
    (fake_ssh / "answer").write_text(f"cat {fake_ssh}/snapshot\n")
    path = fake_ssh / "file"
    with backup.new_file(path) as file:
        file.write(b"of a server before" * 1000)
        assert backup.fetch(about(stack), stack.nodes[0], file, 60) == len(SNAPSHOT)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    header, content, snapshot = opened(path)
    assert (content.token, content.agent_token) == ("s3cr3t-token", "agents-t0ken")
    assert snapshot == SNAPSHOT and content.settings == "config: {}\n"
    assert (header.owner, header.cluster, header.release, header.key) == (
        "k3s-macvlan/dev",
        "5d1c1ef8",
        "v1.36.4+k3s1",
        "wrapped: x\n",
    )
    assert b"s3cr3t" not in path.read_bytes()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("exit 1\n", "ended with status 1"),
        ("head -c 3000000 {0}/snapshot; exit 1\n", "ended with status 1"),
        ("head -c 3000000 {0}/snapshot\n", "did not arrive whole"),
    ],
    ids=["nothing", "fails half-way", "ends half-way"],
)
def test_no_file_stays_of_a_snapshot_that_did_not_come(stack: Stack, fake_ssh: Path, answer: str, text: str) -> None:
    (fake_ssh / "snapshot").write_bytes(json.dumps(SAID).encode() + b"\n" + SNAPSHOT)
    (fake_ssh / "answer").write_text(answer.format(fake_ssh))
    with pytest.raises(LabError, match=text), backup.new_file(fake_ssh / "file") as file:
        backup.fetch(about(stack), stack.nodes[0], file, 60)
    assert not (fake_ssh / "file").exists()


def test_a_file_that_is_there_is_never_written_over(stack: Stack, fake_ssh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_CALLER", str(fake_ssh))
    now = datetime(2026, 11, 26, 21, 0, 5, tzinfo=UTC)
    assert backup.target(None, "org/dev", now) == fake_ssh / "dev-20261126-210005.k3s-backup"
    assert backup.target("bin", "dev", now) == fake_ssh / "bin/dev-20261126-210005.k3s-backup"
    (fake_ssh / "file").write_text("mine")
    with pytest.raises(LabError, match="is there already"):
        backup.target("file", "dev", now)
    with pytest.raises(LabError, match=r"cannot write .*File exists"), backup.new_file(fake_ssh / "file"):  # by somebody meanwhile
        pytest.fail("it is somebody's")
    assert (fake_ssh / "file").read_text() == "mine"


def test_a_full_file_system_is_said_and_no_further_server_asked(
    stack: Stack, fake_ssh: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    answer_as_servers_of_main(stack, fake_ssh, monkeypatch)
    (fake_ssh / "answer").write_text(f"cat {fake_ssh}/snapshot\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(LabError, match=f"cannot write {fake_ssh}/out: File too large"):
            backup.main(command_line.parse(["backup", "out"]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not (fake_ssh / "out").exists() and "server-2" not in capfd.readouterr().err


def test_a_place_that_cannot_be_written_is_said_before_a_snapshot_is_taken(
    stack: Stack, fake_ssh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_as_servers_of_main(stack, fake_ssh, monkeypatch)
    with pytest.raises(LabError, match=f"cannot write {fake_ssh}/absent/out: No such file or directory"):
        backup.main(command_line.parse(["backup", "absent/out"]))
    assert not (fake_ssh / "arguments").exists()


def answer_as_servers_of_main(stack: Stack, fake_ssh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fake_ssh / "snapshot").write_bytes(json.dumps(SAID).encode() + b"\n" + SNAPSHOT)
    monkeypatch.setenv("LAB_CALLER", str(fake_ssh))
    monkeypatch.setattr(stacks, "read_selected", lambda _name: stack)
    monkeypatch.setattr(data_key, "make", lambda: KEY)
    monkeypatch.setattr(data_key, "wrap", lambda *_: "wrapped: x\n")
    monkeypatch.setattr(backup, "identity", lambda _stack: "0123456789abcdef")


def test_the_next_server_is_taken_where_the_first_gives_none(
    stack: Stack, fake_ssh: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    answer_as_servers_of_main(stack, fake_ssh, monkeypatch)
    (fake_ssh / "answer").write_text(f'[[ "$*" == *192.168.122.181* ]] || exit 255; cat {fake_ssh}/snapshot\n')
    assert backup.main(command_line.parse(["backup", "out"])) == 0
    said = capfd.readouterr()
    assert said.out == f"{fake_ssh}/out\n" and "server-1: k3s-backup.sh on server-1 ended with status 255" in said.err
    assert opened(fake_ssh / "out")[2] == SNAPSHOT
    (fake_ssh / "answer").write_text("exit 1\n")
    with pytest.raises(LabError, match="no server of stack dev gave a snapshot, so no file was written"):
        backup.main(command_line.parse(["backup", "other"]))


def test_settings_are_read_as_pulumi_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """YAML 1.1 has numbers to the base of 60, and other words for true."""
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text("config:\n  k3s-macvlan:network:\n    mac: 52:54:00:12:34:56\n    mode: on\n")
    monkeypatch.setattr(backup, "stack_file", lambda _stack: file)
    assert stack_yaml.load(backup.settings_text("dev")) == stack_yaml.load(file.read_text())
    assert stack_yaml.load(file.read_text())["config"]["k3s-macvlan:network"] == {"mac": "52:54:00:12:34:56", "mode": "on"}


def test_settings_are_saved_without_their_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "Pulumi.dev.yaml"
    secret = "    registries:\n      configs:\n        r: {auth: {password: {secure: 'v1:AAA:BBB'}}}\n"
    file.write_text(f"encryptionsalt: v1:SALT\nconfig:\n  k3s-macvlan:k3s:\n    version: v1.36.4+k3s1\n{secret}")
    monkeypatch.setattr(backup, "stack_file", lambda _stack: file)
    text = backup.settings_text("dev")
    assert "v1.36.4+k3s1" in text and "[secret]" in text and "AAA" not in text and "SALT" not in text


def test_the_state_s_identity_of_the_cluster() -> None:
    resources = [{"urn": "urn:pulumi:dev::p::t::k3s-release", "outputs": {"cluster": "0123"}}, {"urn": "urn:x::other"}]
    assert backup.identity("dev", lambda *_: {"deployment": {"resources": resources}}) == "0123"
    assert backup.identity("dev", lambda *_: {"deployment": None}) == ""


# --- restore ---


ALL = {"server-1", "server-2", "agent-1"}


def nodes(answering: set[str], ready: set[str]) -> restore.Nodes:
    return restore.Nodes(answering=frozenset(answering), ready=frozenset(ready))


class Steps:
    """What a restore does, in order."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.ready = [ALL]
        """Names of the nodes that are ready, for each query; the last stays."""
        self.other_release: set[str] = set()
        """Names of those that have another release of K3s."""
        self.running = Running(cluster="5d1c1ef8", founded="2026-11-01T10:00:00Z")
        self.stack: Stack | None = None
        self.fails = ""

    def pulumi(self, words: list[str]) -> int:
        text = " ".join(words)
        skip = " (skips what is unreachable)" if "PULUMI_K8S_SKIP_UPDATE_UNREACHABLE" in os.environ else ""
        self.done.append(f"{text}{skip}")
        return 1 if self.fails and self.fails in text else 0

    def observe(self, *_: Any) -> restore.Nodes:
        ready = self.ready.pop(0) if len(self.ready) > 1 else self.ready[0]
        return nodes(ready | self.other_release, ready)

    def script(self, _stack: Stack, run: Run, data: Iterable[bytes] = ()) -> None:
        size = len(b"".join(data))
        self.done.append(f"{run.name} {run.node.name} {run.environment.get('STEP', size)}")
        step = run.environment.get("STEP")
        wanted = {None: b"s3cr3t-token\nagents-t0ken\n", "join": b"rotated\nrotated-too\n"}
        assert run.more_stdin == wanted.get(step, b"")
        exchanges = step in (None, "join") and run.node.role == "server"
        assert run.environment.get("ENCRYPTED") == ("false" if exchanges else None), "as the backup has it"
        if self.fails and self.fails in self.done[-1]:
            raise LabError("failed")

    def tokens(self, _stack: Stack, run: Run) -> str:
        """Of the first server, which a rotation that was cut off has reached."""
        assert (run.node.name, run.name) == ("server-1", "k3s-data-token.sh")
        return "rotated\nrotated-too"

    def scripts(self, stack: Stack, runs: list[Run]) -> None:
        for run in runs:
            self.script(stack, run)


@pytest.fixture
def steps(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Steps:
    found = Steps()
    found.stack = stack
    document = {"config": {"k3s-macvlan:servers": {"count": 1}}}
    loaded = reading.load("k3s-macvlan", "dev", from_document(document, "k3s-macvlan"))
    monkeypatch.setenv("LAB_CALLER", str(tmp_path))
    monkeypatch.setenv("LAB_DOCTOR", "off")
    monkeypatch.delenv("PULUMI_K8S_SKIP_UPDATE_UNREACHABLE", raising=False)
    monkeypatch.setattr(stacks, "load_settings", lambda _name: (loaded.settings, loaded.plan))
    monkeypatch.setattr(stacks, "read_selected", lambda _name: stack)
    monkeypatch.setattr(backends, "use", lambda _name: backends.Backend(project="k3s-macvlan", local=True))
    monkeypatch.setattr(selection, "create", lambda *_: ["-s", "dev"])
    monkeypatch.setattr(restore, "_existing", lambda *_: found.stack)
    monkeypatch.setattr(restore, "_running", lambda _stack: found.running)
    monkeypatch.setattr(restore, "_observe", found.observe)
    for module, name in (
        (hints, "about_libvirt"),
        (engine, "install_plugins"),
        (locks, "release_and_report"),
    ):
        monkeypatch.setattr(module, name, lambda *_: None)
    monkeypatch.setattr(process, "run", found.pulumi)
    monkeypatch.setattr(node_scripts, "run_with", found.script)
    monkeypatch.setattr(node_scripts, "run_all", found.scripts)
    monkeypatch.setattr(node_scripts, "printed", found.tokens)
    monkeypatch.setattr(data_key, "unwrap", lambda *_: KEY)
    (tmp_path / "in").write_bytes(SNAPSHOT)
    with (tmp_path / "file").open("wb") as file, (tmp_path / "in").open("rb") as sent:
        assert backup.write(about(stack), SAID, sent, file)
    return found


def run(*words: str) -> int:
    return restore.main(command_line.parse(["-y", "restore", *words]))


EXCHANGE = [
    "k3s-rejoin.sh server-2 stop",
    "k3s-rejoin.sh agent-1 stop",
    f"k3s-restore.sh server-1 {len(SNAPSHOT)}",
    "k3s-rejoin.sh server-2 join",
    "k3s-rejoin.sh agent-1 join",
    "pulumi up -s dev --yes --skip-preview --replace **::k3s-kubeconfig",
    "pulumi up -s dev --yes --refresh --replace **-multus-gate",
    "k3s-rejoin.sh server-1 complete",
]


def test_on_the_running_stack_the_data_are_exchanged_and_then_read(steps: Steps) -> None:
    assert run("file") == 0
    assert steps.done == EXCHANGE


def test_lost_machines_are_brought_up_first(steps: Steps) -> None:
    steps.ready, steps.running = [{"server-1", "server-2"}, ALL], Running()
    assert run("file") == 0
    assert steps.done == [
        "pulumi refresh -s dev --yes --clear-pending-creates (skips what is unreachable)",
        "pulumi up -s dev --yes",
        *EXCHANGE,
    ]


def test_without_a_majority_the_data_are_exchanged_before_others_are_recreated(steps: Steps) -> None:
    """A node cannot leave a cluster whose API does not answer."""
    steps.ready, steps.running = [{"server-1", "agent-1"}, ALL], Running()
    assert run("file") == 0
    assert steps.done == [
        *[step for step in EXCHANGE[:5] if "server-2" not in step],
        "pulumi refresh -s dev --yes --clear-pending-creates (skips what is unreachable)",
        "pulumi up -s dev --yes",
        *EXCHANGE,
    ], "also on a server that was only off, which has started with the data of before"


def test_a_server_with_another_release_is_not_lost(steps: Steps) -> None:
    """It has its data and its vote: the cluster of an upgrade that was cut off would continue next to the restored one."""
    steps.ready, steps.other_release = [{"server-1"}, ALL], {"server-2", "agent-1"}
    assert run("file") == 0
    assert steps.done == [
        "pulumi refresh -s dev --yes --clear-pending-creates (skips what is unreachable)",
        "pulumi up -s dev --yes",
        *EXCHANGE,
    ]
    steps.done, steps.ready, steps.other_release = [], [set(), ALL], set(ALL)
    assert run("file") == 0, "a new k3s.version that no node has yet"
    assert steps.done[2:] == EXCHANGE


def test_a_first_server_that_would_join_nobody_is_refused(steps: Steps) -> None:
    steps.ready, steps.running = [{"server-2"}], Running()
    with pytest.raises(LabError, match=r"server-1 do not answer, the first server among them, .* destroy"):
        run("file")
    assert steps.done == []


def test_on_an_empty_hypervisor_there_is_nothing_to_refresh(steps: Steps) -> None:
    steps.stack, steps.running = None, Running()
    assert run("file") == 0
    assert steps.done == ["pulumi up -s dev --yes", *EXCHANGE]


def test_a_node_that_stays_away_ends_it_before_the_data_are_touched(steps: Steps) -> None:
    steps.ready = [ALL - {"agent-1"}]
    with pytest.raises(LabError, match=r"does not answer on SSH, or has no K3s v1.36.4\+k3s1, though `up` has ended well"):
        run("file")
    assert not [step for step in steps.done if step.startswith("k3s-")]


@pytest.mark.parametrize("fails", ["server-1", "server-2 join", "k3s-kubeconfig", "--refresh"])
def test_wherever_it_ends_it_says_that_it_can_be_repeated(steps: Steps, capfd: pytest.CaptureFixture[str], fails: str) -> None:
    steps.fails = fails
    with pytest.raises(LabError):
        run("file")
    assert "the restore is not complete. Each of its steps may be repeated: ./lab -s dev restore file" in capfd.readouterr().err
    assert fails in steps.done[-1]
    steps.fails, steps.done = "", []
    assert run("file") == 0
    assert steps.done == EXCHANGE


def test_a_damaged_file_is_refused_before_anything_is_done(steps: Steps, tmp_path: Path) -> None:
    whole = (tmp_path / "file").read_bytes()
    for damaged in (whole[:-1], whole[: len(whole) // 2], whole[:-2000] + b"x" + whole[-1999:], b"", whole[:100]):
        (tmp_path / "damaged").write_bytes(damaged)
        with pytest.raises(LabError, match=r"is damaged|is no backup"):
            run("damaged")
    with pytest.raises(LabError, match=r"cannot read .*: No such file"):
        run("nowhere")
    assert steps.done == []


def test_another_cluster_s_is_refused_unless_it_is_meant(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    steps.running = Running(cluster="another", founded="2026-01-01T00:00:00Z")
    with pytest.raises(LabError, match="file is not restored, and nothing was changed:\n  - it is of another cluster"):
        run("file")
    assert steps.done == []
    assert run("file", "--other-cluster") == 0


def test_what_settings_lack_is_refused(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    document = {"config": {"k3s-macvlan:k3s": {"version": "v1.35.1+k3s1", "serviceCidr": "10.99.0.0/16"}}}
    loaded = reading.load("k3s-macvlan", "dev", from_document(document, "k3s-macvlan"))
    monkeypatch.setattr(stacks, "load_settings", lambda _name: (loaded.settings, loaded.plan))
    with pytest.raises(LabError, match=r"k3s.version = v1.35.1\+k3s1 is older"):
        run("file")
    document["config"]["k3s-macvlan:k3s"]["version"] = "v1.36.4+k3s1"
    loaded = reading.load("k3s-macvlan", "dev", from_document(document, "k3s-macvlan"))
    with pytest.raises(LabError, match=r"k3s.serviceCidr gives 10.99.0.0/16"):
        run("file")
    assert steps.done == []


def test_the_question_is_asked_at_a_terminal(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    answers = iter([False, True])
    monkeypatch.setattr(consent, "given", lambda _question, *, yes: yes or next(answers))
    with pytest.raises(LabError, match="nothing was changed"):
        restore.main(command_line.parse(["restore", "file"]))
    assert steps.done == [] and "is lost: every object of its API" in capfd.readouterr().err
    assert restore.main(command_line.parse(["restore", "file"])) == 0


def test_the_settings_of_that_time_are_shown(steps: Steps, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("file", "--settings") == 0
    shown = capfd.readouterr().out
    assert shown.startswith("# backup of k3s-macvlan/dev of 20") and shown.endswith("config: {}\n")
    assert steps.done == []


def test_what_the_verbs_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "hypervisors", lambda _stack: (True, False))
    assert needs.of(command_line.parse(["backup"])).environment == "preview"
    assert needs.of(command_line.parse(["restore", "file"])).environment == "run"
    assert needs.of(command_line.parse(["restore", "file", "--settings"])).environment == "preview"


def test_nodes_are_ready_when_each_has_k3s(stack: Stack, fake_ssh: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (fake_ssh / "answer").write_text("echo ready\n")
    assert restore._observe(stack, "v1.36.4+k3s1") == nodes(ALL, ALL)
    assert "grep -qF" in (fake_ssh / "arguments").read_text() and " v1.36.4+k3s1 " in (fake_ssh / "arguments").read_text()
    (fake_ssh / "answer").write_text('[[ "$*" == *192.168.122.182* ]] && exit 1 || echo ready\n')
    assert restore._observe(stack, "v1.36.4+k3s1") == nodes(ALL - {"agent-1"}, ALL - {"agent-1"})
    assert "agent-1 does not answer, or K3s is not installed there" in capfd.readouterr().err
    (fake_ssh / "answer").write_text('[[ "$*" == *192.168.122.182* ]] || echo ready\n')
    assert restore._observe(stack, "v1.36.4+k3s1") == nodes(ALL, ALL - {"agent-1"})
    assert "agent-1 has another release of K3s than v1.36.4+k3s1" in capfd.readouterr().err
