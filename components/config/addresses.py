"""IPv4 ranges: the arithmetic under the address plan. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


@dataclass(frozen=True, order=True)
class AddressRange:
    """An inclusive range of IPv4 addresses, written `first-last`; a single address is a range of one.

    As a settings field it is validated from such a string; ValueError says what is wrong with it.
    """

    first: IPv4Address
    last: IPv4Address

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise ValueError(f"{self} runs backwards; write the lower address first: {self.last}-{self.first}")

    @classmethod
    def parse(cls, text: str) -> AddressRange:
        first, dash, last = text.partition("-")
        try:
            start = IPv4Address(first.strip())
            return cls(start, IPv4Address(last.strip()) if dash else start)
        except AddressValueError as error:
            raise ValueError(f"{error}; write a range as 192.168.122.200-192.168.122.210") from None

    @classmethod
    def single(cls, address: IPv4Address) -> AddressRange:
        return cls(address, address)

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def __len__(self) -> int:
        return int(self.last) - int(self.first) + 1

    def __contains__(self, address: IPv4Address) -> bool:
        return self.first <= address <= self.last

    def __iter__(self) -> Iterator[IPv4Address]:
        return (self.first + offset for offset in range(len(self)))

    def overlaps(self, other: AddressRange) -> bool:
        return self.first <= other.last and other.first <= self.last

    def within(self, network: IPv4Network) -> bool:
        return self.first in network and self.last in network

    def slice(self, start: int, size: int) -> AddressRange:
        """`size` addresses from offset `start`; the caller has checked that they fit."""
        return AddressRange(self.first + start, self.first + start + size - 1)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def validate(value: Any) -> AddressRange:
            if isinstance(value, cls):
                return value
            if not isinstance(value, str):
                raise ValueError("not a range; write it as a string: 192.168.122.200-192.168.122.210")
            return cls.parse(value)

        return core_schema.no_info_plain_validator_function(
            validate, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        octets = r"\d{1,3}(\.\d{1,3}){3}"
        return {"type": "string", "format": "ipv4range", "pattern": rf"^\s*{octets}\s*(-\s*{octets}\s*)?$"}


def merge(ranges: Iterable[AddressRange]) -> tuple[AddressRange, ...]:
    """The same addresses in as few ranges as possible, in order: overlapping and adjacent ones become one."""
    merged: list[AddressRange] = []
    for item in sorted(ranges):
        if merged and int(item.first) <= int(merged[-1].last) + 1:
            merged[-1] = AddressRange(merged[-1].first, max(merged[-1].last, item.last))
        else:
            merged.append(item)
    return tuple(merged)
