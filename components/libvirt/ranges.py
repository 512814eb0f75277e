"""Address ranges of a libvirt network: taking claims out of them and giving them back. Pure.

A libvirt network hands out addresses from an ordered list of ranges. Two stacks may take from the same list and give back
in any order, so nothing here restores a list blindly: what was removed is added to what is there now, and the exact list of
the beginning (order and splits) comes back when, and only when, the same addresses are in it again.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Addresses from `start` to `end`, both included, as integers.

    `lease` is the range's lease time in libvirt's terms, `(expiry, unit)`; None is dnsmasq's default of one hour.
    """

    start: int
    end: int
    lease: tuple[str, str] | None = None

    @staticmethod
    def parse(text: str) -> Range:
        """Read `"192.168.122.200-192.168.122.210"` or a single address.

        A lease time may follow as `@expiry/unit`, which is how a journal keeps it. Raises ValueError naming the text.
        """
        addresses, _, lease = text.partition("@")
        first, dash, last = addresses.partition("-")
        try:
            start = int(ipaddress.IPv4Address(first.strip()))
            end = int(ipaddress.IPv4Address(last.strip())) if dash else start
        except ValueError as error:
            raise ValueError(f"{text!r} is no IPv4 address or range of the form first-last ({error})") from None
        if start > end:
            raise ValueError(f"{text!r}: the first address of a range must not come after the last")
        expiry, _, unit = lease.partition("/")
        return Range(start, end, (expiry, unit) if lease else None)

    @property
    def first(self) -> str:
        return str(ipaddress.IPv4Address(self.start))

    @property
    def last(self) -> str:
        return str(ipaddress.IPv4Address(self.end))

    def __str__(self) -> str:
        lease = "@" + "/".join(self.lease) if self.lease else ""
        return f"{self.first}-{self.last}{lease}"

    def __contains__(self, address: str) -> bool:
        return self.start <= int(ipaddress.IPv4Address(address)) <= self.end


def parse_all(texts: Iterable[str]) -> list[Range]:
    """`Range.parse` for each text, in order."""
    return [Range.parse(text) for text in texts]


def texts(ranges: Iterable[Range]) -> list[str]:
    """Each range as text that `Range.parse` reads back."""
    return [str(each) for each in ranges]


def subtract(ranges: Sequence[Range], claims: Sequence[Range]) -> list[Range]:
    """What is left of `ranges` without `claims`, in the order of `ranges`."""
    left = list(ranges)
    for claim in claims:
        cut: list[Range] = []
        for each in left:
            if claim.end < each.start or claim.start > each.end:
                cut.append(each)
                continue
            if each.start < claim.start:
                cut.append(Range(each.start, claim.start - 1, each.lease))
            if claim.end < each.end:
                cut.append(Range(claim.end + 1, each.end, each.lease))
        left = cut
    return left


def intersect(ranges: Sequence[Range], claims: Sequence[Range]) -> list[Range]:
    """The pieces of `ranges` that lie in `claims`, merged and sorted."""
    pieces = [
        Range(max(each.start, claim.start), min(each.end, claim.end), each.lease)
        for each in ranges
        for claim in claims
        if max(each.start, claim.start) <= min(each.end, claim.end)
    ]
    return merge(pieces)


def merge(ranges: Iterable[Range]) -> list[Range]:
    """The same addresses in as few ranges as possible, sorted.

    Touching ranges with different lease times stay apart. Where such ranges overlap, the earlier one keeps the address:
    libvirt refuses overlapping ranges.
    """
    merged: list[Range] = []
    for each in sorted(ranges, key=lambda item: (item.start, item.end)):
        last = merged[-1] if merged else None
        if last is None or each.start > last.end + 1:
            merged.append(each)
        elif each.lease == last.lease:
            merged[-1] = Range(last.start, max(last.end, each.end), last.lease)
        elif each.end > last.end:
            merged.append(Range(max(each.start, last.end + 1), each.end, each.lease))
    return merged


def give_back(current: Sequence[Range], removed: Sequence[Range], original: Sequence[Range]) -> list[Range]:
    """`current` with `removed` in it again: exactly `original` if that has the same addresses, else merged and
    sorted.
    """
    missing = subtract(removed, current)
    if not missing:
        return list(original) if merge(current) == merge(original) else list(current)
    whole = merge([*current, *missing])
    return list(original) if whole == merge(original) else whole
