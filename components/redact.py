"""URLs without what is secret in them. Pure."""

from __future__ import annotations

import urllib.error
import urllib.parse
import urllib.request


def shown(source: str) -> str:
    """A source as it may appear in a message: without password and query, which can hold a token."""
    parts = urllib.parse.urlsplit(source)
    if "://" not in source or not (parts.query or "@" in parts.netloc):
        return source
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
