"""DHCP ranges of a libvirt network, as its definition has them and as a record of claims keeps them. Pure.

A libvirt network hands out addresses from an ordered list of ranges. Two stacks may take from the same list and give back
in any order, so nothing here restores a list blindly: what was removed is added to what is there now, and the exact list of
the beginning (order and splits) comes back when, and only when, the same addresses are in it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from components.config.addresses import AddressRange, merge, subtract


@dataclass(frozen=True)
class DhcpRange(AddressRange):
    """A <range> of a libvirt network's <dhcp>."""

    lease: tuple[str, str] | None = None
    """The lease time in libvirt's terms, (expiry, unit), as ("2", "hours"); None: dnsmasq's default of one hour."""

    @classmethod
    def parse(cls, text: str) -> DhcpRange:
        """As `AddressRange.parse`; a lease time may follow as `@expiry/unit`, which is how a record keeps it."""
        addresses, _, lease = text.partition("@")
        bounds = AddressRange.parse(addresses)
        expiry, _, unit = lease.partition("/")
        return cls(bounds.first, bounds.last, (expiry, unit) if lease else None)

    def __str__(self) -> str:
        return f"{super().__str__()}@{'/'.join(self.lease)}" if self.lease else super().__str__()


def parse_all(texts: Iterable[str]) -> list[DhcpRange]:
    """`DhcpRange.parse` for each text, in order."""
    return [DhcpRange.parse(text) for text in texts]


def give_back(current: Sequence[DhcpRange], removed: Sequence[DhcpRange], original: Sequence[DhcpRange]) -> list[DhcpRange]:
    """`current` with `removed` in it again: exactly `original` if that has the same addresses, else merged and
    sorted.
    """
    missing = subtract(removed, current)
    if not missing:
        return list(original) if merge(current) == merge(original) else list(current)
    whole = merge([*current, *missing])
    return list(original) if whole == merge(original) else whole
