"""libvirt's XML and cloud-init's YAML, built and read. Pure: no libvirt, no files, no clock.

Every document is built as a tree and serialised by a library, so a quote, a `<` or a line break in a name is data and can
never become structure. Formats: https://libvirt.org/format.html, https://docs.cloud-init.io (NoCloud, network config v2).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

from components.libvirt.domain_spec import MARK

ET.register_namespace("mark", MARK)


# --- pool and volumes


QCOW2_HEADER = 32
"""Bytes `qcow2_header` needs."""


# --- domain


# --- network


# --- cloud-init
