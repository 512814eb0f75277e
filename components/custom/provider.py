"""What the providers share: which inputs force a new resource, which change in place, and a diff that says so.

Everything here is pure: check and diff run in previews, on machines without libvirt. The module path and class name of a
provider are in every state file (pulumi stores providers pickled by name): moving one breaks destroy and refresh.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from pulumi import ResourceOptions
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    ConfigureRequest,
    CreateResult,
    DiffResult,
    ReadResult,
    ResourceProvider,
    UpdateResult,
)
from pulumi.output import Unknown

from components.config.addresses import AddressRange
from components.custom.reporting import plain_errors, speak_up

Props = dict[str, Any]


class PlainProvider(ResourceProvider):
    """A provider without state that reports what it waits for, and its PlainErrors by their text alone."""

    serialize_as_secret_always = False
    outputs: ClassVar[tuple[str, ...]] = ()
    """Names in the resource's state that are no inputs."""

    def __init__(self) -> None:
        """Nothing but the class's name is in the stack's state."""

    def configure(self, req: ConfigureRequest) -> None:
        """Called once in the provider process."""
        del req
        plain_errors()
        speak_up()


class StoringProvider(PlainProvider):
    """A provider that makes nothing: its resource is what its inputs are."""

    def create(self, props: Props) -> CreateResult:
        return CreateResult(secrets.token_hex(8), props)

    def update(self, _id: str, _olds: Props, _news: Props) -> UpdateResult:
        return UpdateResult(_news)


class DeclarativeProvider(PlainProvider):
    """A provider whose resource declares how each input reacts to a change.

    `replaces`: immutable inputs; a change, or a value not known yet, replaces the resource, and the old one is deleted first,
    because both would bear the same name. Another `uri` of the same host is an update.
    `updates`: inputs that change in place.
    `keeps`: inputs whose change matters only from the next create on; they are stored by the next real update.
    `integers`: inputs that are whole numbers; the engine hands every number over as a float.
    """

    replaces: ClassVar[tuple[str, ...]] = ()
    updates: ClassVar[tuple[str, ...]] = ()
    keeps: ClassVar[tuple[str, ...]] = ()
    integers: ClassVar[tuple[str, ...]] = ()

    def check(self, _olds: Props, news: Props) -> CheckResult:
        """Whole numbers made whole, defaults of the resource filled in, impossible values refused; offline."""
        inputs = self.whole(news)
        failures = self.validate(self.whole(_olds), inputs)
        return CheckResult(inputs, [CheckFailure(name, reason) for name, reason in failures])

    def validate(self, olds: Props, news: Props) -> list[tuple[str, str]]:
        """What is wrong with the inputs, as (input, reason); may fill in defaults in `news`."""
        del olds, news
        return []

    def diff(self, _id: str, _olds: Props, _news: Props) -> DiffResult:
        """Explicit in every case: what changes, what of it replaces, old one first."""
        olds, news = self.whole(_olds), self.whole(_news)
        changed = [name for name in self.replaces if differs(olds.get(name), news.get(name))]
        replaces = [name for name in changed if not (name == "uri" and same_host(olds.get(name), news.get(name)))]
        updates = [name for name in self.updates if differs(olds.get(name), news.get(name))] + [
            name for name in changed if name not in replaces
        ]
        return DiffResult(
            changes=bool(replaces or updates),
            replaces=replaces,
            stables=list(self.replaces),
            delete_before_replace=True,
        )

    def update(self, _id: str, _olds: Props, _news: Props) -> UpdateResult:
        """By creating again, which puts right what is there."""
        return UpdateResult(self.create(_news).outs)

    def whole(self, props: Mapping[str, Any]) -> Props:
        """A copy with this resource's whole numbers as int."""
        return {
            name: int(value) if name in self.integers and isinstance(value, float) and value.is_integer() else value
            for name, value in props.items()
        }

    def read_result(self, id_: str, state: Props) -> ReadResult:
        """The resource as it is, which a refresh compares with its inputs."""
        return ReadResult(id_, state, {name: value for name, value in state.items() if name not in self.outputs})

    def known(self, props: Mapping[str, Any]) -> Props:
        """A copy without the engine's own entries, which a result must not carry."""
        return {name: value for name, value in self.whole(props).items() if not name.startswith("__")}


def properties(args: object, outputs: Iterable[str] = (), **inputs: object) -> Props:
    """What a custom resource is registered with: its Args and further `inputs`, and `outputs`, which `create` gives values.

    Names of the attributes of the Args, a dataclass, are the names of inputs in every state.
    """
    values = {field.name: getattr(args, field.name) for field in dataclasses.fields(args)}  # type: ignore[arg-type]
    return {**values, **inputs, **dict.fromkeys(outputs)}


def old_first(opts: ResourceOptions | None) -> ResourceOptions:
    """The options of a resource that has its name to itself: a replacement by `--replace` does not call diff(),
    and would make the new one, which adopts what is there, and then delete it (measured with the engine)."""
    return ResourceOptions.merge(opts, ResourceOptions(delete_before_replace=True))


def unreadable(news: Props) -> list[tuple[str, str]]:
    """What is wrong with the input `ranges`, a list of "first-last" and single addresses."""
    wrong: list[tuple[str, str]] = []
    texts = news.get("ranges")
    for text in [] if is_unknown(texts) else texts or []:
        try:
            AddressRange.parse(str(text))
        except ValueError as error:
            wrong.append(("ranges", str(error)))
    return wrong


def is_unknown(value: object) -> bool:
    """Whether a preview does not know this value yet, wholly or in part."""
    if isinstance(value, Unknown):
        return True
    if isinstance(value, Mapping):
        return any(is_unknown(part) for part in value.values())
    if isinstance(value, list | tuple):
        return any(is_unknown(part) for part in value)
    return False


def elsewhere(olds: Props, news: Props, *names: str) -> bool:
    """Whether one of these inputs is another, or the host of `uri`. What a preview does not know yet is taken for the same."""
    moved = any(olds.get(name) != news.get(name) for name in names if not is_unknown(news.get(name)))
    return moved or not (is_unknown(news.get("uri")) or same_host(olds.get("uri"), news.get("uri")))


def same_host(old: object, new: object) -> bool:
    """Whether two connection URIs are ways to the same libvirt: how it is reached, as whom and with which key is no part of it.

    The port is, since ports of one address may be forwarded to several machines, and the user is for a session's own libvirt.
    """
    if not isinstance(old, str) or not isinstance(new, str):
        return False
    ends = []
    for parts in (urlsplit(old), urlsplit(new)):
        host = parts.netloc.rpartition("@")[2].lower()
        user = "" if parts.path == "/system" else parts.username
        ends.append((parts.scheme.partition("+")[0], user, host, parts.path, parse_qs(parts.query).get("socket")))
    return ends[0] == ends[1]


def differs(old: object, new: object) -> bool:
    """Whether an input changed; what is not known yet counts as changed. None and absent are the same."""
    return is_unknown(new) or old != new
