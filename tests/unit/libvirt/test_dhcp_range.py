"""DHCP ranges: what is taken out of them can be given back."""

from __future__ import annotations

import itertools
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.config.addresses import intersect, subtract
from components.libvirt.dhcp_range import DhcpRange, give_back

pytestmark = pytest.mark.unit

BASE = IPv4Address("192.168.122.0")


@st.composite
def disjoint(draw: st.DrawFn) -> list[DhcpRange]:
    """Ranges as a network may have them: disjoint, in any order, adjacent or not, with lease times or not."""
    cuts = sorted(draw(st.sets(st.integers(1, 254), min_size=2, max_size=12)))
    leases = st.sampled_from([None, ("2", "hours")])
    ranges = [
        DhcpRange(BASE + first, BASE + last - 1, draw(leases)) for first, last in itertools.pairwise(cuts) if draw(st.booleans())
    ]
    return draw(st.permutations(ranges))


CLAIMS = st.lists(
    st.tuples(st.integers(0, 255), st.integers(0, 255)).map(lambda two: DhcpRange(BASE + min(two), BASE + max(two))), max_size=4
)


def addresses(ranges: list[DhcpRange]) -> set[tuple[IPv4Address, Any]]:
    return {(address, dhcp_range.lease) for dhcp_range in ranges for address in dhcp_range}


def plain(ranges: list[DhcpRange]) -> set[IPv4Address]:
    return {address for address, _ in addresses(ranges)}


@given(disjoint(), CLAIMS)
def test_subtract_leaves_exactly_the_rest(before: list[DhcpRange], claims: list[DhcpRange]) -> None:
    left = subtract(before, claims)
    assert plain(left) == plain(before) - plain(claims)
    assert plain(left) | plain(intersect(before, claims)) == plain(before)
    assert len(addresses(left)) == sum(len(dhcp_range) for dhcp_range in left)


@given(disjoint(), CLAIMS)
def test_what_was_taken_comes_back_exactly(before: list[DhcpRange], claims: list[DhcpRange]) -> None:
    left, taken = subtract(before, claims), intersect(before, claims)
    assert give_back(left, taken, before) == before
    assert give_back(before, taken, before) == before  # somebody else gave it back already


@given(disjoint(), CLAIMS, CLAIMS, st.booleans())
def test_two_stacks_give_back_in_any_order(
    before: list[DhcpRange], one: list[DhcpRange], two: list[DhcpRange], first: bool
) -> None:
    left_one, taken_one = subtract(before, one), intersect(before, one)
    left_two, taken_two = subtract(left_one, two), intersect(left_one, two)
    if first:
        middle = give_back(left_two, taken_one, before)
        assert plain(middle) == plain(before) - plain(taken_two)
        end = give_back(middle, taken_two, left_one)
    else:
        middle = give_back(left_two, taken_two, left_one)
        assert middle == left_one
        end = give_back(middle, taken_one, before)
        assert end == before
    assert addresses(end) == addresses(before)


@pytest.mark.parametrize("wrong", ["", "x", "1.2.3", "1.2.3.4-", "10.0.0.9-10.0.0.2", "fd00::1", "1.2.3.4-5", "01.2.3.4"])
def test_wrong_ranges_are_named(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"address|range"):
        DhcpRange.parse(wrong)
