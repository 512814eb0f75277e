"""What a command costs, with all that it starts; and the copy of the checkout that a benchmark runs in."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from bench import checkout, process, scale
from bench.checkout import ROOT, BenchError, Checkout, clean_environment, pod_network, stack_document
from bench.compare import settings_of
from components.config.raw import from_document
from components.config.reading import parse

pytestmark = pytest.mark.unit

BURN = "import time\nwhile time.process_time() < 0.3: pass\n"


def measure(tmp_path: Path, text: str) -> process.Cost:
    return process.measure([sys.executable, "-c", text], cwd=tmp_path, environment=dict(os.environ))


def test_output_and_status_are_those_of_the_command(tmp_path: Path) -> None:
    cost = measure(tmp_path, "import os, sys\nprint(os.getcwd(), flush=True)\nprint('bad', file=sys.stderr)\nsys.exit(3)")
    assert (cost.status, cost.output) == (3, f"{tmp_path}\nbad\n")


def test_cpu_time_is_that_of_children_and_of_orphans_too(tmp_path: Path) -> None:
    orphan = "import os\nif os.fork():\n    os._exit(0)\nos.close(1)\nos.close(2)\n" + BURN
    child = f"import subprocess, sys\nfor text in ({BURN!r}, {orphan!r}): subprocess.run([sys.executable, '-c', text])"
    assert measure(tmp_path, child).cpu >= 0.6


def test_memory_is_that_of_the_whole_tree(tmp_path: Path) -> None:
    held = "import sys\nkept = bytearray(b'x') * (64 * 2**20)\nprint('held', flush=True)\nsys.stdin.read()\n"
    text = (
        "import subprocess, sys, time\npipe = subprocess.PIPE\n"
        f"held = [subprocess.Popen([sys.executable, '-c', {held!r}], stdin=pipe, stdout=pipe) for _ in range(2)]\n"
        "for each in held: each.stdout.readline()\n"
        "time.sleep(1.5)\nfor each in held: each.communicate()\n"
    )
    cost = measure(tmp_path, text)
    assert cost.memory >= 128
    assert cost.without_engine == cost.memory, "nothing of it was the engine"


def test_peaks_are_of_one_moment_and_the_engine_stands_apart() -> None:
    moments = iter([{1: ("pulumi", 100.0), 2: ("python", 50.0)}, {1: ("pulumi", 20.0), 3: ("python", 80.0)}])
    peaks = process.Peaks(lambda _root: next(moments))
    peaks.sample(1)
    peaks.sample(1)
    assert (peaks.together, peaks.without_engine) == (150.0, 80.0)


def test_watching_takes_little_of_what_is_measured() -> None:
    samples: list[float] = []

    def slow(_root: int) -> dict[int, tuple[str, float]]:
        begin = time.thread_time()
        while time.thread_time() - begin < 0.05:
            pass
        samples.append(time.monotonic())
        return {}

    peaks = process.Peaks(slow)
    watch = threading.Thread(target=peaks.watch, args=(0,))
    watch.start()
    time.sleep(1.5)
    peaks.done.set()
    watch.join(10)
    assert len(samples) == 1, "the next would be after 2.5 s"


def test_figures_are_numbers_for_json(tmp_path: Path) -> None:
    assert measure(tmp_path, "pass").figures().keys() == {"seconds", "cpu", "memory", "beside"}


# --- the copy


def test_the_copy_is_what_git_knows_and_keeps_its_state(tmp_path: Path) -> None:
    place = tmp_path / "copy"
    (place / ".lab").mkdir(parents=True)
    (place / ".lab/state").write_text("kept")
    (place / "left.over").write_text("")
    (place / "components").mkdir()
    copy = checkout.prepare(place)
    assert copy.path == place
    assert (place / "__main__.py").read_bytes() == (ROOT / "__main__.py").read_bytes()
    assert os.access(place / "lab", os.X_OK) and (place / "components/config/plan.py").exists()
    assert (place / ".lab/state").read_text() == "kept" and not (place / "left.over").exists()
    assert (place / ".venv").is_symlink()


def test_no_login_of_the_user_s_reaches_a_benchmark() -> None:
    environment = {"PULUMI_ACCESS_TOKEN": "x", "PULUMI_BACKEND_URL": "s3://x", "PULUMI_HOME": "/home", "PATH": "/bin"}
    assert clean_environment(environment) == {"PULUMI_HOME": "/home", "PATH": "/bin"}


def lab(tmp_path: Path, text: str) -> Checkout:
    (tmp_path / "lab").write_text(f"#!/bin/sh\n{text}\n")
    (tmp_path / "lab").chmod(0o755)
    return Checkout(path=tmp_path, environment=dict(os.environ))


def test_lab_is_called_as_a_user_calls_it(tmp_path: Path) -> None:
    done = lab(tmp_path, 'echo "$*" "$MORE"').lab("bench", "up", "--diff", MORE="more")
    assert done.output == "-s bench -y up --diff more\n"


def test_a_failed_lab_is_reported_with_its_output(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"(?s)\./lab -s bench -y up ended with status 4:\nno such network"):
        lab(tmp_path, "echo no such network >&2; exit 4").lab("bench", "up")
    with pytest.raises(BenchError, match="stack export ended with status 4"):
        lab(tmp_path, "exit 4").pulumi("stack", "export")


def test_only_a_state_that_is_there_is_forgotten(tmp_path: Path) -> None:
    copy = lab(tmp_path, 'echo "$*" >> calls')
    copy.forget("bench-1")
    assert not (tmp_path / "calls").exists()
    state = tmp_path / ".lab/state/.pulumi/stacks/k3s-macvlan/bench-1.json"
    state.parent.mkdir(parents=True)
    state.touch()
    copy.forget("bench-1")
    assert (tmp_path / "calls").read_text() == "pulumi stack rm --force --yes -s bench-1\n"


def test_a_stack_s_fields_are_changed_and_its_salt_left_out(tmp_path: Path) -> None:
    base = tmp_path / "Pulumi.x.yaml"
    base.write_text("encryptionsalt: abc\nconfig:\n  k3s-macvlan:k3s:\n    version: v1.27.8+k3s2\n")
    document = stack_document(base, {"k3s": {"apiAddress": "a"}, "agents": {"count": 2}})
    assert document == {
        "config": {
            "k3s-macvlan:k3s": {"version": "v1.27.8+k3s2", "apiAddress": "a"},
            "k3s-macvlan:agents": {"count": 2},
        }
    }


def test_a_stack_file_is_read_as_pulumi_reads_it(tmp_path: Path) -> None:
    base = tmp_path / "Pulumi.x.yaml"
    base.write_text("config:\n  agents: {cpus: 4, overrides: {agent-1: {mac: 52:54:00:12:34:56}}}\n")
    fields = {"cpus": 4, "overrides": {"agent-1": {"mac": "52:54:00:12:34:56"}}, "count": 1}
    assert stack_document(base, {"agents": {"count": 1}}) == {"config": {"k3s-macvlan:agents": fields}}


def test_what_a_mapping_in_a_setting_holds_stays(tmp_path: Path) -> None:
    base = tmp_path / "Pulumi.x.yaml"
    base.write_text("config:\n  podNetworks: {lan: {range: 10.0.0.1, mtu: 1400}, iot: {vlan: 5}}\n  k3s: {registries: {}}\n")
    document = stack_document(base, {"podNetworks": {"lan": {"range": "10.0.0.2"}}, "k3s": {"registries": None, "version": "v"}})
    assert document["config"] == {
        "k3s-macvlan:podNetworks": {"lan": {"range": "10.0.0.2", "mtu": 1400}, "iot": {"vlan": 5}},
        "k3s-macvlan:k3s": {"registries": None, "version": "v"},
    }


def test_the_one_network_of_a_stack_is_known_by_its_name() -> None:
    assert pod_network({}) == pod_network({"config": {"k3s-macvlan:podNetworks": None}}) == scale.DEFAULT_NETWORK
    assert pod_network({"config": {"k3s-macvlan:podNetworks": {"lan": {}}}}) == "lan"
    with pytest.raises(BenchError, match=r"networks lan, iot .*take one with a single network"):
        pod_network({"config": {"k3s-macvlan:podNetworks": {"lan": {}, "iot": {}}}})


@pytest.mark.parametrize("nodes", [1, 5, 20, 100])
@pytest.mark.parametrize("stack", ["cn", "dev", "testnet-stand-in"])
def test_stacks_of_any_size_are_valid_and_reach_nothing_real(stack: str, nodes: int) -> None:
    document = stack_document(ROOT / f"Pulumi.{stack}.yaml", scale.changes(nodes))
    own = stack_document(ROOT / f"Pulumi.{stack}.yaml", {})["config"].get("k3s-macvlan:podNetworks", {}).get("macvlan-conf", {})
    changed = (document["config"].get("k3s-macvlan:podNetworks") or {}).get("macvlan-conf", {})
    assert {name: own[name] for name in own.keys() - {"range"}}.items() <= changed.items(), "else another program is measured"
    settings, plan = settings_of(document, f"bench-{nodes}")
    assert (len(plan.nodes), len(plan.pods)) == (nodes, nodes)
    assert {pool.uri for pool in plan.pools} == {"test:///default"}
    assert settings == parse("x", from_document(document, "k3s-macvlan").values)
