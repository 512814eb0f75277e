"""lan-check.sh, on real links in network namespaces."""

import hashlib
import re

import pytest
from namespaces import ip

from .fake_node import MAC, SCRIPTS, Lan, stripped

pytestmark = pytest.mark.unit


def test_lan_check_is_part_of_the_first_boot() -> None:
    """Its text is in the user data of nodes on a bridge. Who changes it recreates all of them, and says so by this digest."""
    assert hashlib.sha256(stripped(SCRIPTS / "lan-check.sh").encode()).hexdigest()[:16] == "fe82d5ff113e756f"


def test_lan_is_free(lan: Lan) -> None:
    done = lan.probe(RANGES="192.168.222.200-192.168.222.203,192.168.222.250")
    assert (done.returncode, done.stdout) == (0, "interface=nic0 probed=6 lan=free\n"), done.stderr
    assert lan.probe().stdout == "interface=nic0 probed=1 lan=free\n"


def test_lan_names_every_unmanaged_machine(lan: Lan) -> None:
    for address in ("192.168.222.21", "192.168.222.202", "192.168.222.250", "192.168.222.204"):
        ip(f"-n mvtest-lan address add {address}/24 dev port0")
    link = re.search(r"link/ether (\S+)", ip("-n mvtest-lan link show port0").stdout)
    assert link
    done = lan.probe(MAC=MAC.upper(), RANGES="192.168.222.200-192.168.222.203,192.168.222.250")
    assert done.returncode == 1
    for address in ("192.168.222.21", "192.168.222.202", "192.168.222.250"):
        assert f"{address} is in use: {link[1]} answered for it" in done.stderr
    assert "192.168.222.204" not in done.stderr
    assert MAC not in ip("-n mvtest-lan neighbour show").stdout, "the probe leaves no trace in the unmanaged machine's table"


def test_lan_probes_no_more_than_a_thousand(lan: Lan) -> None:
    ip("-n mvtest-lan address add 192.168.227.0/16 dev port0")
    done = lan.probe(RANGES="192.168.223.0-192.168.255.255")
    assert (done.returncode, done.stdout) == (0, "interface=nic0 probed=1024 lan=free\n"), done.stderr


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"MAC": "52:54:00:aa:00:99"}, "no interface has the MAC"),
        ({"MAC": "$(touch pwned)"}, "not a MAC address"),
        ({"RANGES": "192.168.222.1-x"}, "must be IPv4 addresses"),
        ({"ADDRESS": "$(touch pwned)"}, "must be IPv4 addresses"),
    ],
)
def test_lan_wrong_parameters(lan: Lan, change: dict[str, str], text: str) -> None:
    done = lan.probe(**change)
    assert done.returncode == 1 and text in done.stderr
