"""The file that `lab backup` writes: a line that names its form, a header, and the encrypted content in chunks.

The header is JSON and readable by anybody: whose cluster it is, of which release and when, and the data key, encrypted by the
stack's secrets provider (cli/data_key.py). The content is a line of JSON (`Content`) and the snapshot of etcd, encrypted with the
data key by AES-256-GCM, a chunk at a time, so that a file of any size takes the memory of two chunks. Each chunk's nonce has its
number and whether it is the last, and the header is authenticated with each (the STREAM construction, Hoang and others 2015): what
is cut off, exchanged or altered is not read.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import IO, Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cli.errors import LabError

FORM = "k3s-macvlan backup"
FORMAT = 1
"""Raised when a reader of this file would misread a newer one."""

CHUNK = 1 << 20
"""Bytes of content in each chunk but the last."""
_TAG = 16
_LONGEST_LINE = 1 << 20
_COUNTER = 4
"""Bytes of a chunk's number in its nonce."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What anybody may read."""

    owner: str
    """project/stack."""
    cluster: str
    """UID of the namespace kube-system, which each cluster has once."""
    founded: str
    """When the cluster began, as the API has it."""
    identity: str
    """The cluster's identity in the stack's state (`Release.cluster`); empty where the state has none."""
    release: str
    """K3s's release."""
    date: str
    """When the backup was made, ISO 8601 in UTC."""
    key: str
    """The data key, encrypted, with what decrypts it: text of a stack file."""
    nonce: str
    """The part of all nonces that is random, hexadecimal."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """What is encrypted besides the snapshot."""

    token: str = field(repr=False)
    """The servers' token, with which K3s has encrypted the CA in the snapshot."""
    agent_token: str = field(repr=False)
    """The agents' token; empty where they join with the servers'."""
    config: str = field(repr=False)
    """The server's config.yaml."""
    settings: str
    """The stack's file without its secrets."""
    encrypted: bool
    """K3s encrypts Secrets in etcd."""
    size: int
    """Bytes of the snapshot."""
    sha256: str
    """SHA-256 of the snapshot."""


class Writer:
    """Writes a backup to a file, as a context manager; what was written is complete only when it has ended without an error."""

    def __init__(self, file: IO[bytes], header: Header, key: bytes) -> None:
        self._file, self._cipher, self._number, self._waiting = file, AESGCM(key), 0, bytearray()
        self._nonce = bytes.fromhex(header.nonce)
        line = json.dumps(asdict(header), sort_keys=True).encode()
        self._about = hashlib.sha256(line).digest()
        file.write(f"{FORM} {FORMAT}\n".encode() + line + b"\n")

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._seal(bytes(self._waiting), last=True)

    def line(self, content: Content) -> None:
        self.write(json.dumps(asdict(content)).encode() + b"\n")

    def write(self, data: bytes) -> None:
        self._waiting += data
        # The last chunk is sealed as the last, so that one that is full waits for more.
        while len(self._waiting) > CHUNK:
            self._seal(bytes(self._waiting[:CHUNK]), last=False)
            del self._waiting[:CHUNK]

    def _seal(self, data: bytes, *, last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._nonce, self._number, last=last), data, self._about))
        self._number += 1


def new_nonce() -> str:
    """`Header.nonce`."""
    return secrets.token_hex(12 - _COUNTER - 1)


def _nonce(prefix: bytes, number: int, *, last: bool) -> bytes:
    return prefix + number.to_bytes(_COUNTER, "big") + bytes([last])


def read_header(file: IO[bytes], name: str) -> Header:
    """The header of a file that is open at its beginning. Raises LabError for what is no backup, or one of another form."""
    form = re.fullmatch(rf"{FORM} (\d+)\n", file.readline(64).decode(errors="replace"))
    if form is None:
        raise LabError(f"{name} is no backup of ./lab backup: its first line does not say so")
    if int(form[1]) != FORMAT:
        raise LabError(
            f"{name} has the form {form[1]}, and this release of the program reads {FORMAT}: restore it with the release that "
            "made it, or a newer one"
        )
    try:
        document = json.loads(file.readline(_LONGEST_LINE))
        return Header(**{member.name: str(document[member.name]) for member in fields(Header)})
    except (ValueError, KeyError, TypeError):
        raise LabError(f"{name} is damaged: its header is not whole. Take another backup") from None


class Reader:
    """Reads the content of a backup, which is open after its header; LabError where it is damaged."""

    def __init__(self, file: IO[bytes], name: str, header: Header, key: bytes) -> None:
        line = json.dumps(asdict(header), sort_keys=True).encode()
        self._name, self._file, self._cipher = name, file, AESGCM(key)
        self._nonce, self._about = bytes.fromhex(header.nonce), hashlib.sha256(line).digest()
        self._chunks = self._opened()
        first = next(self._chunks)
        text, _newline, self._rest = first.partition(b"\n")
        try:
            document: Any = json.loads(text)
            self.content = Content(**{member.name: document[member.name] for member in fields(Content)})
        except (ValueError, KeyError, TypeError):
            raise LabError(f"{name} is damaged: its content does not begin as one. Take another backup") from None

    def snapshot(self) -> Iterator[bytes]:
        """The snapshot, once. Raises LabError at its end if it is not the one that was backed up."""
        digest, size = hashlib.sha256(), 0
        for part in self._parts():
            digest.update(part)
            size += len(part)
            yield part
        if (size, digest.hexdigest()) != (self.content.size, self.content.sha256):
            raise LabError(f"{self._name} is damaged: the snapshot in it is not the one that was backed up. Take another backup")

    def _parts(self) -> Iterator[bytes]:
        yield self._rest
        yield from self._chunks

    def _opened(self) -> Iterator[bytes]:
        number, sealed = 0, self._file.read(CHUNK + _TAG)
        while True:
            following = self._file.read(CHUNK + _TAG)
            try:
                yield self._cipher.decrypt(_nonce(self._nonce, number, last=not following), sealed, self._about)
            except (InvalidTag, ValueError):
                raise LabError(
                    f"{self._name} is damaged: it was altered, or its end is missing, from byte {number * CHUNK} of its content "
                    "on. Take another backup"
                ) from None
            if not following:
                return
            number, sealed = number + 1, following
