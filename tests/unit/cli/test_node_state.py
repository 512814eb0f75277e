"""What `status` says of the machines inside: from recorded reports of several distributions."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from cli import node_state, stack
from cli.node_state import FileSystem, NodeState
from cli.verbs import ssh, status

from .test_enter import observation, rendered
from .test_stack import NODE, OUTPUTS

pytestmark = pytest.mark.unit

# The report of node-state.sh on the tests' own Debian 12 guest, and with a data disk.
DEBIAN = """uptime 93784
memory MemTotal 4054488
memory MemAvailable 2027244
file-system udev           devtmpfs     2009040       0   2009040       0% /dev
file-system tmpfs          tmpfs         405452    1064    404388       1% /run
file-system /dev/vda1      ext4        20466256 5023080  14561892      26% /
file-system tmpfs          tmpfs        2027244       0   2027244       0% /dev/shm
file-system /dev/vda15     vfat          126678   11840    114838      10% /boot/efi
file-system /dev/vdc1      xfs        104805380 9000000  95805380       9% /var/lib/data disk
file-system overlay        overlay     20466256 5023080  14561892      26% /run/k3s/containerd/1/rootfs
file-system /dev/vda1      ext4        20466256 5023080  14561892      26% /var/lib/kubelet/pods/1/volumes
kernel 6.1.0-25-cloud-amd64
installed 6.1.0-25-cloud-amd64
modules 6.1.0-25-cloud-amd64
"""


def test_a_report_is_read() -> None:
    read = node_state.parse(DEBIAN)
    assert (read.uptime, read.memory, read.memory_used, read.reboot) == (93784, 3959, 1980, "")
    assert [file_system.mount for file_system in read.file_systems] == ["/", "/var/lib/data disk"]
    assert str(read.file_systems[0]) == "4.8 of 19.5 GiB (26 %)"


def test_a_device_is_shown_once() -> None:
    """openSUSE has a subvolume of the root's btrfs for each of many directories."""
    rows = "\n".join(f"file-system /dev/vda3 btrfs 1000 500 500 50% {mount}" for mount in ("/home", "/", "/var", "/srv"))
    assert [file_system.mount for file_system in node_state.parse(rows).file_systems] == ["/"]


@pytest.mark.parametrize("text", ["", "nonsense", "uptime", "memory MemTotal x", "file-system a ext4 1 2", "kernel", "\n \nreboot"])
def test_what_is_not_understood_is_left_out(text: str) -> None:
    assert node_state.parse(text) == NodeState()


def kernels(running: str, *installed: str, modules: bool = True) -> str:
    lines = [f"kernel {running}", *(f"installed {release}" for release in installed), *([f"modules {running}"] if modules else [])]
    return node_state.parse("\n".join(lines)).reboot


@pytest.mark.parametrize(
    ("running", "installed"),
    [
        ("6.1.0-9-cloud-amd64", "6.1.0-25-cloud-amd64"),
        ("6.12.43+deb13-amd64", "6.12.48+deb13-amd64"),
        ("6.8.0-45-generic", "6.8.0-101-generic"),
        ("5.14.0-427.el9.x86_64", "5.14.0-427.13.1.el9_4.x86_64"),
        ("6.12.0-55.el10.x86_64", "6.12.0-55.9.1.el10_0.x86_64"),
        ("6.10.6-200.fc40.x86_64", "6.11.3-200.fc40.x86_64"),
        ("6.4.0-150600.23.7-default", "6.4.0-150600.23.25-default"),
    ],
)
def test_a_newer_kernel_waits_for_a_reboot(running: str, installed: str) -> None:
    assert kernels(running, running, installed) == f"the kernel {installed} is installed, and {running} runs"
    assert kernels(installed, running, installed) == "", "the newest runs"


def test_another_flavour_is_no_newer_kernel() -> None:
    assert kernels("6.1.0-25-cloud-amd64", "6.1.0-25-cloud-amd64", "6.1.0-26-amd64") == ""


def test_a_kernel_that_was_replaced() -> None:
    assert kernels("6.11.1-arch1-1", "6.11.2-arch1-2", modules=False) == (
        "the kernel 6.11.1-arch1-1 runs, and is no longer installed: 6.11.2-arch1-2"
    )
    assert kernels("6.6.0-own", modules=False) == "", "one without modules, and nothing else installed"


def test_what_a_distribution_says() -> None:
    text = "reboot /run/reboot-required libssl3 linux-base\nreboot needs-restarting glibc\nreboot /run/reboot-needed"
    assert node_state.parse(text).reboot == "/run/reboot-required: libssl3, linux-base; needs-restarting: glibc; /run/reboot-needed"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0, "0 min"), (59, "0 min"), (60, "1 min"), (3660, "1 h 1 min"), (93784, "1 d 2 h"), (86400 * 400, "400 d 0 h")],
)
def test_an_uptime_for_people(seconds: int | None, text: str) -> None:
    assert node_state.duration(seconds) == text


def test_a_file_system_is_as_full_as_df_says() -> None:
    """What is reserved for root is in neither number."""
    assert FileSystem(mount="/", size=100, used=80, available=15).percent == 85
    assert FileSystem(mount="/", size=0, used=0, available=0).percent == 0


# --- queried


def queried(monkeypatch: pytest.MonkeyPatch, **answers: ssh.Answer) -> tuple[dict[str, NodeState], list[str]]:
    sent: list[Any] = []

    def gather(_stack: Any, _nodes: Any, command: list[str], limit: float) -> dict[str, ssh.Answer]:
        sent.append((command, limit))
        return {name.replace("_", "-"): answer for name, answer in answers.items()}

    monkeypatch.setattr(ssh, "gather", gather)
    result = node_state.query(stack.parse_outputs("dev", OUTPUTS), ())
    (((command,), _limit),) = sent
    assert command.startswith("bash -c '#!/usr/bin/env bash") and "reboot-required" in command
    return result


def test_a_node_that_does_not_answer_says_so_and_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = ssh.Answer(error="10.0.0.2 does not answer on SSH: x")
    states, notes = queried(monkeypatch, server_1=ssh.Answer(text=DEBIAN), agent_1=silent)
    assert list(states) == ["server-1"] and states["server-1"].uptime == 93784
    assert notes == ["agent-1 is not seen from inside: 10.0.0.2 does not answer on SSH: x"]


# --- shown


def shown(text: str, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    outputs = stack.parse_outputs("dev", {**OUTPUTS, "nodes": [NODE, {**NODE, "name": "agent-1", "mac": "", "address": ""}]})
    seen = replace(observation(pods=[]), inside={"server-1": node_state.parse(text)})
    document = json.loads(json.dumps(status.plain(outputs, seen)))
    return document, " ".join(rendered(document, capsys).split())


def test_status_shows_it_as_text_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    document, text = shown(DEBIAN, capsys)
    assert "server-1 1 d 2 h 1980 of 3959 MiB / 4.8 of 19.5 GiB (26 %) - - /var/lib/data disk 8.6 of 100.0 GiB (9 %)" in text
    first, second = document["nodes"]
    assert second["inside"] is None
    assert first["inside"]["uptime_seconds"] == 93784 and first["inside"]["reboot"] == ""
    assert first["inside"]["memory"] == {"total_mib": 3959, "used_mib": 1980}
    assert first["inside"]["file_systems"][0] == {
        "mount": "/", "size": 20466256 * 1024, "used": 5023080 * 1024, "available": 14561892 * 1024, "percent": 26,
    }  # fmt: skip
    assert document["warnings"] == []


def test_status_warns_of_a_full_disk_and_of_a_reboot(capsys: pytest.CaptureFixture[str]) -> None:
    disks = "file-system /dev/vda1 ext4 1000 900 100 90% /\nfile-system /dev/vdc xfs 1000 880 120 88% /srv"
    full = f"{disks}\nreboot /run/reboot-required"
    document, text = shown(full, capsys)
    assert (
        "pending (below)" in text and "warning: server-1: a reboot is pending: /run/reboot-required. ./lab reboot server-1" in text
    )
    disk, data, _reboot = document["warnings"]
    rancher = replace(node_state.parse(disks).file_systems[1], mount="/var/lib/rancher")
    (own,) = node_state.warnings({"agent-1": NodeState(file_systems=(rancher,))})
    assert own.endswith("from 95 % on it evicts pods")
    assert "from 95 % on it evicts pods; servers.disk" in disk and "/srv has" in data and "evicts" not in data


def test_without_an_answer_there_is_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    document = status.plain(stack.parse_outputs("dev", OUTPUTS), observation())
    assert "Inside the nodes" not in rendered(document, capsys)


AT = datetime(2026, 11, 26, 10, tzinfo=UTC)
CERTIFICATES = (
    "certificate {} 2026-01-01T00:00:00Z server/tls/client-admin.crt\n"
    "authority 2036-11-23T10:00:00Z 2026-11-26T10:00:00Z server/tls/server-ca.crt\n"
)


def test_certificates_are_read_and_warned_of_when_up_would_renew_them() -> None:
    fine = node_state.parse(CERTIFICATES.format("2027-11-26T10:00:00Z"))
    assert (fine.certificates, fine.authorities) == ("2027-11-26T10:00:00Z", "2036-11-23T10:00:00Z")
    assert node_state.days_left(fine.certificates, AT) == 365 and node_state.days_left("", AT) is None
    assert node_state.warnings({"server-1": fine}, AT) == []
    soon = node_state.parse(CERTIFICATES.format("2027-01-05T10:00:00Z"))
    assert node_state.warnings({"server-1": soon}, AT) == [
        "server-1: a certificate of K3s ends in 40 days: ./lab up renews it, and restarts K3s there"
    ]
    [late] = node_state.warnings({"server-1": fine}, AT.replace(year=2036, month=1))[-1:]
    assert "certificate authority of K3s ends in 302 days" in late


def test_the_program_of_the_certificates_is_sent_with_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[list[str]] = []

    def gather(_stack: object, _nodes: object, command: list[str], _limit: float) -> dict[str, ssh.Answer]:
        sent.append(list(command))
        return {}

    monkeypatch.setattr(ssh, "gather", gather)
    node_state.query(stack.parse_outputs("dev", OUTPUTS), [])
    words = shlex.split(sent[0][0])
    assert words[:2] == ["bash", "-c"] and words[4] == node_state.CERTIFICATES.read_text()
    assert "sudo -n python3 -c" in words[2]
