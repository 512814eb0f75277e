"""What is read from a network's definition."""

from __future__ import annotations

import pytest

from components.libvirt import network_xml
from components.libvirt.dhcp_range import parse_all
from components.libvirt.network_xml import Host

pytestmark = pytest.mark.unit


def test_network_xml_is_read() -> None:
    facts = network_xml.read_network(
        """<network><name>default</name><forward mode='nat'/><bridge name='virbr0'/>
        <ip family='ipv6' address='fd00::1' prefix='64'><dhcp><range start='fd00::2' end='fd00::9'/></dhcp></ip>
        <ip address='192.168.122.1' netmask='255.255.255.0'><dhcp>
          <range start='192.168.122.2' end='192.168.122.20'/>
          <range start='192.168.122.30' end='192.168.122.40'><lease expiry='2' unit='hours'/></range>
          <host mac='52:54:00:AA:00:01' name='n' ip='192.168.122.21'/></dhcp></ip></network>"""
    )
    assert (facts.bridge, facts.ip, facts.netmask, facts.forward) == ("virbr0", "192.168.122.1", "255.255.255.0", "nat")
    assert [*map(str, facts.ranges)] == ["192.168.122.2-192.168.122.20", "192.168.122.30-192.168.122.40@2/hours"]
    assert facts.hosts == (Host("52:54:00:aa:00:01", "192.168.122.21", "n"),)
    assert parse_all(map(str, facts.ranges)) == list(facts.ranges)
    bare = network_xml.read_network("<network><name>x</name></network>")
    assert (bare.ip, bare.ranges, bare.hosts) == ("", (), ())
