"""Text for people without what is secret in it: URLs, and what nodes and programs write. Pure.

The policy pack does not use this module: it can be published by itself, so it imports nothing of the program.
"""

from __future__ import annotations

import re
import urllib.parse

_CREDENTIALS = re.compile(r"://(?:[^/\s]*|[^/@:\s]*:(?!\d+/)[^@\s'\"]*)@")
"""User and password of a URL. A slash in a password is a mistake, which an error text must not show either; a port and a slash
are no password."""
_JOIN_TOKEN = re.compile(r"K10[0-9A-Fa-f]{8,}::\S+")
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)


def shown(source: str) -> str:
    """A URL or path as it may appear in a message: without user, password and query, which can hold a token."""
    source = without_credentials(source).replace("://[hidden]@", "://")
    parts = urllib.parse.urlsplit(source)
    if "://" not in source or not parts.query:
        return source
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))


def without_credentials(text: str) -> str:
    """The text with `[hidden]` in place of user and password of every URL in it."""
    return _CREDENTIALS.sub("://[hidden]@", text)


def without_secrets(text: str) -> str:
    """The text with `[redacted]` in place of K3s's join tokens and of private keys, also of one that is cut off."""
    return _PRIVATE_KEY.sub("[redacted]", _JOIN_TOKEN.sub("[redacted]", text))
