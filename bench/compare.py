"""One round: the scenario by hand and by `up`, further nodes, and on what `up` made the cost of every verb."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from bench import by_hand, further_nodes, lease, stages
from bench.checkout import PROJECT, BenchError, Checkout, changed
from bench.events import Bar, bars, critical_path, dependencies, recording
from bench.process import Cost
from components.config import raw, reading
from components.config.plan import Plan
from components.config.settings import Settings

STACK = "bench"
LOGGED = {"PULUMI_DEBUG_COMMANDS": "true"}  # the engine has --event-log only with it
OTHER_IMAGE = "docker.io/library/nginx:1.25-alpine"
"""For the small change: the pod's image, there and back."""

WITHOUT, FIRST = "without a prepared image", "first, which prepares it"
"""Further ways of `up`, next to the one whose prepared image is there."""

Say = Callable[[str], None]


def settings_of(document: dict[str, Any], stack: str) -> tuple[Settings, Plan]:
    """Settings and plan of a stack file's content; raises SettingsError."""
    loaded = reading.load(PROJECT, stack, raw.from_document(document, PROJECT))
    return loaded.settings, loaded.plan


def hand_round(settings: Settings, plan: Plan, say: Say) -> dict[str, float]:
    say("by hand")
    try:
        seconds = dict(by_hand.run(settings, plan))
    finally:
        release(settings, plan)
    say(f"by hand: page after {seconds['page']:.0f} s")
    return seconds


def up_round(checkout: Checkout, plan: Plan, say: Say) -> dict[str, Any]:
    """`up` with the end of each stage, its bars and the critical path among them."""
    say("up")
    with recording() as (path, log):
        cost = checkout.lab(STACK, "up", "--event-log", str(path), **LOGGED)
    timeline = bars(log.lines)
    state = json.loads(checkout.pulumi("stack", "export", "-s", STACK))
    critical = {bar.urn for bar in critical_path(timeline, dependencies(state))}
    done = stages.done_at(timeline, plan)
    say(f"up: page after {done['page']:.0f} s, ended after {cost.seconds:.0f} s")
    return {"stages": done, **cost.figures(), "bars": [_row(bar, bar.urn in critical) for bar in timeline]}


def further_ways(
    checkout: Checkout, document: dict[str, Any], settings: Settings, plan: Plan, say: Say
) -> tuple[dict[str, dict[str, Any]], list[dict[str, float]]]:
    """`up` without a prepared image, and one that has to make it, which leaves it for the next; and what each `destroy` cost."""
    figures, destroyed = {}, []
    for way, prepare in ((WITHOUT, "never"), (FIRST, "always")):
        say(f"up {way}")
        if way == FIRST:
            checkout.lab(STACK, "image", "--remove")
        checkout.write_stack(STACK, changed(document, {"image": {"prepare": prepare}}))
        figures[way] = {key: value for key, value in up_round(checkout, plan, say).items() if key != "bars"}
        destroyed.append(destroy(checkout, settings, plan, say))
    checkout.write_stack(STACK, document)
    return figures, destroyed


def nodes_round(
    checkout: Checkout, document: dict[str, Any], settings: Settings, plan: Plan, say: Say
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """On the stack that runs: an agent added and rebuilt. Then two more agents from nothing, and what their `destroy` cost."""
    larger = further_nodes.with_agents(document, settings, 1)
    figures = further_nodes.added_and_rebuilt(checkout, STACK, larger, settings_of(larger, STACK)[1].nodes[-1].name)
    destroy(checkout, settings, plan, say)
    checkout.write_stack(STACK, further_nodes.with_agents(document, settings, further_nodes.MOST))
    figures[further_nodes.THREE] = checkout.lab(STACK, "up", "--suppress-outputs").figures()
    for what, cost in figures.items():
        say(f"{what}: {cost['seconds']:.1f} s")
    destroyed = destroy(checkout, settings, plan, say)
    checkout.write_stack(STACK, document)
    return figures, destroyed


def _row(bar: Bar, critical: bool) -> dict[str, Any]:
    row = {key: value for key, value in asdict(bar).items() if key != "urn"}
    return {**row, "start": round(bar.start, 3), "end": round(bar.end, 3), "critical": critical}


def verbs(checkout: Checkout, document: dict[str, Any], times: int, say: Say) -> dict[str, list[dict[str, float]]]:
    """Each verb `times` times on the running stack, which must be as its file says."""
    figures: dict[str, list[dict[str, float]]] = {}

    def record(name: str, *words: str) -> Cost:
        cost = checkout.lab(STACK, *words)
        figures.setdefault(name, []).append(cost.figures())
        say(f"{name}: {cost.seconds:.1f} s")
        return cost

    for _ in range(times):
        record("preview", "preview", "--expect-no-changes", "--suppress-outputs")
        record("no-op up", "up", "--expect-no-changes", "--suppress-outputs")
        record("refresh", "refresh", "--expect-no-changes", "--suppress-outputs")
    image = settings_of(document, STACK)[0].workload.image
    for index in range(times):
        checkout.write_stack(STACK, changed(document, {"workload": {"image": OTHER_IMAGE if index % 2 == 0 else image}}))
        record("one small change", "up", "--suppress-outputs")
    return figures


def destroy(checkout: Checkout, settings: Settings, plan: Plan, say: Say) -> dict[str, float]:
    cost = checkout.lab(STACK, "destroy")
    say(f"destroy: {cost.seconds:.1f} s")
    release(settings, plan)
    return cost.figures()


def release(settings: Settings, plan: Plan) -> None:
    """Give back the leases of this program's deleted machines, any of which may keep an address from the next one."""
    for pool in plan.pools:
        network = settings.network
        lease.give_back(uri=pool.uri, network=network.name, server=str(network.gateway), prefix=f"{PROJECT}-")


def run(checkout: Checkout, document: dict[str, Any], *, rounds: int, times: int, say: Say) -> dict[str, Any]:
    """All rounds, alternating; whatever fails, the stack is destroyed at the end. document: the stack file's content."""
    document = changed(document, further_nodes.room(settings_of(document, STACK)[0]))
    settings, plan = settings_of(document, STACK)
    settings_of(further_nodes.with_agents(document, settings, further_nodes.MOST), STACK)  # its mistakes now, and not in an hour
    checkout.write_stack(STACK, document)
    checkout.lab(STACK, "destroy")  # what a killed run left
    release(settings, plan)
    nodes = len(plan.nodes)
    few: list[dict[str, float]] = []
    many: list[dict[str, float]] = []
    figures: dict[str, Any] = {"rounds": [], "verbs": {}, "nodes": nodes}
    try:
        for number in range(1, rounds + 1):
            say(f"round {number} of {rounds}")
            hand = hand_round(settings, plan, say)
            ways, destroyed = further_ways(checkout, document, settings, plan, say)
            few += destroyed
            up = up_round(checkout, plan, say)
            if number == rounds and times:
                figures["verbs"] = verbs(checkout, document, times, say)
                checkout.write_stack(STACK, document)
                checkout.lab(STACK, "up", "--suppress-outputs")
            further, last = nodes_round(checkout, document, settings, plan, say)
            many.append(last)
            figures["rounds"].append({"by hand": hand, **ways, "up": up, "nodes": further})
    except BaseException:
        checkout.lab(STACK, "destroy")
        release(settings, plan)
        raise
    finally:
        try:
            checkout.lab(STACK, "image", "--remove")
        except BenchError as error:
            say(str(error))
    figures["verbs"]["destroy"] = few
    figures["larger"] = {"nodes": nodes + further_nodes.MOST, "verbs": {"destroy": many}}
    return figures
