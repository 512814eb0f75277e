"""vlan-link.sh. Kernels of test machines make no VLANs, so `ip`, systemd and networkd are stand-ins; what the unit runs is tried on
a real link.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from namespaces import ip

from .fake_node import Lan, Node, accepted_by_systemd, cni_record

pytestmark = pytest.mark.unit

LINK = "enp1s0.50"
UNIT = f"k3s-macvlan-vlan-{LINK}.service"
VLAN_50 = f"7: {LINK}@enp1s0: <BROADCAST,UP> mtu 1500 \\    link/ether 52:54:00:00:00:01 \\    vlan protocol 802.1Q id 50 <X> \n"
# `calls` has what was called, in order; of networkctl and systemctl with the interfaces and files that were there.
IP = r"""#!/bin/bash
echo "ip $*" >> "$STUB/calls"
case $* in
  "-details -oneline link show dev "*) cat "$STUB/details" ;;
  "-oneline link show up dev "*) cat "$STUB/up" 2> /dev/null ;;
  "link delete "*) [[ ! -e $STUB/kept ]] || exit 2; rm -r "$ROOT/sys/class/net/${!#}" ;;
  *) exit 1 ;;
esac
"""
SYSTEMCTL = r"""#!/bin/bash
echo "systemctl $*" >> "$STUB/calls"
case $1 in
  is-active) [[ -e $STUB/networkd ]] ;;
  restart)
    link=${!#} link=${link#k3s-macvlan-vlan-} link=${link%.service}
    [[ -e $ROOT/etc/systemd/system/${!#} && ! -e $STUB/broken ]] || exit 1
    [[ -e $STUB/nothing ]] || { mkdir -p "$ROOT/sys/class/net/$link"; echo 1500 > "$ROOT/sys/class/net/$link/mtu"; } ;;
  enable | disable) [[ ! -e $STUB/no-$1 ]] ;;
esac
"""
NETWORKCTL = r"""#!/bin/bash
echo "networkctl $* links=$(cd "$ROOT/sys/class/net" && echo *) files=$(ls "$ROOT/etc/systemd/network")" >> "$STUB/calls"
[[ ! -e $STUB/no-reload ]]
"""


def with_stand_ins(node: Node) -> Node:
    for name, text in {"ip": IP, "systemctl": SYSTEMCTL, "networkctl": NETWORKCTL, "modprobe": "#!/bin/sh\n"}.items():
        node.command(name, text)
    node.file("sys/class/net/enp1s0/mtu", "1500\n")
    node.file("etc/systemd/system/keep.service", "")
    (node.stub / "networkd").touch()
    (node.stub / "details").write_text(VLAN_50)
    return node


@pytest.fixture
def vlans(node: Node) -> Node:
    return with_stand_ins(node)


def on(node: Node, parent: str = "enp1s0", vlan: str = "50") -> subprocess.CompletedProcess[str]:
    return node.run("vlan-link", ACTION="on", PARENT=parent, VLAN=vlan)


def off(node: Node, **env: str) -> subprocess.CompletedProcess[str]:
    return node.run("vlan-link", **{"ACTION": "off", "PARENT": "enp1s0", "VLAN": "50", "LIMIT_SECONDS": "0", **env})


def calls(node: Node) -> list[str]:
    """Since the last look."""
    path = node.stub / "calls"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def files(node: Node) -> set[str]:
    """Ours and others' in systemd's directories."""
    return {path.name for path in (node.root / "etc/systemd").rglob("*") if path.is_file()}


OURS = {UNIT, f"05-k3s-macvlan-vlan-{LINK}.network"}
KEPT = {"keep.service"}


def test_a_first_run_makes_the_link_by_a_unit(vlans: Node) -> None:
    done = on(vlans)
    assert (done.returncode, done.stdout) == (0, f"vlan={LINK} mtu=1500\n"), done.stderr
    assert files(vlans) == OURS | KEPT
    assert calls(vlans) == [
        "systemctl is-active --quiet systemd-networkd.service",
        f"networkctl reload links=enp1s0 files=05-k3s-macvlan-vlan-{LINK}.network",
        "systemctl daemon-reload",
        f"systemctl enable --quiet {UNIT}",
        f"systemctl restart {UNIT}",
    ], "networkd knows to leave it alone before it is there"
    network = (vlans.root / f"etc/systemd/network/05-k3s-macvlan-vlan-{LINK}.network").read_text()
    assert network == f"[Match]\nName={LINK}\n\n[Link]\nUnmanaged=yes\n"


def test_a_second_run_changes_nothing(vlans: Node) -> None:
    assert on(vlans).returncode == 0
    calls(vlans)
    paths = [path for path in (vlans.root / "etc").rglob("*") if path.is_file()]
    before = {path: (path.read_bytes(), path.stat().st_ino) for path in paths}
    assert on(vlans).stdout == f"vlan={LINK} mtu=1500\n"
    assert {path: (path.read_bytes(), path.stat().st_ino) for path in paths} == before
    assert calls(vlans) == [
        f"ip -details -oneline link show dev {LINK}",
        f"systemctl enable --quiet {UNIT}",
        f"systemctl restart {UNIT}",
    ]


def test_network_manager_is_configured_first_where_the_node_has_it(vlans: Node) -> None:
    vlans.file("etc/NetworkManager/NetworkManager.conf", "")
    file = vlans.root / f"etc/NetworkManager/conf.d/k3s-macvlan-vlan-{LINK}.conf"
    assert on(vlans).returncode == 0
    assert file.read_text() == f"[device-k3s-macvlan-vlan-{LINK}]\nmatch-device=interface-name:{LINK}\nmanaged=0\n"
    called = calls(vlans)
    assert called.index("systemctl reload NetworkManager.service") < called.index(f"systemctl restart {UNIT}")
    assert on(vlans).returncode == 0 and "systemctl reload NetworkManager.service" not in calls(vlans)
    assert off(vlans).returncode == 0 and not file.exists()
    assert "systemctl reload NetworkManager.service" in calls(vlans)


def test_the_unit(vlans: Node) -> None:
    """It starts before pods do, when its parent is there, and again when that comes back."""
    vlans.file("sys/class/net/lan-a.b/mtu", "9000\n")
    assert on(vlans, "lan-a.b", "4094").returncode == 0
    text = (vlans.root / "etc/systemd/system/k3s-macvlan-vlan-lan-a.b.4094.service").read_text()
    device = r"sys-subsystem-net-devices-lan\x2da.b.device"
    for line in (
        f"BindsTo={device}",
        f"After={device} network-online.target",
        "Wants=network-online.target",
        "Before=k3s.service k3s-agent.service",
        "Type=oneshot",
        "RemainAfterExit=yes",
        f"WantedBy=multi-user.target {device}",
    ):
        assert line in text.splitlines()
    assert "ExecStop" not in text, "pods keep it whatever systemd does with the unit"
    assert "link add link lan-a.b name lan-a.b.4094 type vlan id 4094" in text
    assert "address" not in text
    assert accepted_by_systemd(vlans.root / "etc/systemd/system/k3s-macvlan-vlan-lan-a.b.4094.service")


def test_what_the_unit_runs(lan: Lan) -> None:
    """On a link of another kind where this kernel has no VLANs."""
    vlans = with_stand_ins(lan)
    if ip("-n mvtest-node link add link nic0 name nic0.50 type vlan id 50").returncode:
        other = '[[ "$*" != *" type vlan id 50" ]] || set -- link add link nic0 name nic0.50 type macvlan mode private'
        vlans.command("ip", f'#!/bin/bash\n{other}\nexec {shutil.which("ip")} "$@"\n')
    else:
        vlans.command("ip", f'#!/bin/sh\nexec {shutil.which("ip")} "$@"\n')
    ip("-n mvtest-node link delete nic0.50")
    ip("-n mvtest-node link set nic0 mtu 1400")
    vlans.file("sys/class/net/nic0/mtu", "1400\n")
    assert on(vlans, "nic0").returncode == 0
    unit = (vlans.root / "etc/systemd/system/k3s-macvlan-vlan-nic0.50.service").read_text()
    commands = re.findall(r"(?m)^ExecStart=-?(.+)$", unit)
    shown = []
    for _ in range(2):
        for command in commands:
            inside = ["ip", "netns", "exec", "mvtest-node", "sh", "-c", command.replace("$$", "$")]
            done = subprocess.run(inside, capture_output=True, text=True, check=False)
            assert done.returncode == 0, (command, done.stderr)
        shown.append(ip("-n mvtest-node -oneline link show dev nic0.50").stdout)
    assert shown[0] == shown[1], "it is not made again"
    assert " mtu 1400 " in shown[0] and ",UP," in shown[0]
    assert ip("-n mvtest-node -oneline address show dev nic0.50").stdout == "", "no address of the node's, link-local ones neither"


def test_an_interface_of_that_name_that_is_another_thing(vlans: Node) -> None:
    vlans.file(f"sys/class/net/{LINK}/mtu", "1500\n")
    for details in (
        VLAN_50.replace("id 50", "id 5"),
        VLAN_50.replace("id 50", "id 500"),
        VLAN_50.replace("802.1Q", "802.1ad"),
        VLAN_50.replace("@enp1s0", "@enp1s0x"),
        VLAN_50.replace(f"{LINK}@enp1s0", LINK),
    ):
        (vlans.stub / "details").write_text(details)
        done = on(vlans)
        assert done.returncode == 1 and f"an interface {LINK} is there and is not VLAN 50 of enp1s0: rename it" in done.stderr
    assert files(vlans) == KEPT and all("-details" in call for call in calls(vlans))


def test_a_link_of_others_is_used_and_stays(vlans: Node) -> None:
    vlans.file(f"sys/class/net/{LINK}/mtu", "1500\n")
    for _ in range(2):
        assert on(vlans).stdout == f"vlan={LINK} made by others, used as it is\n"
    assert files(vlans) == KEPT
    calls(vlans)
    assert off(vlans).stdout == f"vlan={LINK} absent or not ours\n"
    assert calls(vlans) == [] and (vlans.root / f"sys/class/net/{LINK}").exists()


def test_no_module(vlans: Node) -> None:
    vlans.command("modprobe", '#!/bin/sh\necho "Module $1 not found" >&2\nexit 1\n')
    done = on(vlans)
    assert done.returncode == 1 and "has no module 8021q, so it makes no VLANs: Module 8021q not found" in done.stderr
    assert files(vlans) == KEPT and calls(vlans) == []
    (vlans.root / "proc/net/vlan").mkdir(parents=True)
    assert on(vlans).returncode == 0, "it is built in"


def test_without_networkd_networkctl_is_not_called(vlans: Node) -> None:
    (vlans.stub / "networkd").unlink()
    assert on(vlans).returncode == 0
    assert off(vlans).returncode == 0
    assert not [call for call in calls(vlans) if call.startswith("networkctl")]


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("broken", f"{UNIT} did not start"),
        ("nothing", f"{UNIT} has started, and there is no interface {LINK}"),
        ("no-enable", f"systemd would not enable {UNIT}"),
        ("no-reload", "systemd-networkd would not read its files again"),
    ],
)
def test_a_first_run_that_fails_leaves_nothing(vlans: Node, fault: str, text: str) -> None:
    (vlans.stub / fault).touch()
    done = on(vlans)
    assert done.returncode == 1 and text in done.stderr
    assert files(vlans) == KEPT
    (vlans.stub / fault).unlink()
    assert on(vlans).returncode == 0


@pytest.mark.parametrize("fault", ["broken", "no-enable"])
def test_a_later_run_that_fails_leaves_what_pods_have(vlans: Node, fault: str) -> None:
    assert on(vlans).returncode == 0
    (vlans.stub / fault).touch()
    assert on(vlans).returncode == 1
    assert files(vlans) == OURS | KEPT and (vlans.root / f"sys/class/net/{LINK}").exists()


def test_a_parent_that_is_down_is_named(vlans: Node) -> None:
    (vlans.stub / "broken").touch()
    assert "enp1s0 is down, and its VLANs come up only while it is up" in on(vlans).stderr
    (vlans.stub / "up").write_text("2: enp1s0: <UP>\n")
    assert "is down" not in on(vlans).stderr


def test_off_removes_all_and_can_be_repeated(vlans: Node) -> None:
    assert on(vlans).returncode == 0
    vlans.file("sys/class/net/enp1s0.60/mtu", "1500\n")
    calls(vlans)
    done = off(vlans)
    assert (done.returncode, done.stdout) == (0, f"vlan={LINK} removed\n"), done.stderr
    assert files(vlans) == KEPT
    assert {path.name for path in (vlans.root / "sys/class/net").iterdir()} == {"enp1s0", "enp1s0.60"}
    assert calls(vlans) == [
        f"systemctl disable --quiet --now {UNIT}",
        f"ip link delete {LINK}",
        "systemctl daemon-reload",
        "systemctl is-active --quiet systemd-networkd.service",
        "networkctl reload links=enp1s0 enp1s0.60 files=",
    ]
    assert off(vlans).stdout == f"vlan={LINK} absent or not ours\n"
    assert calls(vlans) == []


def test_off_of_a_link_that_somebody_has_deleted(vlans: Node) -> None:
    assert on(vlans).returncode == 0
    shutil.rmtree(vlans.root / f"sys/class/net/{LINK}")
    assert off(vlans).returncode == 0
    assert files(vlans) == KEPT


@pytest.mark.parametrize("fault", ["no-disable", "kept"])
def test_an_off_that_fails_can_be_repeated(vlans: Node, fault: str) -> None:
    assert on(vlans).returncode == 0
    (vlans.stub / fault).touch()
    assert off(vlans).returncode == 1
    assert (vlans.root / f"sys/class/net/{LINK}").exists() and UNIT in files(vlans), "it is still known as ours"
    (vlans.stub / fault).unlink()
    assert off(vlans).returncode == 0
    assert files(vlans) == KEPT and not (vlans.root / f"sys/class/net/{LINK}").exists()


def test_off_while_pods_are_on_it(vlans: Node) -> None:
    assert on(vlans).returncode == 0
    macvlan = {"type": "macvlan", "master": LINK, "ipam": {"type": "static"}}
    cni_record(vlans.root, "camera", {"cniVersion": "0.3.1", "name": "iot", "plugins": [macvlan, {"type": "tuning"}]})
    cni_record(vlans.root, "printer", {"cniVersion": "0.3.1", "name": "paper", **macvlan})
    cni_record(vlans.root, "other", {"cniVersion": "0.3.1", "name": "lan", **macvlan, "master": "enp1s0"})
    calls(vlans)
    done = off(vlans)
    assert done.returncode == 1
    stays = f"{LINK} stays, because pods are on it that would lose their interface: home/camera, home/printer. Delete them"
    assert stays in done.stderr
    assert calls(vlans) == [] and files(vlans) == OURS | KEPT and (vlans.root / f"sys/class/net/{LINK}").exists()
    for pod in ("camera", "printer"):
        (vlans.root / f"var/run/netns/{pod}").unlink()
    assert off(vlans).returncode == 0, "their network namespaces are deleted"
    assert files(vlans) == KEPT


def test_off_waits_for_pods_to_end(vlans: Node) -> None:
    assert on(vlans).returncode == 0
    cni_record(vlans.root, "printer", {"cniVersion": "0.3.1", "name": "paper", "type": "macvlan", "master": LINK})
    namespace = vlans.root / "var/run/netns/printer"
    python = (vlans.bin / "python3").resolve()
    vlans.command("python3", f'#!/bin/bash\n{python} "$@"; code=$?\nrm -f "{namespace}"\nexit $code\n')
    done = off(vlans, LIMIT_SECONDS="30")
    assert done.returncode == 0 and "waiting for pods on enp1s0.50 to end: home/printer" in done.stderr
    assert files(vlans) == KEPT


def test_off_while_an_interface_of_others_is_on_it(vlans: Node) -> None:
    assert on(vlans).returncode == 0
    (vlans.root / f"sys/class/net/{LINK}/upper_br-iot").mkdir()
    (vlans.root / f"sys/class/net/{LINK}/lower_enp1s0").mkdir()
    done = off(vlans)
    assert done.returncode == 1 and f"{LINK} stays, because the interface br-iot is on it. Delete that" in done.stderr
    assert files(vlans) == OURS | KEPT


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"PARENT": "eth9"}, "there is no interface eth9 on this node"),
        ({"PARENT": "a;b"}, "PARENT is no interface name"),
        ({"PARENT": "enp0s31f6abcdef0"}, "PARENT is no interface name"),
        ({"PARENT": "enp0s31f6abc", "VLAN": "4094"}, "enp0s31f6abc.4094 is longer than the 15 characters"),
        ({"VLAN": "0"}, "VLAN must be a number from 1 to 4094"),
        ({"VLAN": "050"}, "VLAN must be"),
        ({"VLAN": "4095"}, "VLAN must be"),
        ({"VLAN": "a[$(touch pwned)]"}, "VLAN must be"),
        ({"ACTION": "maybe"}, "ACTION must be on or off"),
        ({"ACTION": "off", "LIMIT_SECONDS": "a[$(touch pwned)]"}, "LIMIT_SECONDS must be whole seconds"),
        ({"ACTION": "off"}, "LIMIT_SECONDS must be whole seconds"),
    ],
)
def test_refused(vlans: Node, wrong: dict[str, str], text: str) -> None:
    done = vlans.run("vlan-link", **{"ACTION": "on", "PARENT": "enp1s0", "VLAN": "50", **wrong})
    assert done.returncode == 1 and text in done.stderr
    assert files(vlans) == KEPT and calls(vlans) == [] and not Path("pwned").exists()


def test_the_longest_name_that_linux_takes(vlans: Node) -> None:
    vlans.file("sys/class/net/enp0s31f6a/mtu", "1500\n")
    assert on(vlans, "enp0s31f6a", "4094").stdout == "vlan=enp0s31f6a.4094 mtu=1500\n"
