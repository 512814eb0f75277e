"""The rounds of `bench compare` over a checkout that only notes what it is to run."""

from __future__ import annotations

from typing import Any

import pytest

from bench import by_hand, compare, further_nodes
from bench.checkout import ROOT, BenchError, stack_document
from bench.process import Cost
from components.config import raw, reading
from components.config.problems import SettingsError

pytestmark = pytest.mark.unit

SAID: list[str] = []


class Noting:
    """Notes each command with the stack's agents and whether its image is prepared; one that has `fails` in it ends with an
    error, but for the first `failures` times."""

    def __init__(self, fails: str = "") -> None:
        self.fails, self.failures = fails, 0
        self.document: dict[str, Any] = {}
        self.run: list[tuple[str, int, str]] = []

    def write_stack(self, _name: str, document: dict[str, Any]) -> None:
        self.document = document

    def lab(self, _stack: str, *words: str, **_environment: str) -> Cost:
        settings = reading.load("k3s-macvlan", "bench", raw.from_document(self.document, "k3s-macvlan")).settings
        line = " ".join(word for word in words if word != "--suppress-outputs")
        self.run.append((line, settings.agents.count, settings.image.prepare))
        if self.fails and self.fails in line and len([each for each, _, _ in self.run if each == line]) > self.failures:
            raise BenchError(line)
        return Cost(seconds=10.0, cpu=5.0, memory=1.0, without_engine=1.0, status=0, output="")


@pytest.fixture
def checkout(monkeypatch: pytest.MonkeyPatch) -> Noting:
    noting = Noting()

    def up_round(_checkout: Any, *_rest: Any) -> dict[str, Any]:
        return {"stages": {"page": 60.0}, **noting.lab("bench", "up").figures(), "bars": []}

    monkeypatch.setattr(by_hand, "run", lambda *_: {"page": 100.0})
    monkeypatch.setattr(compare, "up_round", up_round)
    monkeypatch.setattr(compare, "release", lambda *_: None)
    return noting


def measured(checkout: Noting, rounds: int, times: int) -> dict[str, Any]:
    document = stack_document(ROOT / "Pulumi.testnet.yaml", {})
    return compare.run(checkout, document, rounds=rounds, times=times, say=SAID.append)  # type: ignore[arg-type]


def test_a_round_has_each_way_and_further_nodes(checkout: Noting) -> None:
    figures = measured(checkout, 1, 0)
    assert checkout.run == [
        ("destroy", 0, "auto"),
        ("up", 0, "never"),
        ("destroy", 0, "never"),
        ("image --remove", 0, "never"),
        ("up", 0, "always"),
        ("destroy", 0, "always"),
        ("up", 0, "auto"),
        ("up", 1, "auto"),
        ("up --replace **::agent-1-disk", 1, "auto"),
        ("destroy", 1, "auto"),
        ("up", 2, "auto"),
        ("destroy", 2, "auto"),
        ("image --remove", 0, "auto"),
    ]
    ((round_),) = figures["rounds"]
    assert round_["nodes"].keys() == {further_nodes.ADDED, further_nodes.REBUILT, further_nodes.THREE}
    assert (len(figures["verbs"]["destroy"]), figures["nodes"]) == (2, 1)
    assert (len(figures["larger"]["verbs"]["destroy"]), figures["larger"]["nodes"]) == (1, 3)


def test_verbs_are_measured_in_the_last_round_on_the_stack_as_its_file_says(checkout: Noting) -> None:
    figures = measured(checkout, 2, 1)
    assert figures["verbs"].keys() == {"preview", "no-op up", "refresh", "one small change", "destroy"}
    assert [line for line, _, _ in checkout.run].count("up --expect-no-changes") == 1
    assert checkout.document["config"]["k3s-macvlan:podNetworks"]["macvlan-conf"]["addressesPerNode"] == 3


def test_figures_are_kept_where_clearing_up_fails(checkout: Noting) -> None:
    checkout.fails = "image --remove"
    checkout.failures = 1
    assert measured(checkout, 1, 0)["rounds"]


def test_a_range_without_room_for_further_nodes_is_refused_first(checkout: Noting) -> None:
    document = stack_document(ROOT / "Pulumi.testnet.yaml", {"network": {"nodes": "192.168.122.180-192.168.122.181"}})
    with pytest.raises(SettingsError, match=r"network\.nodes"):
        compare.run(checkout, document, rounds=1, times=0, say=SAID.append)  # type: ignore[arg-type]
    assert checkout.run == []


def test_whatever_fails_nothing_is_left(checkout: Noting) -> None:
    checkout.fails = "--replace"
    with pytest.raises(BenchError):
        measured(checkout, 1, 0)
    assert [line for line, _, _ in checkout.run[-2:]] == ["destroy", "image --remove"]
