"""K3s's CIS hardening guide as options, next to what a user sets; and what contradicts it."""

from __future__ import annotations

from typing import Any

import pytest

from components.config import hardening, k3s_options
from components.config.reading import parse

from .test_conflicts import check

pytestmark = pytest.mark.unit
OLD, NEW = "v1.27.8+k3s2", "v1.36.4+k3s1"


def hardened(version: str = NEW, **k3s: Any) -> dict[str, Any]:
    return {"k3s": {"hardened": True, "version": version, **k3s}}


def merged(role: str, **k3s: Any) -> dict[str, Any]:
    own = parse("dev", hardened(**k3s)).k3s
    given = {**own.config, **(own.server_config if role == "server" else {})}
    return hardening.added(given, hardening.options(own, role))


def test_a_server_has_what_the_guide_requires_of_servers() -> None:
    options = merged("server")
    assert (options["protect-kernel-defaults"], options["secrets-encryption"]) == (True, True)
    assert options["write-kubeconfig-mode"] == "0600"
    assert options["kube-apiserver-arg"] == [
        "enable-admission-plugins=NodeRestriction,EventRateLimit",
        "admission-control-config-file=/etc/rancher/k3s/psa.yaml",
        "audit-log-path=/var/lib/rancher/k3s/server/logs/audit.log",
        "audit-policy-file=/etc/rancher/k3s/audit.yaml",
        "audit-log-maxage=30",
        "audit-log-maxbackup=10",
        "audit-log-maxsize=100",
        "service-account-extend-token-expiration=false",
    ]


@pytest.mark.parametrize(("version", "ended"), [(OLD, 10), ("v1.28.15+k3s1", 10), ("v1.29.0+k3s1", 100), (NEW, 100)])
def test_how_many_ended_pods_are_kept_is_the_guide_s_for_the_release(version: str, ended: int) -> None:
    assert merged("server", version=version)["kube-controller-manager-arg"] == [f"terminated-pod-gc-threshold={ended}"]


@pytest.mark.parametrize("version", [OLD, NEW])
def test_an_agent_has_nothing_of_a_server_s(version: str) -> None:
    """K3s's agent does not start with an option of servers."""
    options = merged("agent", version=version)
    assert options.keys() == {"protect-kernel-defaults", "kubelet-arg"} and options.keys() <= k3s_options.AGENT
    assert options["kubelet-arg"] == merged("server", version=version)["kubelet-arg"]
    names = [hardening.argument_name(argument) for argument in options["kubelet-arg"]]
    assert names == ["streaming-connection-idle-timeout", "tls-cipher-suites", "pod-max-pids"]


def test_every_option_is_one_of_k3s_s() -> None:
    assert merged("server").keys() <= k3s_options.SUPPORTED


@pytest.mark.parametrize("key", ["kubelet-arg", "kubelet-arg+"])
@pytest.mark.parametrize("value", ["max-pods=200", ["max-pods=200"]])
def test_arguments_of_the_user_s_are_added_to(key: str, value: object) -> None:
    options = merged("agent", config={key: value})
    assert key == "kubelet-arg" or key not in options, "K3s reads one of the two"
    assert options["kubelet-arg"] == [*merged("agent")["kubelet-arg"], "max-pods=200"]


def test_what_the_guide_leaves_open_is_the_user_s() -> None:
    options = merged(
        "server",
        config={"kubelet-arg": ["--pod-max-pids=100"]},
        serverConfig={"kube-apiserver-arg": ["audit-log-maxage=7", "audit-policy-file=/etc/mine.yaml"]},
    )
    assert [argument for argument in options["kubelet-arg"] if "pids" in argument] == ["--pod-max-pids=100"]
    api = options["kube-apiserver-arg"]
    assert [argument for argument in api if "maxage" in argument] == ["audit-log-maxage=7"]
    assert [argument for argument in api if "policy" in argument] == ["audit-policy-file=/etc/mine.yaml"]


@pytest.mark.parametrize("name", ["enable-admission-plugins", "enable-admission-plugins+"])
def test_admission_plugins_come_together(name: str) -> None:
    api = merged("server", serverConfig={"kube-apiserver-arg": [f"{name}=AlwaysPullImages"]})["kube-apiserver-arg"]
    plugins = [argument.partition("=")[2] for argument in api if argument.startswith("enable-admission-plugins")]
    assert plugins == ["NodeRestriction,EventRateLimit", "AlwaysPullImages"]


def test_arguments_stay_together_where_k3s_has_two_names_for_them() -> None:
    options = merged("server", serverConfig={"kube-controller-arg": ["v=2"]})
    assert "kube-controller-manager-arg" not in options
    assert options["kube-controller-arg"] == ["terminated-pod-gc-threshold=100", "v=2"]


def test_options_that_are_no_lists_stay_what_they_are() -> None:
    options = merged("server", config={"debug": True}, serverConfig={"disable": ["traefik"], "write-kubeconfig-mode": "0400"})
    assert (options["debug"], options["disable"]) == (True, ["traefik"])
    assert options["write-kubeconfig-mode"] == "0600"


@pytest.mark.parametrize(
    ("raw", "exempt"),
    [
        ({}, ("kube-system",)),
        ({"multus": {"namespace": "multus"}}, ("kube-system", "multus")),
        ({"k3s": {"serverConfig": {"servicelb-namespace": "lb"}}}, ("kube-system", "lb")),
        ({"workload": {"namespace": "web"}}, ("kube-system",)),
        ({"workload": {"namespace": "web", "user": 0}}, ("kube-system", "web")),
    ],
)
def test_namespaces_with_pods_that_must_be_privileged_are_exempt(raw: dict[str, Any], exempt: tuple[str, ...]) -> None:
    assert hardening.exempt_namespaces(parse("dev", raw)) == exempt


NGINX = ("/run", "/var/cache/nginx", "/var/lib/nginx")


@pytest.mark.parametrize(
    ("raw", "user", "directories"),
    [
        ({}, 0, ()),
        ({"workload": {"user": 101}}, 101, NGINX),
        ({"workload": {"user": 65534, "emptyDirs": []}}, 65534, ()),
        ({"workload": {"emptyDirs": ["/tmp"]}}, 0, ("/tmp",)),
        (hardened(), 101, NGINX),
        ({**hardened(), "workload": {"user": 0, "namespace": "web"}}, 0, ()),
        ({**hardened(), "workload": {"user": 1000, "emptyDirs": ["/srv"]}}, 1000, ("/srv",)),
    ],
)
def test_the_pod_s_user_and_directories(raw: dict[str, Any], user: int, directories: tuple[str, ...]) -> None:
    own = hardening.workload(parse("dev", raw))
    assert (own.user, own.empty_dirs) == (user, directories)


# --- what contradicts it

TAKEN_BACK: list[tuple[str, dict[str, Any], str]] = [
    ("k3s.config.protect-kernel-defaults", {"config": {"protect-kernel-defaults": False}}, "the value of protect-kernel-defaults"),
    ("k3s.serverConfig.secrets-encryption", {"serverConfig": {"secrets-encryption": "false"}}, "the value of secrets-encryption"),
    ("k3s.serverConfig.write-kubeconfig-mode", {"serverConfig": {"write-kubeconfig-mode": "0644"}}, "write-kubeconfig-mode"),
    ("k3s.serverConfig.disable-network-policy", {"serverConfig": {"disable-network-policy": True}}, "disable-network-policy"),
    ("k3s.config.kubelet-arg+", {"config": {"kubelet-arg+": "protect-kernel-defaults=false"}}, "protect-kernel-defaults"),
    ("k3s.config.kubelet-arg", {"config": {"kubelet-arg": ["streaming-connection-idle-timeout=0s"]}}, "streaming-connection"),
    ("k3s.config.kubelet-arg", {"config": {"kubelet-arg": ["--anonymous-auth"]}}, "its argument anonymous-auth"),
    ("k3s.serverConfig.kube-apiserver-arg",
     {"serverConfig": {"kube-apiserver-arg": ["admission-control-config-file=/etc/mine.yaml"]}}, "admission-control-config-file"),
    ("k3s.serverConfig.kube-apiserver-arg",
     {"serverConfig": {"kube-apiserver-arg": ["disable-admission-plugins=DefaultStorageClass,PodSecurity"]}},
     "its argument disable-admission-plugins"),
    ("k3s.serverConfig.kube-apiserver-arg",
     {"serverConfig": {"kube-apiserver-arg": ["service-account-extend-token-expiration=true"]}}, "service-account-extend"),
    ("k3s.serverConfig.kube-controller-arg",
     {"serverConfig": {"kube-controller-arg": ["terminated-pod-gc-threshold=0"]}}, "terminated-pod-gc-threshold"),
]  # fmt: skip


@pytest.mark.parametrize(("setting", "k3s", "what"), TAKEN_BACK, ids=[f"{row[0]} {row[2]}" for row in TAKEN_BACK])
def test_what_takes_a_part_back_is_refused(setting: str, k3s: dict[str, Any], what: str) -> None:
    (problem,) = check(hardened(**k3s))
    assert problem.startswith(f"{setting}: ") and what in problem and "takes back a part of k3s.hardened; remove it" in problem
    assert check({"k3s": {**k3s, "version": NEW}}) == []


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (hardened("v1.24.17+k3s1"), "k3s.hardened = True: needs PodSecurity, which K3s has from v1.25 on"),
        ({**hardened(), "multus": {"namespace": "default"}}, "multus.namespace = 'default': is exempt from PodSecurity"),
        ({**hardened(), "workload": {"user": 0}}, "workload.user = 0: would exempt the namespace default from PodSecurity"),
    ],
)
def test_what_it_would_break_is_refused(raw: dict[str, Any], problem: str) -> None:
    (text,) = check(raw)
    assert text.startswith(problem)
    assert check({**raw, "k3s": {"version": raw["k3s"]["version"]}}) == []


def test_what_leaves_it_as_it_is_is_allowed() -> None:
    k3s: dict[str, Any] = {
        "config": {"kubelet-arg": ["streaming-connection-idle-timeout=10m", "read-only-port=0", "protect-kernel-defaults=true"]},
        "serverConfig": {
            "kube-apiserver-arg": ["disable-admission-plugins=DefaultStorageClass", "anonymous-auth=false", "profiling=false"],
            "disable-network-policy": False,
            "write-kubeconfig-mode": "400",
        },
    }
    assert check(hardened(**k3s)) == []
