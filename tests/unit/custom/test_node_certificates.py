"""When a node's certificates are renewed, by a clock of the test's, and what is stored of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pulumi.dynamic import CreateResult, ReadResult, UpdateResult

from components.custom import node_certificates as module
from components.custom import node_script
from components.custom.node_certificates import NodeCertificatesProvider, RenewalError, days_left, parse
from components.custom.node_script import NodeScriptError, NodeUnreachableError
from components.node.ssh_client import Login

pytestmark = pytest.mark.unit

MADE = datetime(2026, 11, 26, 10, tzinfo=UTC)
INPUTS: dict[str, Any] = {
    "node": "server-1",
    "role": "server",
    "machine": "disk-1",
    "host": "192.168.122.21",
    "user": "debian",
    "port": 22.0,
    "private_key": "KEY",
    "host_key": "ssh-ed25519 AAAA",
    "limit": 600.0,
}
STATE = {
    **INPUTS,
    "ends": "2027-11-26T10:00:00Z",
    "begins": "2026-11-26T10:00:00Z",
    "file": "server/tls/client-admin.crt",
    "authority_ends": "2036-11-23T10:00:00Z",
    "renewed": "",
}


def report(ends: str, *, renewed: bool = False) -> str:
    lines = (f"certificate {ends} {MADE:%Y-%m-%dT%H:%M:%SZ} server/tls/client-admin.crt", "authority 2036-11-23T10:00:00Z x y")
    return "\n".join((*lines, f"renewed {'yes' if renewed else 'no'}", ""))


class World:
    """The clock, the node, and what was said."""

    def __init__(self) -> None:
        self.at = MADE
        self.answer: str | NodeScriptError = report(STATE["ends"])
        self.calls: list[dict[str, str]] = []
        self.said: list[str] = []

    def run(self, login: Login, name: str, environment: dict[str, str], limit: int) -> str:
        assert name == "k3s-certificates.sh" and login == Login(
            host="192.168.122.21", user="debian", port=22, private_key="KEY", host_key="ssh-ed25519 AAAA", alias="server-1"
        )
        assert limit > int(environment["LIMIT_SECONDS"]) + int(environment["SERVICE_LIMIT"])
        self.calls.append(environment)
        if isinstance(self.answer, NodeScriptError):
            raise self.answer
        return self.answer


def outputs(result: CreateResult | ReadResult | UpdateResult) -> dict[str, Any]:
    assert result.outs is not None
    return result.outs


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World()
    monkeypatch.setattr(module, "now", lambda: made.at)
    monkeypatch.setattr(node_script, "run", made.run)
    for name in ("say", "remark"):
        monkeypatch.setattr(module, name, made.said.append)
    yield made


def test_parse() -> None:
    assert parse(report("2027-11-26T10:00:00Z")) == {
        "ends": "2027-11-26T10:00:00Z",
        "begins": "2026-11-26T10:00:00Z",
        "file": "server/tls/client-admin.crt",
        "authority_ends": "2036-11-23T10:00:00Z",
    }
    assert set(parse("nonsense\n").values()) == {""}


@pytest.mark.parametrize(("after", "left"), [(0, None), (244, None), (246, 119), (300, 65), (365, 0), (370, -5)], ids=str)
def test_due_within_120_days(after: int, left: int | None) -> None:
    assert days_left(STATE, MADE + timedelta(days=after)) == left


def test_certificates_of_a_short_life_are_not_renewed_by_each_run() -> None:
    state = {**STATE, "ends": "2027-02-24T10:00:00Z"}  # 90 days
    assert days_left(state, MADE) is None and days_left(state, MADE + timedelta(days=59)) is None
    assert days_left(state, MADE + timedelta(days=61)) == 29


def test_what_is_not_known_is_not_due() -> None:
    assert days_left({**STATE, "ends": "", "begins": ""}, MADE + timedelta(days=1000)) is None
    assert days_left({}, MADE) is None


def test_nothing_changes_as_long_as_nothing_ends_soon(world: World) -> None:
    provider = NodeCertificatesProvider()
    created = provider.check({}, dict(INPUTS)).inputs
    assert created["renewed"] == "", "so the preview knows that the kubeconfig stays"
    outs = outputs(provider.create({**created, "__provider": "x"}))
    assert outs == STATE
    assert world.calls[0]["RENEW"] == "" and world.calls[0]["LIMIT_SECONDS"] == "1200", "the node is being installed"
    inputs = provider.check(created, dict(INPUTS)).inputs
    assert "renewed" not in inputs, "unknown in a preview of a change"
    assert not provider.diff("", outs, inputs).changes and not world.said


def test_what_ends_soon_is_said_in_words_and_renewed(world: World) -> None:
    provider = NodeCertificatesProvider()
    world.at = MADE + timedelta(days=300)
    diff = provider.diff("", STATE, INPUTS)
    assert diff.changes and not diff.replaces
    [words] = world.said
    assert words == (
        "server-1: K3s makes new certificates and is restarted: server/tls/client-admin.crt ends on 2027-11-26, in 65 days"
    )
    world.answer = report("2028-09-21T10:00:00Z", renewed=True)
    outs = outputs(provider.update("", STATE, INPUTS))
    assert (world.calls[-1]["RENEW"], world.calls[-1]["UNTIL"]) == ("due", "2028-01-20T10:00:00Z")
    assert (outs["ends"], outs["renewed"]) == ("2028-09-21T10:00:00Z",) * 2, "the kubeconfig is read again"
    assert not provider.diff("", outs, INPUTS).changes


def test_what_is_over_is_said_so(world: World) -> None:
    world.at = MADE + timedelta(days=400)
    assert NodeCertificatesProvider().diff("", STATE, INPUTS).changes
    assert "which is over" in world.said[0]


def test_a_run_that_rotates_renews_whatever_is_left_and_the_next_one_nothing(world: World) -> None:
    provider = NodeCertificatesProvider()
    rotating = {**INPUTS, "rotate": True}
    assert provider.diff("", STATE, rotating).changes and "as it was asked for" in world.said[0]
    world.answer = report("2027-12-01T10:00:00Z", renewed=True)
    outs = outputs(provider.update("", STATE, rotating))
    assert world.calls[-1]["RENEW"] == "now" and outs["renewed"] == "2027-12-01T10:00:00Z" and "rotate" not in outs
    assert not provider.diff("", outs, INPUTS).changes
    assert provider.diff("", outs, rotating).changes, "requested again"


def test_a_failure_names_node_and_remedy(world: World) -> None:
    world.at, world.answer = MADE + timedelta(days=300), NodeScriptError("a certificate still ends 2027-11-26")
    with pytest.raises(
        RenewalError, match=r"on server-1 were not renewed: a certificate still ends .* ./lab logs server-1"
    ) as failed:
        NodeCertificatesProvider().update("", STATE, INPUTS)
    assert "then run `up` again" in str(failed.value)
    with pytest.raises(RenewalError, match=r"then \./lab rotate certificates again$"):
        NodeCertificatesProvider().update("", STATE, {**INPUTS, "rotate": True})


def test_refresh_sees_what_others_have_renewed(world: World) -> None:
    provider = NodeCertificatesProvider()
    world.at, world.answer = MADE + timedelta(days=300), report("2028-09-21T10:00:00Z")
    read = provider.read("server-1/disk-1", {**STATE, "__provider": "x"})
    assert world.calls[-1]["RENEW"] == "" and world.calls[-1]["LIMIT_SECONDS"] == "0", "it waits for nothing"
    found = outputs(read)
    assert (found["ends"], found["renewed"]) == ("2028-09-21T10:00:00Z",) * 2
    assert read.inputs == INPUTS
    assert not provider.diff("", found, INPUTS).changes, "nothing is restarted"


def test_a_node_that_does_not_answer_keeps_what_is_known(world: World) -> None:
    world.answer = NodeUnreachableError("192.168.122.21 is not reached by SSH: no route to host")
    assert NodeCertificatesProvider().read("id", STATE).outs == STATE
    assert "not known: 192.168.122.21 is not reached" in world.said[0]
    created = outputs(NodeCertificatesProvider().create(INPUTS))
    assert (created["ends"], created["renewed"]) == ("", ""), "no reason for `up` to fail"


def test_a_node_whose_k3s_was_not_installed_is_an_error_and_the_next_run_reads_again(world: World) -> None:
    """Stored as unknown, they would never be renewed by `up`."""
    world.answer = NodeScriptError("certificates: K3s was not installed, so it has none")
    with pytest.raises(RenewalError, match=r"K3s on server-1 has no certificates: .* then run `up` again"):
        NodeCertificatesProvider().create(INPUTS)
    assert NodeCertificatesProvider().read("id", STATE).outs == STATE, "a refresh has nothing to fail for"


def test_another_key_is_stored_without_a_word_to_the_node(world: World) -> None:
    other = {**INPUTS, "private_key": "OTHER"}
    provider = NodeCertificatesProvider()
    assert provider.diff("", STATE, other).changes
    assert provider.update("", STATE, other).outs == {**STATE, "private_key": "OTHER"}
    assert not world.calls and not world.said


def test_another_disk_has_other_certificates(world: World) -> None:
    world.at = MADE + timedelta(days=300)
    diff = NodeCertificatesProvider().diff("", STATE, {**INPUTS, "machine": "disk-2"})
    assert diff.replaces == ["machine"] and not world.said
