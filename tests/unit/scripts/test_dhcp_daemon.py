"""dhcp-daemon.sh, with a stand-in for systemd; the real daemon, where it is, with a DHCP server in network namespaces."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from namespaces import namespaces

from components.node import command

from .fake_node import PLUGIN, Node, accepted_by_systemd, cni_record

pytestmark = pytest.mark.unit

BIN = "/opt/cni/bin"
SOCKET = "run/cni/dhcp.sock"
NAME = "k3s-macvlan-dhcp"
DHCP: dict[str, Any] = {"cniVersion": "0.3.1", "name": "iot", "type": "macvlan", "master": "enp1s0.50", "ipam": {"type": "dhcp"}}
# `active.UNIT` is there while the unit is active; the socket's file appears and is deleted with its unit.
SYSTEMCTL = r"""#!/bin/bash
echo "$*" >> "$STUB/systemctl.log"
socket=$ROOT/run/cni/dhcp.sock
begin() {
  touch "$STUB/active.$1"
  [[ $1 != *.socket ]] || { mkdir -p "${socket%/*}"; touch "$socket"; }
}
end() { rm -f "$STUB/active.$1"; [[ $1 != *.socket ]] || rm -f "$socket"; }
[[ ! -e "$STUB/fails.$*" ]] || exit 1
case $1 in
  is-active) [[ -e $STUB/active.$3 ]] ;;
  start) [[ -e $STUB/active.$2 ]] || begin "$2" ;;
  restart) begin "$2" ;;
  disable) for unit in "${@:4}"; do end "$unit"; done ;;
esac
"""


@pytest.fixture
def daemons(node: Node) -> Node:
    node.command("systemctl", SYSTEMCTL)
    node.file(f"{BIN}/dhcp", PLUGIN, 0o755)
    node.file("etc/systemd/system/keep.service", "")
    return node


def on(node: Node, bin_dir: str = BIN) -> subprocess.CompletedProcess[str]:
    return node.run("dhcp-daemon", ACTION="on", BIN_DIR=bin_dir)


def off(node: Node, **env: str) -> subprocess.CompletedProcess[str]:
    return node.run("dhcp-daemon", **{"ACTION": "off", "LIMIT_SECONDS": "0", **env})


def calls(node: Node) -> list[str]:
    """Of systemctl, since the last look."""
    path = node.stub / "systemctl.log"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def files(node: Node) -> set[str]:
    places = [node.root / "etc/systemd/system", node.root / "var/lib/k3s-macvlan", node.root / "run"]
    return {path.name for place in places for path in place.rglob("*") if path.is_file()}


OURS = {f"{NAME}-leases.service", f"{NAME}.service", f"{NAME}.socket", "pod_interfaces.py", "dhcp.sock"}
KEPT = {"keep.service"}


def test_a_first_run_starts_socket_and_daemon(daemons: Node) -> None:
    done = on(daemons)
    assert (done.returncode, done.stdout) == (0, "dhcp=on socket=/run/cni/dhcp.sock\n"), done.stderr
    assert files(daemons) == OURS | KEPT
    assert calls(daemons) == [
        "daemon-reload",
        f"enable --quiet {NAME}.socket {NAME}.service {NAME}-leases.service",
        f"restart {NAME}.socket",
        f"restart {NAME}.service",
    ]
    program = (daemons.root / "var/lib/k3s-macvlan/pod_interfaces.py").read_text()
    assert program == command.python("pod_interfaces.py") + "\n"


def test_a_second_run_restarts_nothing(daemons: Node) -> None:
    assert on(daemons).returncode == 0
    calls(daemons)
    assert on(daemons).stdout == "dhcp=on socket=/run/cni/dhcp.sock\n"
    assert calls(daemons) == [
        f"enable --quiet {NAME}.socket {NAME}.service {NAME}-leases.service",
        f"is-active --quiet {NAME}.socket",
        f"start {NAME}.socket",
        f"is-active --quiet {NAME}.service",
    ]


def test_the_units(daemons: Node) -> None:
    assert on(daemons).returncode == 0
    units = daemons.root / "etc/systemd/system"
    socket_unit, service = ((units / f"{NAME}.{kind}").read_text().splitlines() for kind in ("socket", "service"))
    for line in (
        "ListenStream=/run/cni/dhcp.sock",
        "SocketMode=0600",
        "Before=k3s.service k3s-agent.service",
        "WantedBy=sockets.target",
    ):
        assert line in socket_unit
    for line in (
        f"Requires={NAME}.socket",
        "Restart=always",
        "StartLimitIntervalSec=0",
        f"ExecStart={BIN}/dhcp daemon -socketpath /run/{NAME}.unused",
        f'ExecStartPost=-/usr/bin/env python3 /var/lib/k3s-macvlan/pod_interfaces.py leases {BIN}/dhcp /run/cni/dhcp.sock ""',
        "WantedBy=multi-user.target",
    ):
        assert line in service
    leases = (units / f"{NAME}-leases.service").read_text().splitlines()
    for line in (
        f"BindsTo={NAME}.service",
        f"WantedBy={NAME}.service",
        f'ExecStart=/usr/bin/env python3 /var/lib/k3s-macvlan/pod_interfaces.py leases {BIN}/dhcp /run/cni/dhcp.sock ""',
        "Restart=on-failure",
        "StartLimitIntervalSec=0",
    ):
        assert line in leases, "who got no lease requests it again"
    assert accepted_by_systemd(*(units / f"{NAME}{kind}" for kind in (".socket", ".service", "-leases.service")))


def test_another_directory_of_plugins_restarts_the_daemon_and_keeps_the_socket(daemons: Node) -> None:
    assert on(daemons).returncode == 0
    calls(daemons)
    daemons.file("/opt/other/dhcp", PLUGIN, 0o755)
    assert on(daemons, "/opt/other").returncode == 0
    assert f"ExecStart=/opt/other/dhcp daemon -socketpath /run/{NAME}.unused" in (
        (daemons.root / f"etc/systemd/system/{NAME}.service").read_text().splitlines()
    )
    made = calls(daemons)
    assert f"restart {NAME}.service" in made and "daemon-reload" in made
    assert f"start {NAME}.socket" in made and f"restart {NAME}.socket" not in made


def test_a_daemon_that_somebody_has_stopped_starts_again(daemons: Node) -> None:
    assert on(daemons).returncode == 0
    for unit in ("socket", "service"):
        (daemons.stub / f"active.{NAME}.{unit}").unlink()
    (daemons.root / SOCKET).unlink()
    calls(daemons)
    assert on(daemons).returncode == 0
    assert [call for call in calls(daemons) if "start" in call] == [f"start {NAME}.socket", f"restart {NAME}.service"]


def test_a_socket_that_somebody_has_deleted_is_made_again(daemons: Node) -> None:
    assert on(daemons).returncode == 0
    (daemons.root / SOCKET).unlink()
    calls(daemons)
    assert on(daemons).returncode == 0
    assert f"restart {NAME}.socket" in calls(daemons) and (daemons.root / SOCKET).exists()


def test_another_daemon_at_the_socket_is_refused(daemons: Node) -> None:
    daemons.file(SOCKET, "")
    done = on(daemons)
    assert done.returncode == 1
    assert "/run/cni/dhcp.sock is there already, of another daemon of this plugin: remove that one" in done.stderr
    assert files(daemons) == {"dhcp.sock"} | KEPT and calls(daemons) == []
    assert off(daemons).returncode == 0
    assert files(daemons) == {"dhcp.sock"} | KEPT, "it stays"


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (f"restart {NAME}.service", f"{NAME}.service did not start"),
        (f"restart {NAME}.socket", "systemd would not listen on /run/cni/dhcp.sock"),
        (f"enable --quiet {NAME}.socket {NAME}.service {NAME}-leases.service", f"systemd would not enable {NAME}"),
    ],
)
def test_a_first_run_that_fails_leaves_nothing(daemons: Node, fault: str, text: str) -> None:
    (daemons.stub / "journal").write_text("why it failed\n")
    broken = daemons.stub / f"fails.{fault}"
    broken.touch()
    done = on(daemons)
    assert done.returncode == 1 and text in done.stderr
    assert ("why it failed" in done.stderr) == fault.endswith(".service") or "enable" in fault
    assert files(daemons) == KEPT
    broken.unlink()
    assert on(daemons).returncode == 0


def test_a_later_run_that_fails_leaves_what_pods_have(daemons: Node) -> None:
    assert on(daemons).returncode == 0
    (daemons.stub / f"fails.restart {NAME}.service").touch()
    (daemons.stub / f"active.{NAME}.service").unlink()
    assert on(daemons).returncode == 1
    assert files(daemons) == OURS | KEPT


def test_what_pods_do_not_have_again_is_said(daemons: Node) -> None:
    (daemons.stub / "journal").write_text("lease acquired\ndhcp: pod home/printer: net1: no lease within 60 s\n")
    done = on(daemons)
    assert done.returncode == 0, "the daemon runs, and requests it again by itself"
    assert done.stderr.splitlines()[-1] == "dhcp: pod home/printer: net1: no lease within 60 s" and "acquired" not in done.stderr


def test_off_removes_all_and_can_be_repeated(daemons: Node) -> None:
    assert off(daemons).stdout == "dhcp=off\n"
    assert calls(daemons) == []
    assert on(daemons).returncode == 0
    calls(daemons)
    assert off(daemons).stdout == "dhcp=off\n"
    assert files(daemons) == KEPT
    assert calls(daemons) == [f"disable --quiet --now {NAME}-leases.service {NAME}.socket {NAME}.service", "daemon-reload"]
    assert off(daemons).stdout == "dhcp=off\n"
    assert calls(daemons) == []


def test_an_off_that_fails_can_be_repeated(daemons: Node) -> None:
    assert on(daemons).returncode == 0
    broken = daemons.stub / f"fails.disable --quiet --now {NAME}-leases.service {NAME}.socket {NAME}.service"
    broken.touch()
    assert off(daemons).returncode == 1
    assert files(daemons) == OURS | KEPT
    broken.unlink()
    assert off(daemons).returncode == 0
    assert files(daemons) == KEPT


def test_off_while_pods_have_leases(daemons: Node) -> None:
    """Without its daemon the plugin fails on DEL, and kubelet would try to end such a pod for ever."""
    assert on(daemons).returncode == 0
    cni_record(daemons.root, "printer", DHCP)
    cni_record(daemons.root, "static", {**DHCP, "ipam": {"type": "static"}})
    cni_record(daemons.root, "other", {**DHCP, "ipam": {"type": "dhcp", "daemonSocketPath": "/run/other.sock"}})
    calls(daemons)
    done = off(daemons)
    assert done.returncode == 1 and "the daemon stays, because pods have leases of it" in done.stderr
    assert "without it: home/printer. Delete them" in done.stderr
    assert calls(daemons) == [] and files(daemons) == OURS | KEPT
    (daemons.root / "var/run/netns/printer").unlink()
    assert off(daemons).returncode == 0
    assert files(daemons) == KEPT


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"ACTION": "maybe"}, "ACTION must be on or off"),
        ({"BIN_DIR": "opt/cni/bin"}, "BIN_DIR must be an absolute path"),
        ({"BIN_DIR": "/opt/cni/bin; reboot"}, "BIN_DIR must be an absolute path"),
        ({"BIN_DIR": "/opt/%n"}, "BIN_DIR must be an absolute path"),
        ({"BIN_DIR": "/opt/none"}, "/opt/none/dhcp is not there"),
        ({"ACTION": "off", "LIMIT_SECONDS": "a[$(touch pwned)]"}, "LIMIT_SECONDS must be whole seconds"),
    ],
)
def test_refused(daemons: Node, wrong: dict[str, str], text: str) -> None:
    done = daemons.run("dhcp-daemon", **{"ACTION": "on", "BIN_DIR": BIN, **wrong})
    assert done.returncode == 1 and text in done.stderr
    assert files(daemons) == KEPT and calls(daemons) == [] and not Path("pwned").exists()


# --- the real daemon

PLACES = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
"""Of the plugins' own documents, Debian and Fedora."""


@dataclass
class Segment:
    """A pod's network namespace with net1, and a DHCP server next to it."""

    path: Path
    dhcp: str
    """The plugin."""
    listening: socket.socket
    """As systemd's: it stays while the daemon does not."""
    running: list[subprocess.Popen[bytes]]

    @property
    def config(self) -> dict[str, Any]:
        provided = [{"option": "host-name", "fromArg": "K8S_POD_NAME"}]
        return {**DHCP, "ipam": {"type": "dhcp", "daemonSocketPath": str(self.path / "sock"), "provide": provided}}

    def server(self, addresses: str) -> Path:
        """The file of its leases."""
        leases = self.path / f"leases-{addresses}"
        words = [
            "ip",
            "netns",
            "exec",
            "mvtest-router",
            "dnsmasq",
            "--no-daemon",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--port=0",
        ]
        options = ["--interface=port0", "--no-ping", f"--dhcp-range={addresses},1h", f"--dhcp-leasefile={leases}", "--user=root"]
        process = self.begin([*words, *options, f"--pid-file={self.path}/dnsmasq.pid"], "server")
        until = time.monotonic() + 20
        # What is requested before is requested again after 10 s.
        while addresses.replace(",", " -- ") not in (self.path / "server").read_text():
            assert process.poll() is None and time.monotonic() < until, (self.path / "server").read_text()
            time.sleep(0.02)
        return leases

    def daemon(self) -> subprocess.Popen[bytes]:
        number = self.listening.fileno()
        words = f'exec 3<&{number}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" daemon -socketpath "$1"'
        return self.begin(["bash", "-c", words, self.dhcp, str(self.path / "unused")], "daemon", pass_fds=(number,))

    def begin(self, words: list[str], log: str, **options: Any) -> subprocess.Popen[bytes]:
        with (self.path / log).open("ab") as out:
            process = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, **options)
        self.running.append(process)
        return process

    def call(self, what: str) -> subprocess.CompletedProcess[str]:
        """The plugin, as the plugin macvlan calls it."""
        variables = {
            "CNI_COMMAND": what,
            "CNI_CONTAINERID": "id-printer",
            "CNI_NETNS": "/run/netns/mvtest-pod",
            "CNI_IFNAME": "net1",
            "CNI_PATH": str(Path(self.dhcp).parent),
            "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=home;K8S_POD_NAME=printer",
        }
        return subprocess.run(
            [self.dhcp],
            input=json.dumps(self.config),
            env=os.environ | variables,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def ask_again(self) -> subprocess.CompletedProcess[str]:
        """As the unit does it."""
        words = ["leases", self.dhcp, str(self.path / "sock"), str(self.path / "root")]
        program = command.python("pod_interfaces.py")
        return subprocess.run(["python3", "-c", program, *words], capture_output=True, text=True, timeout=80, check=False)


def stop(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGTERM) -> None:
    process.send_signal(number)
    process.wait(timeout=20)


@pytest.fixture
def segment(tmp_path: Path, own_namespaces: None) -> Iterator[Segment]:
    dhcp = shutil.which("dhcp", path=":".join([os.environ.get("CNI_PATH", ""), *PLACES]))
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("needs root and iproute2 for network namespaces")
    if dhcp is None or not shutil.which("dnsmasq"):
        pytest.skip("needs dnsmasq and the CNI plugin dhcp (in CNI_PATH, or where packages put it)")
    commands = (
        "-n mvtest-pod link add net1 address 02:00:00:00:50:10 type veth peer name port0 netns mvtest-router",
        "-n mvtest-pod link set net1 up",
        "-n mvtest-router address add 192.168.223.1/24 dev port0",
        "-n mvtest-router link set port0 up",
        "-n mvtest-router link set lo up",
    )
    with namespaces(("mvtest-pod", "mvtest-router"), commands), socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "sock"))
        listening.listen(16)
        made = Segment(tmp_path, dhcp, listening, [])
        try:
            yield made
        finally:
            for process in made.running:
                if process.poll() is None:
                    stop(process, signal.SIGKILL)


def given(leases: Path) -> list[tuple[str, str]]:
    """Addresses and host names."""
    return [(words[2], words[3]) for line in leases.read_text().splitlines() if len(words := line.split()) > 3]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_lease_outlives_the_daemon(segment: Segment, number: signal.Signals) -> None:
    leases = segment.server("192.168.223.100,192.168.223.110")
    daemon = segment.daemon()
    first = segment.call("ADD")
    assert first.returncode == 0, first.stdout
    address = json.loads(first.stdout)["ips"][0]["address"]
    assert given(leases) == [(address.removesuffix("/24"), "printer")]
    cni_record(segment.path / "root", "printer", segment.config, address=address, netns="/run/netns/mvtest-pod")
    stop(daemon, number)
    assert (segment.path / "sock").exists(), "it deletes the path that it was given, which is another"

    segment.daemon()
    again = segment.ask_again()
    assert again.returncode == 0, again.stderr
    assert given(leases) == [(address.removesuffix("/24"), "printer")], "it is the same one, and not released between"
    assert (segment.path / "daemon").read_text().count("lease acquired") == 2

    assert segment.call("DEL").returncode == 0
    # Seen: what v1.9.1 sends to release it comes from 0.0.0.0, which a server on Linux drops. So the server is not looked at.
    assert "releasing lease" in (segment.path / "daemon").read_text(), "the second daemon knows it"


def test_a_pod_that_requests_a_lease_while_the_daemon_restarts_waits(segment: Segment) -> None:
    segment.server("192.168.223.100,192.168.223.110")
    stop(segment.daemon())
    variables = dict.fromkeys(("CNI_CONTAINERID", "CNI_IFNAME"), "net1")
    words = {"CNI_COMMAND": "ADD", "CNI_NETNS": "/run/netns/mvtest-pod", "CNI_PATH": "/", **variables}
    (segment.path / "config").write_text(json.dumps(segment.config))
    with (segment.path / "config").open() as config:
        requesting = subprocess.Popen([segment.dhcp], stdin=config, stdout=subprocess.PIPE, env=os.environ | words, text=True)
    with pytest.raises(subprocess.TimeoutExpired):
        requesting.wait(timeout=1)
    segment.daemon()
    out, _ = requesting.communicate(timeout=60)
    assert requesting.returncode == 0 and "192.168.223.1" in out


def test_a_server_that_gives_another_address(segment: Segment) -> None:
    segment.server("192.168.223.100,192.168.223.110")
    daemon = segment.daemon()
    address = json.loads(segment.call("ADD").stdout)["ips"][0]["address"]
    cni_record(segment.path / "root", "printer", segment.config, address=address, netns="/run/netns/mvtest-pod")
    for process in (daemon, segment.running[0]):
        stop(process)
    segment.server("192.168.223.20,192.168.223.30")
    segment.daemon()
    again = segment.ask_again()
    assert again.returncode == 0, "it has a lease, so it is not requested once more"
    assert f"dhcp: pod home/printer: net1: it has {address}, and the server now gives 192.168.223." in again.stderr


def test_without_its_daemon_the_plugin_ends_no_pod(segment: Segment) -> None:
    """Why dhcp-daemon.sh removes none while pods have leases."""
    segment.listening.close()
    (segment.path / "sock").unlink()
    done = segment.call("DEL")
    assert done.returncode == 1 and "error dialing DHCP daemon" in done.stdout
