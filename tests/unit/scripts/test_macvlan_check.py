"""macvlan-check.sh, on real links in network namespaces."""

import re
import signal
import time

import pytest
from namespaces import ip

from .fake_node import MAC, Lan

pytestmark = pytest.mark.unit


def leftovers() -> list[str]:
    names = [line.split()[0] for line in ip("netns list").stdout.splitlines()]
    links = [w for w in ip("-n mvtest-node -o link").stdout.split() if w.startswith("mvcheck")]
    return links + [n for n in names if n == "macvlan-check"]


def test_macvlan_works(lan: Lan) -> None:
    for mode in ("bridge", "private", "vepa"):
        done = lan.check(MODE=mode)
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(r"interface=nic0 kernel=\d+\.\d+ macvlan=ok\n", done.stdout)
        assert leftovers() == []
    assert lan.check(MAC=MAC.upper(), PING="false", GATEWAY="").returncode == 0


def test_macvlan_is_tried_on_the_parent_that_the_pods_will_have(lan: Lan) -> None:
    ip("-n mvtest-node link add nic9 type veth peer name port9 netns mvtest-lan")
    ip("-n mvtest-node link set nic9 up")
    ip("-n mvtest-lan link set port9 up")
    done = lan.check(PARENT="nic9", PING="false")
    assert (done.returncode, done.stdout.split()[0]) == (0, "interface=nic9"), done.stderr
    ip("-n mvtest-lan address flush dev port0")
    ip("-n mvtest-lan address add 192.168.222.205/24 dev port9")
    done = lan.check(PARENT="nic9", PING="false")
    assert done.returncode == 1 and "answered for it" in done.stderr, "it asks there, and by that interface's MAC"
    assert leftovers() == []


def test_macvlan_mtu(lan: Lan) -> None:
    for mtu in ("", "1400", "1500"):
        assert lan.check(MTU=mtu, PING="false").returncode == 0
    done = lan.check(MTU="9000")
    assert done.returncode == 1
    assert "macvlan.mtu 9000 is 7500 bytes above the MTU 1500 of nic0" in done.stderr and "set at most 1500" in done.stderr
    ip("-n mvtest-lan link set port0 mtu 9000")
    ip("-n mvtest-node link set nic0 mtu 9000")
    assert lan.check(MTU="9000", PING="false").returncode == 0
    assert leftovers() == []


def test_macvlan_duplicate_address(lan: Lan) -> None:
    ip("-n mvtest-lan address add 192.168.222.205/24 dev port0")
    done = lan.check()
    address = re.search(r"link/ether (\S+)", ip("-n mvtest-lan link show port0").stdout)
    assert done.returncode == 1 and address and f"{address[1]} answered" in done.stderr
    assert leftovers() == []


def test_macvlan_silent_gateway(lan: Lan) -> None:
    done = lan.check(GATEWAY="192.168.222.9", LIMIT_SECONDS="2")
    assert done.returncode == 1 and "192.168.222.9 does not answer a ping" in done.stderr
    assert "must learn foreign MACs" in done.stderr and leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_macvlan_leaves_nothing_when_killed(lan: Lan, number: signal.Signals) -> None:
    process = lan.start(GATEWAY="192.168.222.9", LIMIT_SECONDS="8")
    until = time.monotonic() + 20
    while "mvcheck0" not in ip("-n macvlan-check -o link").stdout and time.monotonic() < until:
        time.sleep(0.05)
    assert leftovers() == ["macvlan-check"]
    time.sleep(0.2)
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode != 0
    if number == signal.SIGKILL:
        assert leftovers() == ["macvlan-check"], "nobody could remove it"
        assert lan.check().returncode == 0, "the next run removes it"
    assert leftovers() == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"MAC": "52:54:00:aa:00:99"}, "no interface has the MAC"),
        ({"TEST_ADDRESS": "192.168.222.21/24"}, "address of this node itself"),
        ({"TEST_ADDRESS": "192.168.222.205"}, "needs a prefix"),
        ({"GATEWAY": "10.0.0.1"}, "not in the network"),
        ({"MODE": "passthru"}, "takes the NIC away"),
        ({"PARENT": "nic7"}, "there is no interface nic7 for the pods on this node: set macvlan.master"),
        ({"PARENT": "$(touch pwned)"}, "PARENT is no interface name"),
        ({"MTU": "$(touch pwned)"}, "MTU must be whole bytes"),
        ({"MAC": "$(touch pwned)"}, "not a MAC address"),
    ],
)
def test_macvlan_refuses(lan: Lan, change: dict[str, str], text: str) -> None:
    done = lan.check(**change)
    assert done.returncode == 1 and text in done.stderr
    assert leftovers() == []


@pytest.mark.parametrize(("release", "code", "text"), [("3.8.0", 1, "too old"), ("3.10.0-957.el7", 0, "4.0 or later is advised")])
def test_macvlan_kernel(lan: Lan, release: str, code: int, text: str) -> None:
    lan.command("uname", f"#!/bin/sh\necho {release}\n")
    done = lan.check()
    assert done.returncode == code and text in done.stderr


def test_macvlan_module_missing(lan: Lan) -> None:
    lan.command("modprobe", "#!/bin/sh\necho 'Module macvlan not found' >&2\nexit 1\n")
    done = lan.check()
    assert done.returncode == 1 and "Module macvlan not found" in done.stderr
