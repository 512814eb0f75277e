"""network-check.sh, on real links in network namespaces."""

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from namespaces import ip

from .fake_node import MAC, Lan

pytestmark = pytest.mark.unit

IPVLAN = {"TYPE": "ipvlan", "MODE": "l2"}
# A kernel without ipvlan: the link is another one; that the gateway is probed from the parent is real.
IP_WITHOUT_IPVLAN = """#!/bin/bash
[[ $* != *" type ipvlan mode l2" ]] || { echo "$*" >> "$STUB/ip.log"; set -- "${@/ipvlan/macvlan}"; set -- "${@/#l2/private}"; }
exec REAL "$@"
"""


def leftovers() -> list[str]:
    names = [line.split()[0] for line in ip("netns list").stdout.splitlines()]
    links = [w for w in ip("-n mvtest-node -o link").stdout.split() if w.startswith("mvcheck")]
    return links + [n for n in names if n == "network-check"]


def mac_of(link: str) -> str:
    """Of a link of the segment's other machine."""
    found = re.search(r"link/ether (\S+)", ip(f"-n mvtest-lan link show {link}").stdout)
    assert found
    return found[1]


@pytest.fixture
def ipvlan(lan: Lan) -> Lan:
    if ip("-n mvtest-node link add link nic0 name mvtry type ipvlan mode l2").returncode:
        lan.command("ip", IP_WITHOUT_IPVLAN.replace("REAL", str(shutil.which("ip"))))
    ip("-n mvtest-node link delete mvtry")
    return lan


def test_macvlan_works(lan: Lan) -> None:
    for mode in ("bridge", "private", "vepa"):
        done = lan.check(MODE=mode)
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(rf"interface=nic0 kernel=\d+\.\d+ macvlan=ok gateway={mac_of('port0')}\n", done.stdout)
        assert leftovers() == []
    done = lan.check(MAC=MAC.upper(), GATEWAY="")
    assert done.returncode == 0 and done.stdout.endswith(" macvlan=ok\n"), done.stderr


def test_ipvlan_works(ipvlan: Lan) -> None:
    done = ipvlan.check(**IPVLAN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f" ipvlan=ok gateway={mac_of('port0')}\n")
    assert leftovers() == []


def test_a_network_is_tried_on_the_link_that_its_pods_will_have(lan: Lan) -> None:
    ip("-n mvtest-node link add nic9 type veth peer name port9 netns mvtest-lan")
    ip("-n mvtest-node link set nic9 up")
    ip("-n mvtest-lan link set port9 up")
    done = lan.check(LINK="nic9", GATEWAY="")
    assert (done.returncode, done.stdout.split()[0]) == (0, "interface=nic9"), done.stderr
    ip("-n mvtest-lan address flush dev port0")
    ip("-n mvtest-lan address add 192.168.222.205/24 dev port9")
    done = lan.check(LINK="nic9", GATEWAY="192.168.222.205")
    assert done.returncode == 0 and f"gateway={mac_of('port9')}" in done.stdout, done.stderr
    done = lan.check(LINK="nic9", GATEWAY="", FREE="192.168.222.205")
    assert done.returncode == 1 and "answered for it" in done.stderr, "it probes there, and by that interface's MAC address"
    ip("-n mvtest-node link set nic9 down")
    assert "nic9 is down" in lan.check(LINK="nic9").stderr
    assert leftovers() == []


def test_mtu(lan: Lan) -> None:
    for mtu in ("", "1400", "1500"):
        assert lan.check(MTU=mtu, GATEWAY="").returncode == 0
    done = lan.check(MTU="9000")
    assert done.returncode == 1
    assert "podNetworks.iot.mtu 9000 is 7500 bytes above the MTU 1500 of nic0" in done.stderr and "set at most 1500" in done.stderr
    ip("-n mvtest-lan link set port0 mtu 9000")
    ip("-n mvtest-node link set nic0 mtu 9000")
    assert lan.check(MTU="9000", GATEWAY="").returncode == 0
    assert leftovers() == []


@pytest.mark.parametrize("free", ["192.168.222.205", "192.168.222.200-192.168.222.204,192.168.222.205-192.168.222.206"])
def test_an_address_that_another_machine_has(lan: Lan, free: str) -> None:
    assert lan.check(FREE=free, GATEWAY="").returncode == 0
    ip("-n mvtest-lan address add 192.168.222.205/24 dev port0")
    done = lan.check(FREE=free)
    assert done.returncode == 1 and f"192.168.222.205 is in use: {mac_of('port0')} answered" in done.stderr
    assert "addresses that podNetworks.iot gives to pods" in done.stderr
    assert leftovers() == []


def test_an_address_of_the_book_is_its_mac_address_s_alone(lan: Lan) -> None:
    book = "192.168.222.206=02:00:00:00:50:11,192.168.222.205="
    ip("-n mvtest-lan address add 192.168.222.205/24 dev port0")
    done = lan.check(BOOKED=f"{book}02:00:00:00:50:10")
    assert done.returncode == 1 and f"192.168.222.205 is in use: {mac_of('port0')} answered" in done.stderr
    done = lan.check(BOOKED=f"{book}{mac_of('port0').upper()}")
    assert done.returncode == 0, f"it may be the pod, on another node; nobody has the other one: {done.stderr}"
    assert leftovers() == []


@pytest.mark.parametrize("kind", ["macvlan", "ipvlan"])
def test_silent_gateway(ipvlan: Lan, kind: str) -> None:
    done = ipvlan.check(GATEWAY="192.168.222.9", LIMIT_SECONDS="2", **(IPVLAN if kind == "ipvlan" else {}))
    assert done.returncode == 1
    assert f"the gateway 192.168.222.9 of podNetworks.iot does not answer by ARP through the {kind} link on nic0" in done.stderr
    assert "podNetworks.iot.check: false" in done.stderr
    assert ("must learn foreign MACs" in done.stderr) == (kind == "macvlan"), "an ipvlan link has the node's own"
    assert leftovers() == []


def test_a_bridge_that_learns_no_mac_addresses(lan: Lan) -> None:
    """As libvirt's does with macTableManager: what is for everybody arrives, replies for a pod's own MAC address do not."""
    for words in (
        "link add br0 type bridge",
        "address flush dev port0",
        "address add 192.168.222.1/24 dev br0",
        "link set br0 up",
        "link set port0 master br0",
        "link set port0 type bridge_slave learning off flood off",
    ):
        done = ip(f"-n mvtest-lan {words}")
        if done.returncode:
            pytest.skip(f"this kernel has no bridge: {done.stderr}")
    known = ["bridge", "-n", "mvtest-lan", "fdb", "add", MAC, "dev", "port0", "master", "static"]
    subprocess.run(known, check=True)
    done = lan.check(LIMIT_SECONDS="1", FREE="192.168.222.1")
    assert done.returncode == 1 and "192.168.222.1 is in use" in done.stderr, "the node itself reaches it"
    done = lan.check(LIMIT_SECONDS="1")
    assert done.returncode == 1 and "must learn foreign MACs" in done.stderr
    ip("-n mvtest-lan link set port0 type bridge_slave flood on")
    done = lan.check(LIMIT_SECONDS="1")
    assert done.returncode == 0, done.stderr


def started(lan: Lan, process: subprocess.Popen[str], namespace: bool) -> None:
    """Waits until it probes."""
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None:
        probing = "mvcheck0" in ip("-n network-check -o link").stdout if namespace else (lan.stub / "probing").exists()
        if probing:
            time.sleep(0.2)
            return
        time.sleep(0.05)
    pytest.fail("it did not begin to probe")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_killed_run_leaves_nothing(lan: Lan, number: signal.Signals) -> None:
    process = lan.start(GATEWAY="192.168.222.9", LIMIT_SECONDS="8")
    started(lan, process, namespace=True)
    assert leftovers() == ["network-check"]
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode != 0
    if number == signal.SIGKILL:
        assert leftovers() == ["network-check"], "nobody could remove it"
        assert lan.check().returncode == 0, "the next run removes it"
    assert leftovers() == []


@pytest.mark.parametrize("parameters", [{}, {"FREE": "192.168.222.205"}, {"BOOKED": "192.168.222.205=02:00:00:00:50:10"}])
def test_a_signal_is_not_kept_waiting(lan: Lan, parameters: dict[str, str]) -> None:
    """Not by what it has begun either: that would hold stderr open."""
    # nic.py is given the MAC address or nothing first, what probes the interface.
    probing = '[[ $3 != nic0 && $3 != mvcheck0 ]] || { touch "$STUB/probing"; exec sleep 60; }'
    lan.command("python3", f'#!/bin/bash\n{probing}\nexec {Path(sys.executable).resolve()} "$@"\n')
    process = lan.start(**parameters)
    started(lan, process, namespace=False)
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 143
    assert leftovers() == []


def test_a_link_that_cannot_be_made(lan: Lan) -> None:
    for words in ("add br0 type bridge", "set nic0 master br0"):
        done = ip(f"-n mvtest-node link {words}")
        if done.returncode:
            pytest.skip(f"this kernel has no bridge: {done.stderr}")
    done = lan.check()
    assert done.returncode == 1 and "cannot make a macvlan link on nic0" in done.stderr
    assert leftovers() == []


def test_passthru_is_not_tried(lan: Lan) -> None:
    done = lan.check(MODE="passthru", GATEWAY="192.168.222.9")
    assert done.returncode == 0 and done.stdout.endswith(" macvlan=untried\n"), done.stderr
    done = lan.check(MODE="passthru", FREE="192.168.222.1")
    assert done.returncode == 1 and "192.168.222.1 is in use" in done.stderr, "addresses are"
    assert leftovers() == []


def test_a_kernel_without_ipv6(lan: Lan) -> None:
    assert lan.check(GATEWAY="").returncode == 0
    done = lan.check(IPV6="true")
    assert done.returncode == 1 and "this kernel runs without IPv6" in done.stderr and "podNetworks.iot.ipv6: accept" in done.stderr
    assert "with replies: by-source the plugin is needed all the same" in done.stderr, "see PodNetwork.tuned"
    (lan.root / "proc/sys/net/ipv6/conf").mkdir(parents=True)
    assert lan.check(IPV6="true", GATEWAY="").returncode == 0


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"MAC": "52:54:00:aa:00:99"}, "no interface has the MAC"),
        ({"MAC": "$(touch pwned)"}, "not a MAC address"),
        ({"LINK": "nic7"}, "there is no interface nic7 for the pods on this node: set podNetworks.iot.parent"),
        ({"LINK": "$(touch pwned)"}, "LINK is no interface name"),
        ({"LINK": "a234567890123456"}, "LINK is no interface name"),
        ({"MTU": "$(touch pwned)"}, "MTU must be whole bytes"),
        ({"GATEWAY": "$(touch pwned)"}, "GATEWAY is no IPv4 address"),
        ({"GATEWAY": "192.168.222"}, "GATEWAY is no IPv4 address"),
        ({"FREE": "$(touch pwned)"}, "FREE must be IPv4 addresses"),
        ({"FREE": "192.168.222.1.5"}, "cannot probe for 192.168.222.1.5 on nic0"),
        ({"BOOKED": "$(touch pwned)"}, "BOOKED must be IPv4 and MAC addresses"),
        ({"BOOKED": "192.168.222=02:00:00:00:50:10"}, "cannot probe for 192.168.222 on nic0"),
        ({"TYPE": "bridge"}, "MODE must be one of TYPE's"),
        ({"MODE": "l2"}, "MODE must be one of TYPE's"),
        ({"TYPE": "ipvlan", "MODE": "passthru"}, "MODE must be one of TYPE's"),
        ({"LIMIT_SECONDS": "-1"}, "LIMIT_SECONDS must be whole seconds"),
    ],
)
def test_refused(lan: Lan, change: dict[str, str], text: str) -> None:
    done = lan.check(**change)
    assert done.returncode == 1 and text in done.stderr
    assert leftovers() == [] and not Path("pwned").exists()


@pytest.mark.parametrize(("release", "code", "text"), [("3.8.0", 1, "too old"), ("3.10.0-957.el7", 0, "4.0 or later is advised")])
def test_kernel(lan: Lan, release: str, code: int, text: str) -> None:
    lan.command("uname", f"#!/bin/sh\necho {release}\n")
    done = lan.check()
    assert done.returncode == code and text in done.stderr


@pytest.mark.parametrize("kind", [{}, IPVLAN])
def test_module_missing(lan: Lan, kind: dict[str, str]) -> None:
    lan.command("modprobe", '#!/bin/sh\necho "Module $1 not found" >&2\nexit 1\n')
    name = kind.get("TYPE", "macvlan")
    done = lan.check(**kind)
    assert done.returncode == 1 and f"has no module {name}: Module {name} not found" in done.stderr
    (lan.root / f"sys/module/{name}").mkdir(parents=True)
    assert "has no module" not in lan.check(**kind).stderr, "it is built in"
