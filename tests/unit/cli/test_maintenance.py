"""`lab drain`, `uncordon` and `reboot`: what is done in which order, and what is said where it ends on the way."""

from __future__ import annotations

import argparse
import json
import subprocess
import time
import urllib.error
from collections.abc import Mapping, Sequence
from email.message import Message
from typing import Any

import pytest

from cli import backend as backends
from cli import (
    consent,
    draining,
    engine,
    kube,
    locks,
    maintenance,
    networks,
    node_scripts,
    own_pods,
    process,
    selection,
    server_turn,
    stack,
)
from cli.errors import LabError
from cli.maintenance import Api, Maintenance, apis, by_address
from cli.server_turn import Turn
from cli.verbs import drain, reboot, ssh, uncordon
from components.config import plan as plans
from components.config import reading
from components.custom import page_check

from .test_draining import OWN
from .test_stack import NODE, OUTPUTS, PAGE

pytestmark = pytest.mark.unit

KUBECONFIG = "clusters:\n- cluster:\n    server: https://192.168.122.180:6443\n"
AGENT = {**NODE, "name": "agent-1", "role": "agent", "address": "192.168.122.199", "domain": "k3s-macvlan-dev-agent-1"}


def options(node: str, *, force: bool = False, yes: bool = True) -> argparse.Namespace:
    return argparse.Namespace(stack="dev", node=node, force=force, yes=yes)


class Cluster:
    """A server and an agent, the stack's pod and one of others on the server, and all that is done, in order."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.cordoned: set[str] = set()
        self.down: set[str] = set()
        self.boot = "boot-1"
        self.pods: dict[str, dict[str, Any]] = {}
        self.add("nginx-macvlan", "server-1", **OWN)
        self.pods["nginx-macvlan"]["metadata"]["annotations"] |= {networks.STATUS: status("192.168.122.200")}
        self.add("web-1", "server-1", ownerReferences=[{"kind": "ReplicaSet", "name": "web", "controller": True}])
        self.kept: set[str] = set()
        """Pods that do not end."""
        self.fails: Mapping[str, BaseException] = {}
        """By what is done: what comes of it."""
        self.address = "192.168.122.200"
        """Of the stack's pod after the reboot."""

    def add(self, name: str, node: str, **meta: Any) -> None:
        self.pods[name] = {
            "metadata": {"namespace": "default", "name": name, "uid": name, **json.loads(json.dumps(meta))},
            "spec": {"nodeName": node},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"state": {"running": {"startedAt": "before"}}}],
            },
        }

    def act(self, what: str) -> None:
        self.done.append(what)
        if what in self.fails:
            raise self.fails[what]

    def get(self, path: str) -> Any:
        if path == "/api/v1/nodes":
            return {"items": [self.node(name) for name in ("server-1", "agent-1")]}
        if path.startswith("/api/v1/pods?"):
            return {"items": [pod for pod in self.pods.values() if path.endswith(f"%3D{pod['spec']['nodeName']}")]}
        return {"items": list(self.pods.values()) if path.endswith("/pods") else []}

    def node(self, name: str) -> dict[str, Any]:
        labels = {"node-role.kubernetes.io/etcd": "true"} if name.startswith("server") else {}
        return {
            "metadata": {"name": name, "labels": labels},
            "spec": {"unschedulable": True} if name in self.cordoned else {},
            "status": {"conditions": [{"type": "Ready", "status": str(name not in self.down)}]},
        }

    def send(self, method: str, path: str, document: Any) -> None:
        name = path.split("/")[-2 if method == "POST" else -1]
        if method == "POST":
            self.act(f"evict {name}")
            if name not in self.kept:
                del self.pods[name]
            return
        on = document["spec"]["unschedulable"] is not None
        self.act(f"{'cordon' if on else 'uncordon'} {name}")
        (self.cordoned.add if on else self.cordoned.discard)(name)

    def gather(self, _stack: Any, nodes: Sequence[stack.Node], command: Sequence[str], *_: Any, **__: Any) -> Any:
        assert command[-1].endswith("boot_id")
        return {node.name: ssh.Answer(text=f"{self.boot}\n") for node in nodes}

    def ssh(self, _stack: Any, node: stack.Node, words: Sequence[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert list(words) == ["sudo", "-n", "systemctl", "reboot"]
        self.act(f"restart {node.name}")
        self.boot = "boot-2"
        for pod in self.pods.values():
            if pod["spec"]["nodeName"] == node.name:
                pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"] = "after"
                pod["metadata"].setdefault("annotations", {})[networks.STATUS] = status(self.address)
        return subprocess.CompletedProcess([], 255, "", "")

    def script(self, _stack: Any, run: node_scripts.Run) -> str:
        assert "FREE" not in run.environment and "BOOKED" not in run.environment
        self.act(f"{run.name} {run.node.name}")
        return ""

    def make_again(self, _stack: str, namespace: str, names: Sequence[str]) -> None:
        assert namespace == "default"
        self.act(f"up {' '.join(names)}")


def status(address: str) -> str:
    return json.dumps([{"name": "default/macvlan-conf", "interface": "net1", "ips": [address], "mac": "02:00:00:00:00:01"}])


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    outputs = {**OUTPUTS, "nodes": [NODE, AGENT], "kubeconfig": KUBECONFIG}
    config = reading.parse("dev", {"agents": {"count": 1}, "timeouts": {"drain": 1}})
    monkeypatch.setattr(selection, "for_reading", lambda _name: None)
    monkeypatch.setattr(stack, "read", lambda name: stack.parse_outputs(name, outputs))
    monkeypatch.setattr(stack, "read_settings", lambda _name: (config, plans.make("k3s-macvlan", "dev", config)))
    monkeypatch.setattr(Api, "ready", lambda _api: True)
    monkeypatch.setattr(Api, "get", lambda _api, path: made.get(path))
    monkeypatch.setattr(Api, "send", lambda _api, *words: made.send(*words))
    monkeypatch.setattr(own_pods, "make_again", made.make_again)
    monkeypatch.setattr(ssh, "gather", made.gather)
    monkeypatch.setattr(ssh, "run", made.ssh)
    monkeypatch.setattr(node_scripts, "printed", made.script)
    monkeypatch.setattr(ssh, "is_open", lambda *_: True)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)

    def prove(url: str, title: str, _limit: float) -> tuple[int, str]:
        made.act(f"fetch {url}")
        return 200, title

    monkeypatch.setattr(page_check, "prove", prove)
    return made


def test_a_drain_evicts_and_makes_the_stack_s_own_pod_elsewhere(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert drain.main(options("server-1")) == 0
    assert cluster.done == ["cordon server-1", "evict nginx-macvlan", "evict web-1", "up nginx-macvlan"]
    said = capsys.readouterr().err
    assert "1 pods are evicted, and are made again on other nodes" in said
    assert "default/nginx-macvlan: may get another address than 192.168.122.200 on default/macvlan-conf" in said
    assert "is drained. Back into service: ./lab uncordon server-1" in said


def test_whoever_says_no_changes_nothing(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent, "given", lambda _question, *, yes: yes)
    assert drain.main(options("server-1", yes=False)) == 1
    assert reboot.main(options("server-1", yes=False)) == 1
    assert cluster.done == []


def test_pods_that_would_be_lost_are_named_unless_it_is_forced(cluster: Cluster) -> None:
    cluster.add("by-hand", "server-1")
    with pytest.raises(LabError, match=r"nothing makes them again: default/by-hand.*--force"):
        drain.main(options("server-1"))
    assert cluster.done == []
    assert drain.main(options("server-1", force=True)) == 0
    assert "evict by-hand" in cluster.done


def test_pods_that_come_onto_the_node_until_it_is_cordoned_leave_it_too(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the user reads the question, or at the same moment."""

    def answer(_question: str, *, yes: bool) -> bool:
        cluster.add("web-2", "server-1", ownerReferences=[{"kind": "ReplicaSet", "name": "web", "controller": True}])
        return yes

    monkeypatch.setattr(consent, "given", answer)
    assert drain.main(options("server-1")) == 0
    assert "evict web-2" in cluster.done


@pytest.mark.parametrize("before", [False, True], ids=["in service", "cordoned before"])
def test_a_pod_that_would_be_lost_and_came_after_the_question_stops_it(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    cluster.cordoned.update({"server-1"} if before else ())

    def answer(_question: str, *, yes: bool) -> bool:
        cluster.add("by-hand", "server-1")
        return yes

    monkeypatch.setattr(consent, "given", answer)
    with pytest.raises(LabError, match=r"nothing makes them again: default/by-hand.*--force"):
        drain.main(options("server-1"))
    assert cluster.done == ["cordon server-1", *([] if before else ["uncordon server-1"])]
    del cluster.pods["by-hand"]
    assert drain.main(options("server-1", force=True)) == 0


def test_pods_that_do_not_end_stop_it_unless_it_is_forced(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr(draining.drain, "__kwdefaults__", {"clock": lambda: float(next(clock))})
    cluster.kept = {"web-1"}
    with pytest.raises(LabError, match=r"not all pods of server-1 ended within timeouts\.drain = 1 s: default/web-1"):
        reboot.main(options("server-1"))
    assert "restart server-1" not in cluster.done
    assert "server-1 is cordoned, and pods may have left it: ./lab uncordon server-1" in capsys.readouterr().err
    assert reboot.main(options("server-1", force=True)) == 0
    assert "restart server-1" in cluster.done


def test_a_server_waits_for_the_others(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.cordoned.add("agent-1")
    monkeypatch.setattr(kube, "nodes", lambda _document: [kube.KubeNode(name="agent-1", ready=True, version="")])
    with pytest.raises(LabError, match="server-1 is left as it is, one server at a time: server-1 is no node of the cluster yet"):
        drain.main(options("server-1"))


@pytest.mark.parametrize("before", [False, True], ids=["in service", "cordoned before"])
@pytest.mark.parametrize("verb", [drain.main, reboot.main])
def test_of_two_who_begin_at_once_neither_takes_its_server_out(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: Any, before: bool
) -> None:
    """Each has found the other's server in service, before it was asked."""
    cluster.cordoned.update({"server-1"} if before else ())
    monkeypatch.setattr(server_turn, "turn", lambda *_: Turn(refusals=("server-2 is cordoned",) if cluster.done else ()))
    with pytest.raises(LabError, match="server-1 is left as it is, one server at a time: server-2 is cordoned"):
        verb(options("server-1"))
    assert cluster.done == ["cordon server-1", *([] if before else ["uncordon server-1"])]
    assert "server-1 is as it was" in capsys.readouterr().err


def test_a_server_that_is_lost_while_another_drains_stops_the_reboot(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = Turn(refusals=("server-2 is not Ready",))
    monkeypatch.setattr(server_turn, "turn", lambda *_: lost if "evict web-1" in cluster.done else Turn())
    with pytest.raises(LabError, match="server-1 is drained and not restarted, one server at a time: server-2 is not Ready"):
        reboot.main(options("server-1"))
    assert "restart server-1" not in cluster.done
    assert "server-1 is cordoned, and pods may have left it: ./lab uncordon server-1" in capsys.readouterr().err


REBOOTED = ["k3s-node-ready.sh server-1", "multus-gate.sh server-1", "network-check.sh server-1", "uncordon server-1"]


def test_a_reboot_drains_restarts_checks_and_lets_pods_back(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.cordoned.add("agent-1")  # so that the stack's own pod stays
    assert reboot.main(options("server-1")) == 0
    assert cluster.done == ["cordon server-1", "evict web-1", "restart server-1", *REBOOTED, f"fetch {PAGE['url']}"]
    said = capsys.readouterr().err
    assert "server-1 is the only server: the Kubernetes API goes for the time of the reboot" in said
    assert "default/nginx-macvlan: it is the stack's own, and no other node takes it" in said
    assert cluster.cordoned == {"agent-1"}


def test_a_pod_that_moved_is_served_elsewhere_before_the_node_restarts(cluster: Cluster) -> None:
    assert reboot.main(options("server-1")) == 0
    assert cluster.done.index("up nginx-macvlan") < cluster.done.index("restart server-1")
    assert cluster.done[-1] == "uncordon server-1"


def test_another_address_after_the_reboot_is_read_by_a_run(cluster: Cluster) -> None:
    cluster.cordoned.add("agent-1")
    cluster.address = "192.168.122.201"
    assert reboot.main(options("server-1")) == 0
    assert cluster.done[-3:] == ["uncordon server-1", "up nginx-macvlan", f"fetch {PAGE['url']}"]


def test_a_node_that_was_cordoned_stays_so(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.cordoned.add("server-1")
    assert reboot.main(options("server-1")) == 0
    assert "uncordon server-1" not in cluster.done and "server-1" in cluster.cordoned
    assert "server-1 was cordoned before, and is again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("cordon server-1", "server-1 is as it was"),
        ("evict web-1", "server-1 is cordoned, and pods may have left it: ./lab uncordon server-1 lets pods onto it again"),
        ("restart server-1", "server-1 is cordoned and may be restarting: ./lab status says when it is Ready, then ./lab uncordon"),
        ("multus-gate.sh server-1", "then ./lab uncordon server-1, or ./lab reboot server-1 again"),
        (f"fetch {PAGE['url']}", "server-1 takes pods again"),
    ],
)
def test_cut_off_it_says_what_holds(cluster: Cluster, at: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.cordoned.add("agent-1")
    cluster.fails = {at: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        reboot.main(options("server-1"))
    assert said in capsys.readouterr().err


def test_an_api_that_falls_silent_is_an_error_with_what_holds(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.fails = {"cordon server-1": OSError("connection refused")}
    with pytest.raises(LabError, match=r"the Kubernetes API does not answer any more, or refuses: connection refused"):
        drain.main(options("server-1"))
    assert "server-1 is as it was" in capsys.readouterr().err


def test_a_machine_that_does_not_shut_down_is_named_at_the_limit(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1_000_000, 50))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    job = maintenance.begin(options("server-1"))
    with pytest.raises(LabError, match=r"did not boot within timeouts\.shutdown \+ timeouts\.boot = 90 s: it has not shut down"):
        reboot.wait_for_boot(job, "boot-1", 90)


def test_a_pod_that_does_not_run_again_is_named_at_the_limit(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1_000_000, 50))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    job = maintenance.begin(options("server-1"))
    with pytest.raises(LabError, match=r"nginx-macvlan does not run again within timeouts\.pod = 90 s.*describe pod nginx-macvlan"):
        reboot.wait_for_pods(job, {"nginx-macvlan": "before"}, 90)
    del cluster.pods["nginx-macvlan"]
    assert reboot.wait_for_pods(job, {"nginx-macvlan": "before"}, 90) == ["nginx-macvlan"]


def test_uncordon_brings_the_stack_s_own_pod_back(cluster: Cluster) -> None:
    cluster.cordoned.add("server-1")
    assert uncordon.main(options("server-1")) == 0
    assert cluster.done == ["uncordon server-1"]
    del cluster.pods["nginx-macvlan"]
    assert uncordon.main(options("server-1")) == 0
    assert cluster.done[-1] == "up nginx-macvlan"
    cluster.down.add("server-1")
    with pytest.raises(LabError, match="server-1 is not Ready, so no pod comes yet"):
        uncordon.main(options("server-1"))


def test_without_an_api_nothing_is_begun(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Api, "ready", lambda _api: False)
    for main in (drain.main, uncordon.main, reboot.main):
        with pytest.raises(LabError, match=r"the Kubernetes API does not answer.*\./lab ssh server-1 sudo reboot"):
            main(options("server-1"))
    assert cluster.done == []


def test_the_api_of_a_server_that_restarts_is_queried_last() -> None:
    second = {**NODE, "name": "server-2", "address": "192.168.122.181"}
    of = stack.parse_outputs("dev", {**OUTPUTS, "nodes": [NODE, second, AGENT], "kubeconfig": KUBECONFIG})
    first, other = KUBECONFIG, by_address(KUBECONFIG, "192.168.122.181")
    assert "https://192.168.122.181:6443\n" in other
    assert [api.kubeconfig for api in apis(of, of.node("server-1"))] == [other, first]
    assert [api.kubeconfig for api in apis(of, of.node("server-2"))] == [first, other]
    virtual = by_address(KUBECONFIG, "192.168.122.170")
    of = stack.parse_outputs("dev", {**OUTPUTS, "nodes": [NODE, second], "kubeconfig": virtual})
    assert next(iter(apis(of, of.node("server-1")))).kubeconfig == virtual


def test_what_the_api_refuses_is_not_tried_again() -> None:
    calls = 0

    def refuse() -> None:
        nonlocal calls
        calls += 1
        raise urllib.error.HTTPError("", 403, "Forbidden", Message(), None)

    with pytest.raises(urllib.error.HTTPError):
        maintenance.attempt(refuse, 60, "waiting")
    assert calls == 1


def test_a_run_is_limited_to_the_pods_that_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def resource(name: str, namespace: str, kind: str = "kubernetes:core/v1:Pod") -> dict[str, Any]:
        metadata = {"name": name, "namespace": namespace}
        return {"urn": f"urn::{namespace}/{name}", "type": kind, "inputs": {"metadata": metadata}}

    state = {
        "deployment": {
            "resources": [
                resource("a", "default"),
                resource("b", "default"),
                resource("a", "other"),
                resource("a", "default", "kubernetes:core/v1:ConfigMap"),
                {"urn": "urn::stack", "type": "pulumi:pulumi:Stack"},
            ]
        }
    }
    ran: list[Sequence[str]] = []
    status = iter((0, 1))
    monkeypatch.setattr(stack, "pulumi_json", lambda *_: state)
    monkeypatch.setattr(backends, "use", lambda _stack: None)
    monkeypatch.setattr(engine, "install_plugins", lambda: None)
    monkeypatch.setattr(locks, "release_and_report", lambda *_: None)
    monkeypatch.setattr(selection, "existing", lambda *_: ["-s", "dev"])

    def run(words: Sequence[str]) -> int:
        ran.append(words)
        return next(status)

    monkeypatch.setattr(process, "run", run)
    own_pods.make_again("dev", "default", ["a"])
    (words,) = ran
    assert words[:4] == ["pulumi", "up", "-s", "dev"]
    assert [word for word in words if word.startswith("urn")] == ["urn::default/a"]
    assert {"--refresh", "--target-dependents", "--yes", "--skip-preview"} <= set(words)
    with pytest.raises(LabError, match=r"a is not served yet.*up --refresh"):
        own_pods.make_again("dev", "default", ["a"])
    own_pods.make_again("dev", "elsewhere", ["a"])
    assert len(ran) == 2, "where the state has no such pod nothing is run"


def test_a_maintenance_shows_no_secret(cluster: Cluster) -> None:
    job: Maintenance = maintenance.begin(options("server-1"))
    assert "PRIVATE" not in repr(job) and "6443" not in repr(job)
