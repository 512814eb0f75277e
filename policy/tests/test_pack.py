"""The pack as Pulumi's engine calls it: over the analyzer's messages, with what a preview does not know yet."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pulumi.runtime
import pytest
from pulumi.runtime import proto
from pulumi_policy import EnforcementLevel
from pulumi_policy.policy import _PolicyAnalyzerServicer
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE
from rules import pack

pytestmark = pytest.mark.unit

CLAIM = ("pulumi-python:dynamic/libvirt:DhcpClaim", {"ranges": ["192.168.122.180-192.168.122.199"]})
NETWORK = {
    "name": "macvlan-conf",
    "ipam": {
        "type": "host-local",
        "subnet": "192.168.122.0/24",
        "rangeStart": "192.168.122.200",
        "rangeEnd": "192.168.122.210",
        "routes": [{"dst": "0.0.0.0/0"}],
    },
}
NAD = ("kubernetes:k8s.cni.cncf.io/v1:NetworkAttachmentDefinition", {"spec": {"config": json.dumps(NETWORK)}})
PRIVILEGED = (
    "kubernetes:core/v1:Pod",
    {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "a:1", "securityContext": {"privileged": True}}]}},
)
SECRET = "1b47061264138c4ac30d75fd1eb44270"  # Pulumi's mark of a secret value


@pytest.fixture(autouse=True)
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A stack's configuration as the engine gives it to a pack."""
    for name, value in {"PROJECT": "k3s-macvlan", "STACK": "dev", "DRY_RUN": "true"}.items():
        monkeypatch.setenv(f"PULUMI_{name}", value)
    monkeypatch.setenv("PULUMI_CONFIG", "{}")
    pulumi.runtime.set_all_config({})
    yield
    pulumi.runtime.set_all_config({})


def servicer() -> Any:
    return _PolicyAnalyzerServicer(pack.NAME, "1.0.0", pack.policies(), EnforcementLevel.ADVISORY)


def analyze(analyzer: Any, kind: str, props: dict[str, Any], urn: str = "urn::x") -> dict[str, Any]:
    request = proto.AnalyzeRequest(type=kind, urn=urn, name="x")
    request.properties.update(props)
    answer = analyzer.Analyze(request, None)
    return {diagnostic.policyName: diagnostic for diagnostic in answer.diagnostics}


def configure(analyzer: Any, policy: str, props: dict[str, Any]) -> None:
    """As --policy-pack-config does, at the level mandatory."""
    config = proto.PolicyConfig(enforcementLevel=proto.MANDATORY)
    config.properties.update(props)
    analyzer.Configure(proto.ConfigureAnalyzerRequest(policyConfig={policy: config}), None)


def test_the_pack_requires_what_the_project_requires() -> None:
    """It runs in the project's environment; its own list serves who publishes it."""
    folder = Path(__file__).parents[1]
    requirements = [line for line in (folder / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    project = {line.split()[0] for line in (folder.parent / "requirements.txt").read_text().splitlines() if line.strip()}
    assert set(requirements) <= project


def test_every_policy_says_what_it_is_for() -> None:
    info = servicer().GetAnalyzerInfo(None, None)
    assert len({policy.name for policy in info.policies}) == len(info.policies) == 11
    assert all(policy.description.endswith(".") for policy in info.policies)
    advisory = {policy.name for policy in info.policies if policy.enforcementLevel == proto.ADVISORY}
    assert advisory == {"image-not-latest", "checksum-by-value", "install-script-verified"}


def test_a_violation_is_mandatory_and_says_where() -> None:
    diagnostics = analyze(servicer(), *PRIVILEGED)
    assert list(diagnostics) == ["no-privileged-pod"]
    assert diagnostics["no-privileged-pod"].enforcementLevel == proto.MANDATORY
    assert "container c of Pod/p" in diagnostics["no-privileged-pod"].message


def test_what_may_be_privileged_is_configured() -> None:
    analyzer = servicer()
    configure(analyzer, "no-privileged-pod", {"allowed": ["Pod/p"]})
    assert not analyze(analyzer, *PRIVILEGED)


def test_a_level_is_configured() -> None:
    analyzer, pod = servicer(), {"spec": {"containers": [{"name": "c", "image": "nginx:latest"}]}}
    assert analyze(analyzer, "kubernetes:core/v1:Pod", pod)["image-not-latest"].enforcementLevel == proto.ADVISORY
    configure(analyzer, "image-not-latest", {})
    assert analyze(analyzer, "kubernetes:core/v1:Pod", pod)["image-not-latest"].enforcementLevel == proto.MANDATORY


def test_a_default_route_needs_the_setting_or_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no-default-route" in analyze(servicer(), *NAD)
    analyzer = servicer()
    configure(analyzer, "no-default-route", {"acknowledged": ["macvlan-conf"]})
    assert not analyze(analyzer, *NAD)
    for setting, broken in (
        ({"macvlan-conf": {"defaultRoute": True}}, False),
        ({"another": {}, "macvlan-conf": {"defaultRoute": True}}, False),
        ({"macvlan-conf": {"clusterRoutes": True}}, False),
        ({"macvlan-conf": {"defaultRoute": False}}, True),
        ({"macvlan-conf": {"defaultRoute": "true"}}, True),
        ({"macvlan-conf": None}, True),
        ({"another": {"defaultRoute": True}}, True),
        ({}, True),
        (["macvlan-conf"], True),
    ):
        monkeypatch.setenv("PULUMI_CONFIG", json.dumps({"k3s-macvlan:podNetworks": json.dumps(setting)}))
        assert ("no-default-route" in analyze(servicer(), *NAD)) is broken, setting


def test_a_route_into_the_cluster_needs_the_setting_or_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    def nad(route: str) -> tuple[str, dict[str, Any]]:
        config = {"name": "lan", "type": "macvlan", "ipam": {"type": "static", "routes": [{"dst": route}]}}
        return NAD[0], {"spec": {"config": json.dumps(config)}}

    assert list(analyze(servicer(), *nad("10.0.0.0/8"))) == ["no-cluster-route"]
    assert not analyze(servicer(), *nad("10.9.0.0/16"))
    analyzer = servicer()
    configure(analyzer, "no-cluster-route", {"acknowledged": ["lan"]})
    assert not analyze(analyzer, *nad("10.0.0.0/8"))
    halves = nad("0.0.0.0/1")
    assert list(analyze(servicer(), *halves)) == ["no-default-route"]
    for settings, route, broken in (
        ({"podNetworks": {"lan": {"clusterRoutes": True}}}, "10.0.0.0/8", False),
        ({"podNetworks": {"lan": {"clusterRoutes": True}}}, "0.0.0.0/1", False),
        ({"podNetworks": {"lan": {"defaultRoute": True}}}, "10.0.0.0/8", True),
        ({"podNetworks": {"iot": {"clusterRoutes": True}}}, "10.0.0.0/8", True),
        ({"k3s": {"podCidr": "10.9.0.0/16"}}, "10.9.1.0/24", True),
        ({"k3s": {"podCidr": "172.30.0.0/16"}}, "10.42.0.0/16", False),
    ):
        monkeypatch.setenv(
            "PULUMI_CONFIG", json.dumps({f"k3s-macvlan:{key}": json.dumps(value) for key, value in settings.items()})
        )
        assert bool(analyze(servicer(), *nad(route))) is broken, (settings, route)


def test_the_stack_rule_uses_what_the_resource_rules_saw() -> None:
    """In a first preview the stack's view of Kubernetes resources has no properties at all."""
    analyzer = servicer()
    analyze(analyzer, *CLAIM, urn="urn::dhcp")
    analyze(analyzer, *NAD, urn="urn::lan")
    kinds = {"urn::dhcp": CLAIM[0], "urn::lan": NAD[0]}
    resources = [proto.AnalyzerResource(type=kind, urn=urn, name="x") for urn, kind in kinds.items()]
    [diagnostic] = analyzer.AnalyzeStack(proto.AnalyzeStackRequest(resources=resources), None).diagnostics
    assert (diagnostic.policyName, diagnostic.urn) == ("range-out-of-dhcp", "urn::lan")
    assert "192.168.122.200-192.168.122.210" in diagnostic.message
    analyze(analyzer, CLAIM[0], {"ranges": ["192.168.122.180-192.168.122.210"]}, urn="urn::dhcp")
    assert not analyzer.AnalyzeStack(proto.AnalyzeStackRequest(resources=resources), None).diagnostics


@pytest.mark.parametrize(
    ("nodes", "reported"),
    [
        ({}, True),
        ({"interface": "enp1s0", "cidr": "192.168.122.0/24"}, True),
        ({"cidr": "192.168.0.0/16"}, True),
        ({"interface": "eth0"}, False),
        ({"cidr": "10.0.0.0/24"}, False),
    ],
)
def test_where_the_nodes_are_is_read_from_the_settings(
    monkeypatch: pytest.MonkeyPatch, nodes: dict[str, str], reported: bool
) -> None:
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps({"k3s-macvlan:network": json.dumps(nodes)}))
    analyzer = servicer()
    analyze(analyzer, *CLAIM, urn="urn::dhcp")
    analyze(analyzer, NAD[0], {"spec": {"config": json.dumps({**NETWORK, "master": "enp1s0"})}}, urn="urn::lan")
    resources = [
        proto.AnalyzerResource(type=kind, urn=urn, name="x") for urn, kind in (("urn::dhcp", CLAIM[0]), ("urn::lan", NAD[0]))
    ]
    diagnostics = analyzer.AnalyzeStack(proto.AnalyzeStackRequest(resources=resources), None).diagnostics
    assert bool(diagnostics) is reported


def test_the_pack_is_published_by_itself() -> None:
    for file in (Path(__file__).parents[1] / "rules").glob("*.py"):
        assert not re.search(r"(?m)^\s*(from|import) (components|cli|bench|tools)\b", file.read_text()), file.name


def test_unknown_and_secret_values_say_nothing() -> None:
    """Not even that a policy could not be run: pulumi-policy's own answer to an unknown value."""
    unknown = {"metadata": {"name": UNKNOWN_STRING_VALUE}, "spec": {"containers": [{"image": UNKNOWN_STRING_VALUE}]}}
    assert not analyze(servicer(), "kubernetes:core/v1:Pod", unknown)
    secret = {"4dabf18193072939515e22adb298388d": SECRET, "value": UNKNOWN_STRING_VALUE}
    assert not analyze(
        servicer(), "command:remote:Command", {"create": UNKNOWN_STRING_VALUE, "stdin": secret, "connection": secret}
    )
