"""The engine's event log as bars, the critical path through them, and the stages they stand for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bench.events import Bar, bars, critical_path, dependencies, recording

pytestmark = pytest.mark.unit


def event(kind: str, name: str, *, op: str = "create", type_: str = "x:y:Thing", custom: bool = True) -> dict[str, Any]:
    step = {"op": op, "urn": f"urn:pulumi:s::p::{type_}::{name}", "type": type_, "new": {"custom": custom}}
    return {kind: {"metadata": step}}


def lines(*events: tuple[float, dict[str, Any]]) -> list[tuple[float, str]]:
    return [(at, json.dumps(document)) for at, document in events]


PRE, DONE, FAILED = "resourcePreEvent", "resOutputsEvent", "resOpFailedEvent"


def test_a_bar_is_from_the_begin_to_the_end_of_an_operation() -> None:
    drawn = bars(
        lines(
            (1.0, event(PRE, "b")),
            (1.5, event(PRE, "a")),
            (2.0, {"diagnosticEvent": {"message": "…"}}),
            (2.5, event(DONE, "b")),
            (3.0, event(FAILED, "a")),
        )
    )
    assert [(bar.name, bar.kind, bar.start, bar.end, bar.seconds) for bar in drawn] == [
        ("b", "Thing", 1.0, 2.5, 1.5),
        ("a", "Thing", 1.5, 3.0, 1.5),
    ]


def test_the_preview_that_up_begins_with_does_not_count() -> None:
    preview = [(0.1, event(PRE, "a")), (0.2, event(DONE, "a")), (0.3, {"summaryEvent": {"isPreview": True}})]
    drawn = bars(lines(*preview, (1.0, event(PRE, "a")), (4.0, event(DONE, "a")), (4.1, {"summaryEvent": {}})))
    assert [(bar.start, bar.end) for bar in drawn] == [(1.0, 4.0)]


@pytest.mark.parametrize(
    "changes",
    [{"op": "same"}, {"op": "refresh"}, {"custom": False}, {"name": "default_1_2_1", "type_": "pulumi:providers:command"}],
)
def test_what_does_nothing_or_is_nothing_real_has_no_bar(changes: dict[str, Any]) -> None:
    changes = {"name": "a", **changes}
    assert bars(lines((1.0, event(PRE, **changes)), (2.0, event(DONE, **changes)))) == []


def test_a_provider_of_ours_has_a_bar() -> None:
    ours: dict[str, Any] = {"name": "k3s-kubernetes", "type_": "pulumi:providers:kubernetes"}
    assert [bar.kind for bar in bars(lines((1.0, event(PRE, **ours)), (2.0, event(DONE, **ours))))] == ["kubernetes"]


def bar(name: str, start: float, end: float) -> Bar:
    return Bar(name=name, kind="Thing", urn=name, op="create", start=start, end=end)


def test_the_critical_path_leads_back_along_what_was_waited_for_longest() -> None:
    drawn = [bar("image", 0, 5), bar("claim", 0, 6), bar("machine", 6, 9), bar("key", 0, 1), bar("page", 9, 10), bar("aside", 1, 8)]
    needs = {"page": {"machine", "key"}, "machine": {"image", "claim", "not in this run"}, "aside": {"key"}}
    assert [step.name for step in critical_path(drawn, needs)] == ["claim", "machine", "page"]
    assert critical_path([], {}) == []


def test_the_critical_path_ends_though_states_have_a_circle() -> None:
    drawn = [bar("a", 0, 1), bar("b", 0, 2)]
    assert {step.name for step in critical_path(drawn, {"a": {"b"}, "b": {"a"}})} == {"a", "b"}


def test_dependencies_are_those_of_the_state_and_the_provider() -> None:
    resources = [{"urn": "a", "dependencies": ["b"], "provider": "urn::p::id"}, {"urn": "b"}]
    assert dependencies({"deployment": {"resources": resources}}) == {"a": {"b", "urn::p"}, "b": set()}
    assert dependencies({}) == {}


def test_lines_are_read_while_they_are_written() -> None:
    with recording() as (path, log):
        for _ in range(2):  # the preview and the update may open it one after the other
            with path.open("w") as engine:
                engine.write('{"n": 1}\n{"n": 2}\n')
    assert [line for _, line in log.lines] == ['{"n": 1}\n', '{"n": 2}\n'] * 2
    times = [at for at, _ in log.lines]
    assert times == sorted(times) and times[0] >= 0
