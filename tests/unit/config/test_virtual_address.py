"""k3s.virtualAddress: a claim, in names, images and downloads, and what contradicts it."""

from __future__ import annotations

from typing import Any

import pytest

from components.config import conflicts, downloads, plan
from components.config.kube_vip import KubeVip
from components.config.problems import SettingsError
from components.config.reading import parse
from components.config.settings import Settings

pytestmark = pytest.mark.unit
VIRTUAL = "192.168.122.179"


def settings(count: int = 1, *, agents: int = 0, **k3s: Any) -> Settings:
    slices = {"podNetworks": {"macvlan-conf": {"range": "192.168.122.200-192.168.122.210", "addressesPerNode": 2}}}
    raw = {"k3s": {"virtualAddress": VIRTUAL, **k3s}, "servers": {"count": count}, "agents": {"count": agents}}
    return parse("dev", {**raw, **(slices if count + agents > 1 else {})})


def make(*arguments: Any, **words: Any) -> plan.Plan:
    return plan.make("k3s-macvlan", "dev", settings(*arguments, **words))


def problems(raw: dict[str, Any]) -> list[str]:
    configuration = parse("dev", raw)
    return [str(problem) for problem in conflicts.conflicts(plan.make("k3s-macvlan", "dev", configuration), configuration)]


def test_clients_and_nodes_reach_the_api_by_it() -> None:
    planned = make()
    assert (planned.api_address, planned.join_address) == (VIRTUAL, VIRTUAL)
    assert planned.api_names[-1] == VIRTUAL and str(planned.servers[0].address) in planned.api_names


def test_clients_may_reach_it_by_a_name() -> None:
    planned = make(apiAddress="k3s.example")
    assert (planned.api_address, planned.join_address) == ("k3s.example", VIRTUAL)
    assert planned.api_names[-2:] == (VIRTUAL, "k3s.example")
    assert problems({"k3s": {"virtualAddress": VIRTUAL, "apiAddress": "k3s.example"}}) == []


def test_without_it_nothing_is_another() -> None:
    for raw, address in (({}, "192.168.122.180"), ({"k3s": {"apiAddress": "k3s.example"}}, "k3s.example")):
        planned = plan.make("k3s-macvlan", "dev", parse("dev", raw))
        assert (planned.api_address, planned.join_address) == (address, address)
        assert not any("kube-vip" in image for node in planned.nodes for image in node.images)
        assert not any(download.setting == "k3s.kubeVip.image" for download in downloads.for_settings(parse("dev", raw)))


def test_it_is_taken_out_of_the_network_s_dhcp_ranges() -> None:
    assert any(VIRTUAL in str(claim) for claim in make().claims)
    moved = plan.make("k3s-macvlan", "dev", parse("dev", {"k3s": {"virtualAddress": "192.168.122.20"}}))
    assert "192.168.122.20-192.168.122.20" in [str(claim) for claim in moved.claims]


def test_servers_pull_its_image_first_and_agents_never() -> None:
    nodes = {node.name: node.images for node in make(3, agents=1).nodes}
    image = KubeVip().image
    assert {name: images[0] == image for name, images in nodes.items()} == {
        "server-1": True, "server-2": True, "server-3": True, "agent-1": False,
    }  # fmt: skip
    assert image not in nodes["agent-1"]


def test_its_image_is_one_of_the_downloads() -> None:
    (download,) = [found for found in downloads.for_settings(settings()) if found.setting == "k3s.kubeVip.image"]
    assert (download.kind, download.reference) == ("image", KubeVip().image)
    own = settings(kubeVip={"image": "registry.example/kube-vip:v1.0.4"})
    assert "registry.example/kube-vip:v1.0.4" in [found.reference for found in downloads.for_settings(own)]


@pytest.mark.parametrize(("duration", "times"), [(15, (10, 2)), (5, (3, 1)), (60, (40, 8)), (600, (400, 80))])
def test_lease_times_are_those_that_client_go_takes(duration: int, times: tuple[int, int]) -> None:
    lease = KubeVip(lease_duration=duration)
    assert (lease.renew_deadline, lease.retry_period) == times
    assert duration > lease.renew_deadline > 1.2 * lease.retry_period, "client-go ends a program with other times"


def test_every_lease_duration_that_is_taken_has_such_times() -> None:
    for duration in range(5, 601):
        lease = KubeVip(lease_duration=duration)
        assert duration > lease.renew_deadline > 1.2 * lease.retry_period


@pytest.mark.parametrize(
    "wrong", [{"virtualAddress": "k3s.example"}, {"kubeVip": {"leaseDuration": 4}}, {"kubeVip": {"image": "a"}}]
)
def test_what_is_none_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=f"k3s.{next(iter(wrong))}"):
        parse("dev", {"k3s": wrong})


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ({"k3s": {"virtualAddress": "10.0.0.9"}}, "k3s.virtualAddress = 10.0.0.9: is not inside network.cidr"),
        ({"k3s": {"virtualAddress": "192.168.122.1"}}, "k3s.virtualAddress = 192.168.122.1: holds network.gateway"),
        ({"k3s": {"virtualAddress": "192.168.122.180"}}, "k3s.virtualAddress = 192.168.122.180: overlaps network.nodes"),
        (
            {"k3s": {"virtualAddress": "192.168.122.203"}},
            "podNetworks.macvlan-conf.range = 192.168.122.200-192.168.122.210: overlaps k3s.virtualAddress",
        ),
        (
            {"k3s": {"virtualAddress": VIRTUAL}, "network": {"exclude": [VIRTUAL]}},
            f"k3s.virtualAddress = {VIRTUAL}: holds {VIRTUAL} of network.exclude",
        ),
        (
            {"k3s": {"virtualAddress": VIRTUAL, "apiAddress": "192.168.122.20"}},
            f"k3s.apiAddress = 192.168.122.20: is an address in front of the servers next to k3s.virtualAddress {VIRTUAL}",
        ),
        (
            {"k3s": {"virtualAddress": VIRTUAL, "apiAddress": VIRTUAL}},
            f"k3s.apiAddress = {VIRTUAL}: is an address in front of the servers next to",
        ),
        (
            {"k3s": {"virtualAddress": VIRTUAL, "serverConfig": {"kubelet-arg": ["v=2", "--pod-manifest-path=/etc/pods"]}}},
            "k3s.serverConfig.kubelet-arg: gives pod-manifest-path",
        ),
        (
            {"k3s": {"virtualAddress": VIRTUAL, "config": {"kubelet-arg": "pod-manifest-path=/etc/pods"}}},
            "k3s.config.kubelet-arg: gives pod-manifest-path",
        ),
    ],
)
def test_what_contradicts_it_is_named(raw: dict[str, Any], text: str) -> None:
    assert text in "\n".join(problems(raw))


def test_a_directory_of_static_pods_of_one_s_own_is_fine_without_it() -> None:
    assert problems({"k3s": {"config": {"kubelet-arg": "pod-manifest-path=/etc/pods"}}}) == []
