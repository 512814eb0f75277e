"""XML as libvirt reads and writes it. Pure.

Every document is built as a tree and serialised by a library, so a quote, a `<` or a line break in a name is data and can
never become structure. Formats: https://libvirt.org/format.html
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

_UNFIT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def text_of(root: ET.Element) -> str:
    """The document as text. Raises ValueError for a character that XML cannot carry at all."""
    for element in root.iter():
        for value in (element.text or "", *element.attrib.values()):
            if _UNFIT.search(value):
                raise ValueError(f"{value!r} has a control character, which no XML document can carry")
    return ET.tostring(root, encoding="unicode")


def parse(document: str) -> ET.Element:
    """A document that libvirt returned."""
    return ET.fromstring(document)  # noqa: S314 - written by libvirtd, which we trust with the machine


def child(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element


_UNITS = {"b": 1, "bytes": 1, "KB": 1000, "KiB": 1024, "k": 1024, "MB": 10**6, "MiB": 2**20, "GB": 10**9, "GiB": 2**30}


def mib(amount: int, unit: str) -> int:
    """MiB, from an amount in one of libvirt's units."""
    return amount * _UNITS.get(unit, 1024) // 2**20
