"""node-nic.sh. `ip`, udev, systemd, networkd and NetworkManager are stand-ins; what the unit runs is tried on a real link."""

import re
import subprocess
from pathlib import Path

import pytest
from namespaces import ip

from .fake_node import Lan, Node, accepted_by_systemd

pytestmark = pytest.mark.unit

NAME, MAC = "enp2s0", "52:54:00:aa:00:02"
UNIT = f"k3s-macvlan-nic-{NAME}.service"
FILES = f"05-k3s-macvlan-nic-{NAME}"
# `calls` has what was called, in order. A renamed link has another folder, as the kernel's.
IP = r"""#!/bin/bash
echo "ip $*" >> "$STUB/calls"
case $* in
  "link set dev "*" name "*) [[ ! -e $ROOT/sys/class/net/$6 ]] && mv "$ROOT/sys/class/net/$4" "$ROOT/sys/class/net/$6" ;;
  "link set dev "*" down" | "address flush dev "*) [[ -e $ROOT/sys/class/net/$4 && ! -e $STUB/stubborn ]] ;;
  *) exit 1 ;;
esac
"""
SYSTEMCTL = r"""#!/bin/bash
echo "systemctl $*" >> "$STUB/calls"
case $1 in
  is-active) [[ -e $STUB/${!#} ]] ;;
  restart) [[ -e $ROOT/etc/systemd/system/${!#} && ! -e $STUB/broken ]] ;;
  enable | disable) [[ ! -e $STUB/no-$1 ]] ;;
esac
"""
SAYS = '#!/bin/bash\necho "${0##*/} $*" >> "$STUB/calls"\n[[ ! -e $STUB/no-${0##*/} ]]\n'


def plug(node: Node, name: str, mac: str) -> Path:
    """A NIC of the guest."""
    node.file(f"sys/class/net/{name}/mtu", "1500\n")
    (node.root / f"sys/class/net/{name}/device").mkdir()
    return node.file(f"sys/class/net/{name}/address", f"{mac}\n")


def with_stand_ins(node: Node) -> Node:
    for name, text in {"ip": IP, "systemctl": SYSTEMCTL, "udevadm": SAYS, "networkctl": SAYS, "nmcli": SAYS}.items():
        node.command(name, text)
    node.file("etc/systemd/system/keep.service", "")
    (node.stub / "systemd-networkd.service").touch()
    plug(node, "enp1s0", "52:54:00:aa:00:01")
    # A VLAN on the NIC has its MAC address, and is no device.
    node.file("sys/class/net/a-vlan/address", f"{MAC}\n")
    return node


@pytest.fixture
def nics(node: Node) -> Node:
    with_stand_ins(node)
    plug(node, "enp5s0", MAC.upper())
    return node


def on(node: Node, **env: str) -> subprocess.CompletedProcess[str]:
    return node.run("node-nic", **{"ACTION": "on", "NAME": NAME, "MAC": MAC, "LIMIT_SECONDS": "1", **env})


def off(node: Node) -> subprocess.CompletedProcess[str]:
    return node.run("node-nic", ACTION="off", NAME=NAME, MAC=MAC)


def calls(node: Node) -> list[str]:
    """Since the last look, without questions."""
    path = node.stub / "calls"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [line for line in lines if not line.startswith(("systemctl is-active", "udevadm settle"))]


def files(node: Node) -> set[str]:
    return {path.name for path in (node.root / "etc").rglob("*") if path.is_file()} - {"keep.service"}


def links(node: Node) -> set[str]:
    return {path.name for path in (node.root / "sys/class/net").iterdir()} - {"enp1s0", "a-vlan"}


def text(node: Node, suffix: str) -> str:
    return (node.root / "etc/systemd/network" / f"{FILES}.{suffix}").read_text()


def test_a_new_nic_gets_its_name_and_loses_what_it_was_given(nics: Node) -> None:
    done = on(nics)
    assert (done.returncode, done.stdout) == (0, f"nic={NAME} mac={MAC} mtu=1500 address=none\n"), done.stderr
    assert links(nics) == {NAME}
    assert files(nics) == {UNIT, f"{FILES}.link", f"{FILES}.network", f"nic-{NAME}.conf"}
    for kind in ("vlan", "access"):
        ordering = nics.root / f"etc/systemd/system/k3s-macvlan-{kind}-.service.d/nic-{NAME}.conf"
        assert ordering.read_text() == f"[Unit]\nAfter={UNIT}\n", "they come up only while the NIC is up"
    assert calls(nics) == [
        "systemctl daemon-reload",
        "udevadm control --reload",
        "networkctl reload",
        "ip link set dev enp5s0 down",
        f"ip link set dev enp5s0 name {NAME}",
        f"ip address flush dev {NAME}",
        f"systemctl enable --quiet {UNIT}",
        f"systemctl restart {UNIT}",
    ]
    assert text(nics, "link") == f"[Match]\nMACAddress={MAC}\nType=ether\n\n[Link]\nName={NAME}\n"
    assert text(nics, "network") == f"[Match]\nMACAddress={MAC}\nType=ether\n\n[Link]\nUnmanaged=yes\n"


def test_a_second_run_changes_nothing(nics: Node) -> None:
    assert on(nics).returncode == 0
    calls(nics)
    paths = [path for path in (nics.root / "etc").rglob("*") if path.is_file()]
    before = {path: (path.read_bytes(), path.stat().st_ino) for path in paths}
    assert on(nics, OTHERS="52:54:00:aa:00:03").returncode == 0
    assert {path: (path.read_bytes(), path.stat().st_ino) for path in paths} == before
    assert calls(nics) == [f"systemctl enable --quiet {UNIT}", f"systemctl restart {UNIT}"], "addresses of hands stay"


def test_the_unit(nics: Node) -> None:
    """It runs before K3s does, when its NIC is there, and again when that comes back."""
    assert on(nics, NAME="lan-a_b", MTU="9000", ADDRESS="10.0.0.5/24").returncode == 0
    unit = nics.root / "etc/systemd/system/k3s-macvlan-nic-lan-a_b.service"
    device = r"sys-subsystem-net-devices-lan\x2da_b.device"
    lines = unit.read_text().splitlines()
    for line in (
        f"BindsTo={device}", f"After={device}", "Before=k3s.service k3s-agent.service", "Type=oneshot", "RemainAfterExit=yes",
        f"WantedBy=multi-user.target {device}",
    ):  # fmt: skip
        assert line in lines
    assert "ExecStop" not in unit.read_text(), "pods keep it whatever systemd does with the unit"
    starts = [line.partition(" ")[2] for line in lines if line.startswith("ExecStart=/")]
    assert starts == ["link set dev lan-a_b mtu 9000", "link set dev lan-a_b up", "address replace 10.0.0.5/24 dev lan-a_b"]
    assert accepted_by_systemd(unit)
    assert "MTUBytes=9000" in (nics.root / "etc/systemd/network/05-k3s-macvlan-nic-lan-a_b.link").read_text()


def test_what_the_unit_runs(lan: Lan) -> None:
    with_stand_ins(lan)
    plug(lan, "nic0", MAC)
    assert on(lan, NAME="nic0", MTU="1400", ADDRESS="10.0.0.5/24").returncode == 0
    ip("-n mvtest-node link set nic0 down")
    unit = (lan.root / "etc/systemd/system/k3s-macvlan-nic-nic0.service").read_text()
    for _ in range(2):
        for command in re.findall(r"(?m)^ExecStart=-?(.+)$", unit):
            real = command.replace(str(lan.bin / "ip"), "ip")
            inside = ["ip", "netns", "exec", "mvtest-node", "sh", "-c", real]
            done = subprocess.run(inside, capture_output=True, text=True, check=False)
            assert done.returncode == 0, (command, done.stderr)
    shown = ip("-n mvtest-node -oneline link show dev nic0").stdout
    assert " mtu 1400 " in shown and ",UP," in shown
    assert " inet 10.0.0.5/24 " in ip("-n mvtest-node -oneline -4 address show dev nic0").stdout
    assert ip("-n mvtest-node -oneline -6 address show dev nic0").stdout == ""
    assert "default" not in ip("-n mvtest-node route show dev nic0").stdout


def test_an_address_by_dhcp_brings_neither_routes_nor_name_servers(nics: Node) -> None:
    done = on(nics, ADDRESS="dhcp", MTU="1400")
    assert done.returncode == 0, done.stderr
    network = text(nics, "network").splitlines()
    for line in ("DHCP=ipv4", "UseGateway=no", "UseRoutes=no", "UseDNS=no", "RequiredForOnline=no", "LinkLocalAddressing=no"):
        assert line in network
    assert "Unmanaged=yes" not in network
    assert calls(nics)[-1] == f"networkctl reconfigure {NAME}"
    assert "ip address" not in " ".join(calls(nics))
    # And none any more.
    assert on(nics).returncode == 0
    assert "Unmanaged=yes" in text(nics, "network") and f"ip address flush dev {NAME}" in calls(nics)


def test_network_manager(nics: Node) -> None:
    (nics.stub / "systemd-networkd.service").unlink()
    done = on(nics, ADDRESS="dhcp")
    assert done.returncode == 1 and "nobody would ask a DHCP server: set an address in place of dhcp" in done.stderr
    assert files(nics) == set()
    (nics.stub / "NetworkManager.service").touch()
    assert on(nics).returncode == 0
    conf = nics.root / f"etc/NetworkManager/conf.d/{FILES}.conf"
    assert conf.read_text() == f"[device-k3s-macvlan-nic-{NAME}]\nmatch-device=mac:{MAC}\nmanaged=0\n"
    assert {"nmcli general reload conf", "nmcli connection reload"} <= set(calls(nics))
    assert on(nics, ADDRESS="dhcp").returncode == 0
    connection = nics.root / f"etc/NetworkManager/system-connections/k3s-macvlan-nic-{NAME}.nmconnection"
    assert connection.stat().st_mode & 0o777 == 0o600 and not conf.exists()
    assert "never-default=true" in connection.read_text() and f"mac-address={MAC}" in connection.read_text()
    assert calls(nics)[-1] == f"nmcli connection up k3s-macvlan-nic-{NAME}"
    assert on(nics).returncode == 0 and conf.exists() and not connection.exists()
    assert off(nics).returncode == 0 and files(nics) == set()


def test_a_name_that_the_node_s_other_nic_has_until_it_gets_its_own(nics: Node) -> None:
    """The kernel's names follow the places on PCI, which need not be those of the list."""
    other = "52:54:00:aa:00:03"
    plug(nics, NAME, other)
    assert on(nics, OTHERS=f"52:54:00:aa:00:09 {other}").returncode == 0
    assert links(nics) == {NAME, "was525400aa0003"}
    assert (nics.root / f"sys/class/net/{NAME}/address").read_text().strip().lower() == MAC


def test_a_name_that_an_interface_of_others_has(nics: Node) -> None:
    plug(nics, NAME, "52:54:00:aa:00:77")
    done = on(nics, OTHERS="52:54:00:aa:00:03")
    assert done.returncode == 1
    assert f"another interface has the name {NAME} on this node, and the NIC with the MAC address {MAC} is enp5s0" in done.stderr
    assert links(nics) == {NAME, "enp5s0"}


def test_a_nic_that_does_not_come(nics: Node) -> None:
    done = on(nics, MAC="52:54:00:aa:00:99")
    assert done.returncode == 1 and "no NIC has the MAC address 52:54:00:aa:00:99 within 1 s" in done.stderr
    assert "enp1s0" in done.stderr and files(nics) == set()


def test_it_waits_for_the_nic(nics: Node) -> None:
    address = nics.root / "sys/class/net/enp5s0/address"
    address.rename(address.with_name("later"))
    waiting = subprocess.Popen(["bash", "-c", f"sleep 1; mv '{address.with_name('later')}' '{address}'"])
    done = on(nics, LIMIT_SECONDS="30")
    waiting.wait()
    assert done.returncode == 0 and f"waiting for a NIC with the MAC address {MAC}" in done.stderr


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("broken", f"{UNIT} did not start"),
        ("no-enable", f"systemd would not enable {UNIT}"),
        ("no-networkctl", "systemd-networkd would not read its files again"),
        ("no-udevadm", "udev would not read its files again"),
        ("stubborn", f"enp5s0 could not be set down, to be renamed to {NAME}"),
    ],
)
def test_a_run_that_fails_can_be_repeated(nics: Node, fault: str, said: str) -> None:
    (nics.stub / fault).touch()
    done = on(nics)
    assert done.returncode == 1 and said in done.stderr
    (nics.stub / fault).unlink()
    calls(nics)
    assert on(nics).returncode == 0 and links(nics) == {NAME}
    # All of it, since files that are there already may not have been read.
    assert {"networkctl reload", "udevadm control --reload", f"ip address flush dev {NAME}"} <= set(calls(nics))


def test_off_removes_all_and_can_be_repeated(nics: Node) -> None:
    assert on(nics).returncode == 0
    calls(nics)
    assert (off(nics).stdout, files(nics)) == (f"nic={NAME} removed\n", set())
    assert calls(nics) == [
        f"systemctl disable --quiet --now {UNIT}",
        "udevadm control --reload",
        "networkctl reload",
        f"ip address flush dev {NAME}",
        f"ip link set dev {NAME} down",
        "systemctl daemon-reload",
    ]
    assert off(nics).returncode == 0 and calls(nics) == []


def test_off_leaves_a_nic_alone_that_something_is_on(nics: Node) -> None:
    assert on(nics).returncode == 0
    (nics.root / f"sys/class/net/{NAME}/upper_{NAME}.50").mkdir()
    calls(nics)
    assert off(nics).returncode == 0
    assert not [call for call in calls(nics) if call.startswith("ip ")]


def test_an_off_that_fails_can_be_repeated(nics: Node) -> None:
    assert on(nics).returncode == 0
    (nics.stub / "no-networkctl").touch()
    assert off(nics).returncode == 1 and UNIT in files(nics), "it is still known as ours"
    (nics.stub / "no-networkctl").unlink()
    calls(nics)
    assert off(nics).returncode == 0 and files(nics) == set() and "networkctl reload" in calls(nics)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"NAME": "a;b"}, "NAME is no name of a NIC"),
        ({"NAME": "enp2s0.50"}, "NAME is no name of a NIC"),
        ({"NAME": "enp0s31f6abcdef0"}, "NAME is no name of a NIC"),
        ({"MAC": "52:54"}, "MAC is not a MAC address"),
        ({"OTHERS": "$(touch pwned)"}, "OTHERS must be MAC addresses"),
        ({"MTU": "many"}, "MTU must be whole bytes"),
        ({"ADDRESS": "10.0.0.5"}, "ADDRESS must be none, dhcp or an IPv4 address"),
        ({"LIMIT_SECONDS": "a[$(touch pwned)]"}, "LIMIT_SECONDS must be whole seconds"),
        ({"ACTION": "maybe"}, "ACTION must be on or off"),
    ],
)
def test_refused(nics: Node, wrong: dict[str, str], said: str) -> None:
    done = on(nics, **wrong)
    assert done.returncode == 1 and said in done.stderr
    assert files(nics) == set() and calls(nics) == [] and not Path("pwned").exists()
