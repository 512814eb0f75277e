"""Ranges of addresses: the arithmetic of the address plan and of a network's DHCP ranges. Pure; imports nothing of ours.

The process of each dynamic provider loads it too, and no pydantic with it, whose import would add 65 ms to its 160 (measured).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema


Kind = TypeVar("Kind", IPv4Address, IPv6Address)
_RangeOf = TypeVar("_RangeOf", bound="_Range[Any]")


@dataclass(frozen=True, order=True)
class _Range(Generic[Kind]):
    """An inclusive range of addresses, written `first-last`; a single address is a range of one.

    As a settings field it is validated from such a string; ValueError says what is wrong with it. A subclass may add attributes:
    the functions below keep them in each piece.
    """

    first: Kind
    """The lowest address."""
    last: Kind
    """The highest address, which is in the range."""

    example: ClassVar[str]
    """How a range is written."""
    json_format: ClassVar[str]
    json_pattern: ClassVar[str]

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise ValueError(f"{self} runs backwards; write the lower address first: {self.last}-{self.first}")

    @classmethod
    def address(cls, text: str) -> Kind:
        """An address of this kind; AddressValueError if it is none."""
        raise NotImplementedError

    @classmethod
    def parse(cls: type[_RangeOf], text: str) -> _RangeOf:
        first, dash, last = text.partition("-")
        try:
            start = cls.address(first.strip())
            return cls(start, cls.address(last.strip()) if dash else start)
        except AddressValueError as error:
            raise ValueError(f"{error}; write a range as {cls.example}") from None

    @classmethod
    def single(cls: type[_RangeOf], address: Kind) -> _RangeOf:
        return cls(address, address)

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    @property
    def shortest(self) -> str:
        """As text: a range of one as its address alone."""
        return str(self.first) if self.first == self.last else str(self)

    @property
    def size(self) -> int:
        """How many addresses it holds. `len` ends at 2**63, which a subnet of IPv6 exceeds."""
        return int(self.last) - int(self.first) + 1

    def __len__(self) -> int:
        return self.size

    def __contains__(self, address: Kind) -> bool:
        return self.first <= address <= self.last

    def __iter__(self) -> Iterator[Kind]:
        return (self.first + offset for offset in range(self.size))

    def overlaps(self, other: _Range[Kind]) -> bool:
        return self.first <= other.last and other.first <= self.last

    def within(self, network: IPv4Network | IPv6Network) -> bool:
        return self.first in network and self.last in network

    def slice(self: _RangeOf, start: int, size: int) -> _RangeOf:
        """`size` addresses from offset `start`; the caller has checked that they fit."""
        return replace(self, first=self.first + start, last=self.first + start + size - 1)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema  # noqa: PLC0415

        def validate(value: Any) -> _Range[Kind]:
            if isinstance(value, cls):
                return value
            if not isinstance(value, str):
                raise ValueError(f"not a range; write it as a string: {cls.example}")
            return cls.parse(value)

        return core_schema.no_info_plain_validator_function(
            validate, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "format": cls.json_format, "pattern": cls.json_pattern}


_OCTETS = r"\d{1,3}(\.\d{1,3}){3}"
_HEXTETS = r"[0-9a-fA-F.]*:[0-9a-fA-F:.]*"
"""With a colon at least, which no IPv4 address has."""


@dataclass(frozen=True, order=True)
class AddressRange(_Range[IPv4Address]):
    """An inclusive range of IPv4 addresses."""

    first: IPv4Address
    last: IPv4Address

    example = "192.168.122.200-192.168.122.210"
    json_format = "ipv4range"
    json_pattern = rf"^\s*{_OCTETS}\s*(-\s*{_OCTETS}\s*)?$"

    @classmethod
    def address(cls, text: str) -> IPv4Address:
        return IPv4Address(text)


@dataclass(frozen=True, order=True)
class Ipv6Range(_Range[IPv6Address]):
    """An inclusive range of IPv6 addresses."""

    first: IPv6Address
    last: IPv6Address

    example = "fd00:50::100-fd00:50::1ff"
    json_format = "ipv6range"
    json_pattern = rf"^\s*{_HEXTETS}\s*(-\s*{_HEXTETS}\s*)?$"

    @classmethod
    def address(cls, text: str) -> IPv6Address:
        return IPv6Address(text)


Range = TypeVar("Range", bound=AddressRange)


def parse_all(texts: Iterable[str]) -> list[AddressRange]:
    """`AddressRange.parse` for each text, in order."""
    return [AddressRange.parse(text) for text in texts]


def subtract(ranges: Iterable[Range], claims: Iterable[AddressRange]) -> list[Range]:
    """What is left of `ranges` without `claims`, in the order of `ranges`."""
    left = list(ranges)
    for claim in claims:
        pieces: list[Range] = []
        for item in left:
            if not item.overlaps(claim):
                pieces.append(item)
                continue
            if item.first < claim.first:
                pieces.append(replace(item, last=claim.first - 1))
            if claim.last < item.last:
                pieces.append(replace(item, first=claim.last + 1))
        left = pieces
    return left


def intersect(ranges: Iterable[Range], claims: Iterable[AddressRange]) -> list[Range]:
    """The pieces of `ranges` that lie in `claims`, merged."""
    bounds = list(claims)
    return merge(
        replace(item, first=max(item.first, claim.first), last=min(item.last, claim.last))
        for item in ranges
        for claim in bounds
        if item.overlaps(claim)
    )


def merge(ranges: Iterable[Range]) -> list[Range]:
    """The same addresses in as few ranges as possible, in order: overlapping and adjacent ones become one.

    Ranges with different further attributes stay apart. Where they overlap, the one that begins earlier keeps the address: libvirt
    refuses overlapping DHCP ranges.
    """
    merged: list[Range] = []
    for item in sorted(ranges, key=lambda item: (item.first, item.last)):
        previous = merged[-1] if merged else None
        if previous is None or int(item.first) > int(previous.last) + 1:
            merged.append(item)
        elif replace(item, first=previous.first, last=previous.last) == previous:
            merged[-1] = replace(previous, last=max(previous.last, item.last))
        elif item.last > previous.last:
            merged.append(replace(item, first=previous.last + 1))
    return merged
