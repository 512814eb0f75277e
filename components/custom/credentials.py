"""Keys and tokens that the program makes itself and keeps, encrypted, in the stack's state and nowhere else.

Dynamic providers: nothing leaves the machine, and a preview makes none. Module path and class names are in every state file.
"""

from __future__ import annotations

import secrets
from typing import Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from components.custom.provider import is_unknown


class SshKeyPairProvider(ResourceProvider):
    serialize_as_secret_always = False

    def __init__(self) -> None:
        """Without state: only the class's name is in the stack's state."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        from cryptography.hazmat.primitives import serialization as form  # noqa: PLC0415 (not needed in a preview)
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption()).decode()
        public = key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH).decode()
        outs = {"comment": props["comment"], "private_key": private, "public_key": f"{public} {props['comment']}"}
        return CreateResult(secrets.token_hex(8), outs)

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        """`rotation` is kept from the old inputs by a run that does not request another pair."""
        rotation = news.get("rotation") or _olds.get("rotation")
        return CheckResult({**news, **({"rotation": rotation} if rotation else {})}, [])

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Another pair; the first one's public key stays in the state, because it is part of what machines were made from."""
        outs = self.create(_news).outs or {}
        first = _olds["public_key"].splitlines()[-1]
        return UpdateResult({**outs, "rotation": _news.get("rotation"), "public_key": f"{outs['public_key']}\n{first}"})


class SshKeyPair(Resource, module="credentials", name="SshKeyPair"):
    """An Ed25519 key pair for SSH, client or host.

    comment: printable text at the end of the public key. rotation: another text than at the last update makes another pair in place
    of it; empty: the pair stays. Creates nothing outside the state; `private_key` (OpenSSH format) is a secret output. Removed with
    its resource.
    """

    private_key: Output[str]
    public_key: Output[str]
    """A line, or, after a rotation, two: the pair's, and that of the first pair."""

    def __init__(
        self, resource_name: str, comment: str, opts: ResourceOptions | None = None, *, rotation: str | None = None
    ) -> None:
        opts = ResourceOptions.merge(opts, ResourceOptions(additional_secret_outputs=["private_key"]))
        props = {"comment": comment, "rotation": rotation or None, "private_key": None, "public_key": None}
        super().__init__(SshKeyPairProvider(), resource_name, props, opts)


class TokenProvider(ResourceProvider):
    serialize_as_secret_always = False

    def __init__(self) -> None:
        """Without state: only the class's name is in the stack's state."""

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Never a replacement: with several servers all that is in the cluster is deleted with the token's resource."""
        return DiffResult(changes=bool(_news.get("rotate")), replaces=[])

    def create(self, props: dict[str, Any]) -> CreateResult:
        size = int(props["bytes"])  # the engine hands every number over as a float
        return CreateResult(secrets.token_hex(8), {"bytes": size, "value": secrets.token_hex(size)})

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(self.create(_news).outs)


class Token(Resource, module="credentials", name="Token"):
    """A random token in hexadecimal.

    size: random bytes in it. rotate: this run makes another one, in place. Creates nothing outside the state; `value` is a secret
    output.
    """

    value: Output[str]

    def __init__(self, resource_name: str, size: int = 32, opts: ResourceOptions | None = None, *, rotate: bool = False) -> None:
        opts = ResourceOptions.merge(opts, ResourceOptions(additional_secret_outputs=["value"]))
        super().__init__(TokenProvider(), resource_name, {"bytes": size, "rotate": rotate or None, "value": None}, opts)


class DataTokenProvider(ResourceProvider):
    serialize_as_secret_always = False

    def __init__(self) -> None:
        """Without state: only the class's name is in the stack's state."""

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        same = _olds.get("disk") == news.get("disk")
        other = is_unknown(news.get("own")) or _olds.get("own") != news.get("own")
        rotated = bool(news.get("rotate")) or (same and (bool(_olds.get("rotated")) or other))
        return CheckResult({**news, "rotated": rotated}, [])

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=any(_olds.get(name) != _news.get(name) for name in ("disk", "own", "rotated")), replaces=[])

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(secrets.token_hex(8), props)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(_news)


class DataToken(Resource, module="credentials", name="DataToken"):
    """Which token the data on a server's disk have: the one that was found there with the disk, or, since the stack's own has been
    rotated, that.

    disk: identity of the disk. own: the stack's own token. rotate: this run rotates it. Pure: makes nothing.
    """

    rotated: Output[bool]
    """Whether it is the stack's own."""

    def __init__(
        self, resource_name: str, *, disk: Input[str], own: Input[str], rotate: bool, opts: ResourceOptions | None = None
    ) -> None:
        opts = ResourceOptions.merge(opts, ResourceOptions(additional_secret_outputs=["own"]))
        props = {"disk": disk, "own": own, "rotate": rotate or None, "rotated": None}
        super().__init__(DataTokenProvider(), resource_name, props, opts)
