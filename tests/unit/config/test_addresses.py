"""Ranges of addresses, against the same said with sets of numbers."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.config.addresses import AddressRange, Ipv6Range, intersect, merge, subtract

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[3]
steady = settings(deadline=None, database=None, derandomize=True)

_BASE = int(IPv4Address("192.168.122.0"))
ranges = st.tuples(st.integers(0, 255), st.integers(0, 255)).map(
    lambda ends: AddressRange(IPv4Address(_BASE + min(ends)), IPv4Address(_BASE + max(ends)))
)


_BASE6 = int(IPv6Address("fd00:50::"))
ipv6_ranges = st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)).map(
    lambda ends: Ipv6Range(IPv6Address(_BASE6 + min(ends)), IPv6Address(_BASE6 + max(ends)))
)


def numbers(*items: AddressRange) -> set[int]:
    return {number for item in items for number in range(int(item.first), int(item.last) + 1)}


@steady
@given(ranges, ranges)
def test_overlap_is_a_common_address(one: AddressRange, other: AddressRange) -> None:
    assert one.overlaps(other) == bool(numbers(one) & numbers(other)) == other.overlaps(one)


@steady
@given(st.lists(ranges, max_size=8))
def test_merge_keeps_the_addresses_in_as_few_ranges_as_possible(items: list[AddressRange]) -> None:
    merged = merge(items)
    assert numbers(*merged) == numbers(*items)
    assert all(int(one.last) + 1 < int(other.first) for one, other in pairwise(merged))
    assert merge(merged) == merged == merge(reversed(items))


@steady
@given(st.lists(ranges, max_size=8), st.lists(ranges, max_size=4))
def test_subtract_and_intersect_divide_the_addresses(items: list[AddressRange], claims: list[AddressRange]) -> None:
    assert numbers(*subtract(items, claims)) == numbers(*items) - numbers(*claims)
    assert numbers(*intersect(items, claims)) == numbers(*items) & numbers(*claims)
    assert subtract(items, []) == items, "their order and splits stay"


def test_ranges_with_different_attributes_stay_apart() -> None:
    @dataclass(frozen=True)
    class Named(AddressRange):
        name: str = ""

    first, second = (IPv4Address(_BASE + number) for number in (10, 20))
    merged = merge([Named(first, second, "a"), Named(first + 5, second + 5, "b"), Named(second + 6, second + 9, "b")])
    assert merged == [Named(first, second, "a"), Named(second + 1, second + 9, "b")]
    assert subtract(merged, [AddressRange.single(first)])[0] == Named(first + 1, second, "a")


@steady
@given(ranges)
def test_a_range_is_its_text_its_length_and_its_addresses(item: AddressRange) -> None:
    assert AddressRange.parse(str(item)) == item
    assert [int(address) for address in item] == sorted(numbers(item))
    assert len(item) == item.size == len(numbers(item))
    assert item.first in item
    assert item.last in item
    assert IPv4Address(int(item.last) + 1) not in item


@steady
@given(ranges, st.integers(1, 40))
def test_slices_are_cut_from_the_start(item: AddressRange, size: int) -> None:
    count = len(item) // size
    slices = [item.slice(index * size, size) for index in range(count)]
    assert numbers(*slices) <= numbers(item)
    assert len(numbers(*slices)) == count * size


@pytest.mark.parametrize("text", ["10.0.0.1", "10.0.0.1-10.0.0.1", " 10.0.0.1 - 10.0.0.1 "])
def test_a_single_address_is_a_range_of_one(text: str) -> None:
    assert AddressRange.parse(text) == AddressRange.single(IPv4Address("10.0.0.1"))


@pytest.mark.parametrize(
    "text",
    ["", "-", "10.0.0.1-", "-10.0.0.1", "10.0.0.9-10.0.0.1", "10.0.0.1-9", "10.0.0.0/24", "fe80::1", "fe80::1-fe80::2",
     "10.0.0.1-10.0.0.2-10.0.0.3", "10.0.0.256", "010.0.0.1", "٢.٢.٢.٢", "10.0.0.1\n-x", "host-10.0.0.1"],
)  # fmt: skip
def test_what_is_no_range_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(ValueError, match=r"192\.168\.122\.200-192\.168\.122\.210|runs backwards"):
        AddressRange.parse(text)


@steady
@given(ipv6_ranges, ipv6_ranges)
def test_a_range_of_ipv6_is_one_too(one: Ipv6Range, other: Ipv6Range) -> None:
    assert Ipv6Range.parse(str(one)) == one
    assert one.within(IPv6Network("fd00:50::/64"))
    assert one.size == int(one.last) - int(one.first) + 1, "also above 2**63, where `len` ends"
    assert one.first in one
    assert IPv6Address(int(one.last) + 1) not in one
    common = max(int(one.first), int(other.first)) <= min(int(one.last), int(other.last))
    assert one.overlaps(other) == common == other.overlaps(one)
    assert next(iter(one)) == one.first
    assert one.slice(0, one.size) == one
    assert one.slice(one.size - 1, 1) == Ipv6Range.single(one.last)


@pytest.mark.parametrize("text", ["fd00::1", "fd00::1-fd00::1", " fd00:0::1 - FD00::1 "])
def test_a_single_ipv6_address_is_a_range_of_one(text: str) -> None:
    assert Ipv6Range.parse(text) == Ipv6Range.single(IPv6Address("fd00::1"))


@pytest.mark.parametrize(
    "text",
    ["", "fd00::1-", "-fd00::1", "fd00::9-fd00::1", "fd00::1-9::x", "fd00::/64", "10.0.0.1", "10.0.0.1-10.0.0.2", "fd00::1-::g"],
)
def test_what_is_no_range_of_ipv6_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(ValueError, match=r"write a range as fd00:50::100-fd00:50::1ff|runs backwards; write the lower"):
        Ipv6Range.parse(text)


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("fd00::1", True),
        ("::", True),
        (" fd00:50::100 - FD00:50::1ff ", True),
        ("::ffff:192.168.1.1", True),
        ("10.0.0.1", False),
        ("10.0.0.1-10.0.0.2", False),
        ("fd00::1-10.0.0.2", False),
        ("abcd", False),
    ],
)
def test_an_editor_takes_a_range_of_ipv6_and_none_of_ipv4(text: str, taken: bool) -> None:
    assert bool(re.search(Ipv6Range.json_pattern, text)) is taken


def test_within_a_network_means_both_ends() -> None:
    network = IPv4Network("192.168.122.0/24")
    assert AddressRange.parse("192.168.122.0-192.168.122.255").within(network)
    assert not AddressRange.parse("192.168.121.255-192.168.122.1").within(network)
    assert not AddressRange.parse("192.168.122.255-192.168.123.0").within(network)


def test_a_provider_s_process_gets_it_without_pydantic() -> None:
    code = "import sys, components.config.addresses; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
