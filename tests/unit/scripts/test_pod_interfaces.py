"""pod_interfaces.py, with records as libcni writes them."""

import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from components.node.scripts import pod_interfaces

from .fake_node import cni_record

pytestmark = pytest.mark.unit

LINK = "enp1s0.50"
MACVLAN: dict[str, Any] = {"type": "macvlan", "master": LINK, "mode": "bridge"}
DHCP: dict[str, Any] = {**MACVLAN, "ipam": {"type": "dhcp", "provide": [{"option": "host-name", "fromArg": "K8S_POD_NAME"}]}}
HEAD = {"cniVersion": "0.3.1", "name": "iot"}
SOCKET = "/run/cni/dhcp.sock"
ANSWER = """#!/bin/sh
cat > "$0.stdin.$CNI_CONTAINERID"
env | grep ^CNI_ | sort > "$0.env.$CNI_CONTAINERID"
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def program(tmp_path: Path, text: str) -> str:
    path = tmp_path / "dhcp"
    path.write_text(ANSWER + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def gives(address: str) -> str:
    return f"""echo '{{"cniVersion": "0.3.1", "ips": [{{"version": "4", "address": "{address}"}}]}}'\n"""


def test_pods_on_a_link_of_a_single_plugin_and_of_a_list(root: Path) -> None:
    cni_record(root, "printer", {**HEAD, **MACVLAN, "ipam": {"type": "static"}})
    cni_record(root, "camera", {**HEAD, "plugins": [MACVLAN, {"type": "tuning"}, {"type": "sbr"}]}, interface="net2")
    cni_record(root, "camera", {**HEAD, "plugins": [MACVLAN, {"type": "tuning"}]}, interface="net3")
    cni_record(root, "other", {**HEAD, **MACVLAN, "master": "enp1s0"})
    cni_record(root, "flannel", {"name": "cbr0", "plugins": [{"type": "flannel"}, {"type": "portmap"}]})
    assert pod_interfaces.on_link(LINK, str(root)) == ["home/camera", "home/printer"]
    assert pod_interfaces.on_link("enp1s0", str(root)) == ["home/other"]
    assert pod_interfaces.on_link("enp1s0.5", str(root)) == []


def test_records_of_both_who_call_libcni_count(root: Path) -> None:
    """Multus keeps its networks' in its own cniDir, containerd its own where libcni does."""
    cni_record(root, "a", {**HEAD, **MACVLAN}, folder="var/lib/cni/multus/results")
    cni_record(root, "b", {**HEAD, **MACVLAN}, folder="var/lib/cni/results")
    assert pod_interfaces.on_link(LINK, str(root)) == ["home/a", "home/b"]


def test_pods_that_are_deleted_do_not_count(root: Path) -> None:
    cni_record(root, "there", {**HEAD, **MACVLAN})
    (root / cni_record(root, "gone", {**HEAD, **MACVLAN}).lstrip("/")).unlink()
    cni_record(root, "nowhere", {**HEAD, **MACVLAN}, netns="")
    assert pod_interfaces.on_link(LINK, str(root)) == ["home/there"]


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"config": 5, "netns": "/etc", "ifName": "net1", "containerId": "c"}',
        '{"config": "e30=", "netns": "/etc"}',
        '{"config": "W10=", "netns": "/etc", "ifName": "net1", "containerId": "c"}',
        '{"config": "!!", "netns": "/etc", "ifName": "net1", "containerId": "c"}',
        '{"config": "eyJwbHVnaW5zIjogWzVdfQ==", "netns": "/etc", "ifName": "net1", "containerId": "c"}',
        '{"config": "e30=", "netns": "/etc", "ifName": "net1", "containerId": "c", "cniArgs": [5]}',
        '{"config": "e30=", "netns": "/etc", "ifName": "net1", "containerId": "c", "result": {"ips": [{}]}}',
    ],
)
def test_a_broken_record_hides_no_other(root: Path, tmp_path: Path, broken: str) -> None:
    """The results of Multus are next to files of its own."""
    cni_record(root, "there", {**HEAD, **DHCP})
    (root / "etc").mkdir()
    folder = root / "var/lib/cni/multus/results"
    (folder / "a-first").write_text(broken)
    (folder / "b-folder").mkdir()
    (folder / "c-bytes").write_bytes(b"\xff\xfe")
    assert pod_interfaces.on_link(LINK, str(root)) == ["home/there"]
    assert pod_interfaces.ask_again(program(tmp_path, gives("192.168.50.7/24")), SOCKET, str(root))


def test_a_node_without_records(root: Path, tmp_path: Path) -> None:
    assert pod_interfaces.on_link(LINK, str(root)) == []
    assert pod_interfaces.ask_again(program(tmp_path, "exit 1"), SOCKET, str(root))


def test_a_lease_is_requested_as_libcni_did(root: Path, tmp_path: Path) -> None:
    cni_record(root, "printer", {**HEAD, **DHCP}, address="192.168.50.7/24")
    cni_record(root, "camera", {**HEAD, "plugins": [DHCP, {"type": "tuning"}]}, address="192.168.50.7/24", interface="net2")
    cni_record(root, "static", {**HEAD, **MACVLAN, "ipam": {"type": "static"}})
    dhcp = program(tmp_path, gives("192.168.50.7/24"))
    assert pod_interfaces.ask_again(dhcp, SOCKET, str(root))
    assert sorted(path.name for path in tmp_path.glob("dhcp.stdin.*")) == ["dhcp.stdin.id-camera", "dhcp.stdin.id-printer"]
    for pod in ("printer", "camera"):
        assert json.loads((tmp_path / f"dhcp.stdin.id-{pod}").read_text()) == {**HEAD, **DHCP}
    assert (tmp_path / "dhcp.env.id-camera").read_text().splitlines() == [
        "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=home;K8S_POD_NAME=camera",
        "CNI_COMMAND=ADD",
        "CNI_CONTAINERID=id-camera",
        "CNI_IFNAME=net2",
        "CNI_NETNS=/var/run/netns/camera",
        f"CNI_PATH={tmp_path}",
    ]


def test_leases_of_another_daemon_are_its_own(root: Path, tmp_path: Path) -> None:
    other = {**DHCP, "ipam": {"type": "dhcp", "daemonSocketPath": "/run/other.sock"}}
    cni_record(root, "other", {**HEAD, **other})
    cni_record(root, "ours", {**HEAD, **DHCP, "ipam": {"type": "dhcp", "daemonSocketPath": ""}})
    assert [interface.pod for interface, _ in pod_interfaces.leased(SOCKET, str(root))] == ["home/ours"]
    assert [interface.pod for interface, _ in pod_interfaces.leased("/run/other.sock", str(root))] == ["home/other"]
    assert pod_interfaces.ask_again(program(tmp_path, gives("192.168.50.7/24")), SOCKET, str(root))
    assert [path.name for path in tmp_path.glob("dhcp.stdin.*")] == ["dhcp.stdin.id-ours"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('echo \'{"code": 999, "msg": "error calling DHCP.Allocate"}\'; exit 1\n', "no lease: .*error calling DHCP.Allocate"),
        ("echo 'no such device' >&2; exit 1\n", "no lease: no such device"),
        ("echo broken\n", "no lease: "),
        ("echo '[]'\n", "no lease: "),
        ("exec sleep 60\n", "no lease within 3 s"),
        (gives("192.168.50.9/24"), "it has 192.168.50.7/24, and the server now gives 192.168.50.9/24: delete the pod"),
    ],
)
def test_a_pod_without_its_lease_is_named_and_the_others_have_theirs(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text: str, problem: str
) -> None:
    monkeypatch.setattr(pod_interfaces, "SECONDS", 3)
    for pod in ("a", "bad", "c"):
        cni_record(root, pod, {**HEAD, **DHCP}, address="192.168.50.7/24")
    dhcp = program(tmp_path, f'if [ "$CNI_CONTAINERID" = id-bad ]; then\n{text}exit; fi\n{gives("192.168.50.7/24")}')
    # Who has a lease of another address is not queried again.
    assert pod_interfaces.ask_again(dhcp, SOCKET, str(root)) is problem.startswith("it has")
    said = capsys.readouterr().err
    assert re.fullmatch(f"dhcp: pod home/bad: net1: {problem}.*\n", said), said
    assert len(list(tmp_path.glob("dhcp.stdin.*"))) == 3


def test_a_program_that_is_not_there(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cni_record(root, "printer", {**HEAD, **DHCP})
    assert not pod_interfaces.ask_again(str(tmp_path / "none"), SOCKET, str(root))
    assert "dhcp: pod home/printer: net1: no lease: " in capsys.readouterr().err


def test_a_silent_server_keeps_all_waiting_once(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after another, the daemon's unit would not start within its limit on a node with many pods."""
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    monkeypatch.setattr(pod_interfaces, "SECONDS", 20)
    for number in range(12):
        cni_record(root, f"pod-{number}", {**HEAD, **DHCP})
    together = f'touch {meeting}/$CNI_CONTAINERID; until [ "$(ls {meeting} | wc -l)" = 12 ]; do sleep 0.1; done\n'
    assert pod_interfaces.ask_again(program(tmp_path, together + gives("192.168.50.7/24")), SOCKET, str(root))
