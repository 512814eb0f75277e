"""Keys and tokens that the program makes itself and keeps, encrypted, in the stack's state and nowhere else.

Dynamic providers: nothing leaves the machine, and a preview makes none. Module path and class names are in every state file.
"""

from __future__ import annotations

import secrets
from typing import Any

from pulumi import Output, ResourceOptions
from pulumi.dynamic import CheckResult, CreateResult, Resource, ResourceProvider, UpdateResult


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
        """`rotation` is kept from the old inputs by a run that does not ask for another pair."""
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

    def create(self, props: dict[str, Any]) -> CreateResult:
        size = int(props["bytes"])  # the engine hands every number over as a float
        return CreateResult(secrets.token_hex(8), {"bytes": size, "value": secrets.token_hex(size)})


class Token(Resource, module="credentials", name="Token"):
    """A random token in hexadecimal.

    size: random bytes in it. Creates nothing outside the state; `value` is a secret output.
    """

    value: Output[str]

    def __init__(self, resource_name: str, size: int = 32, opts: ResourceOptions | None = None) -> None:
        opts = ResourceOptions.merge(opts, ResourceOptions(additional_secret_outputs=["value"]))
        super().__init__(TokenProvider(), resource_name, {"bytes": size, "value": None}, opts)
