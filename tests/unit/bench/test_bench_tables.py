"""What a benchmark's figures look like: tables, the part of docs/benchmarks.md, the chart."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as command
from bench import chart, compare, further_nodes, recorded, tables
from bench.checkout import ROOT, BenchError

pytestmark = pytest.mark.unit


def run_of(seconds: float) -> dict[str, float]:
    return {"seconds": seconds, "cpu": seconds / 2, "memory": 300.0, "beside": 200.0}


def round_of(hand: float, up: float) -> dict[str, Any]:
    bars = [
        {"name": "server-1-domain", "kind": "Domain", "op": "create", "start": 1.0, "end": 2.0, "critical": False},
        {"name": "a <&> b", "kind": "Command", "op": "create", "start": 2.0, "end": up, "critical": True},
    ]
    return {
        "by hand": {"image": 1.0, "page": hand},
        "up": {"stages": {"machine": 2.0, "page": up}, **run_of(up), "bars": bars},
    }


TAKEN: dict[str, Any] = {
    "date": "2026-11-24",
    "machine": {"text": "2 cores (A CPU), 24 GiB, guests under plain emulation"},
    "nodes": 1,
    "rounds": [round_of(200.0, 120.0), round_of(220.0, 130.0), round_of(210.0, 200.0)],
    "verbs": {"preview": [run_of(2.0), run_of(9.0), run_of(3.0)], "destroy": [run_of(8.0)]},
    "recorded": [{"nodes": 20, "verbs": {"no-op up": [run_of(5.0)]}}],
}


def test_stages_are_compared_by_the_median_of_all_rounds() -> None:
    assert tables.by_hand_and_up(TAKEN["rounds"]) == [["page served on the network", "210", "130", "0.62"]]


def test_verbs_say_on_what_they_were_run() -> None:
    assert tables.verbs(TAKEN) == [
        ["preview", "1 node, running", "3.0", "1.5", "300", "200", "3"],
        ["destroy", "1 node, running", "8.0", "4.0", "300", "200", "1"],
        ["no-op up", "20 nodes, recorded", "5.0", "2.5", "300", "200", "1"],
    ]


def test_the_ways_to_the_page_are_compared_with_the_one_by_hand() -> None:
    def round_with(first: float) -> dict[str, Any]:
        return {**round_of(200.0, 80.0), compare.FIRST: {"stages": {"page": first}}}

    assert tables.ways([round_with(180.0), round_with(190.0)]) == [
        ["by hand", "200", "1.00"],
        ["`up`", "80", "0.40"],
        ["`up` first, which prepares it", "185", "0.93"],
    ]
    assert "by hand" in tables.section({**TAKEN, "rounds": [round_with(180.0)]})


def test_further_nodes_are_compared_with_the_scenario_by_hand_and_with_one_node() -> None:
    def round_with(*seconds: float) -> dict[str, Any]:
        whats = (further_nodes.ADDED, further_nodes.REBUILT, further_nodes.THREE)
        return {**round_of(200.0, 80.0), "nodes": {what: run_of(cost) for what, cost in zip(whats, seconds, strict=True)}}

    rounds = [round_with(50.0, 60.0, 100.0), round_with(90.0, 60.0, 120.0), round_with(60.0, 60.0, 200.0)]
    rows = [
        ["an agent added", "60", "0.30", "0.75"],
        ["an agent rebuilt", "60", "0.30", "0.75"],
        ["two nodes more, from nothing", "120", "0.60", "1.50"],
    ]
    assert tables.nodes(rounds) == rows
    assert tables.markdown(tables.NODE_HEAD, rows) in tables.section({**TAKEN, "rounds": rounds})
    assert tables.nodes(TAKEN["rounds"]) == []


def test_one_round_is_no_median() -> None:
    assert "by hand, where the [prepared image](prepared-image.md) is there (one round):" in tables.section(
        {**TAKEN, "rounds": TAKEN["rounds"][:1]}
    )


def test_what_was_run_on_more_nodes_says_so() -> None:
    larger = {"nodes": 3, "verbs": {"destroy": [run_of(9.0)]}}
    assert ["destroy", "3 nodes, running", "9.0", "4.5", "300", "200", "1"] in tables.verbs({**TAKEN, "larger": larger})


def test_a_table_for_the_terminal_lines_up() -> None:
    text = tables.plain(("what", "s"), [["a", "1"], ["longer", "10"]])
    assert text == "what     s\na        1\nlonger  10"


def test_the_same_in_markdown() -> None:
    assert tables.markdown(("what", "s"), [["a", "1.5"]]) == "| what | s |\n| --- | --: |\n| a | 1.5 |"


def test_the_report_has_what_was_measured_and_no_more() -> None:
    report = tables.report(TAKEN)
    assert "page served" in report and "20 nodes, recorded" in report
    assert "by hand" not in tables.report({**TAKEN, "rounds": []})


def test_the_page_s_part_is_replaced_and_nothing_else() -> None:
    page = f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n"
    replaced = tables.with_section(page, tables.section(TAKEN))
    assert replaced.startswith("before\n") and replaced.endswith("\nafter\n") and "old" not in replaced
    assert (
        "median of 3 rounds, in turn" in replaced
        and "| page served on the network | 210 | 130 | 0.62 |" in replaced
        and "takes 0.62 of the time" in replaced
    )
    assert tables.with_section(replaced, tables.section(TAKEN)) == replaced


@pytest.mark.parametrize("page", ["", tables.BEGIN, f"{tables.END}{tables.BEGIN}", f"{tables.BEGIN}{tables.END}" * 2])
def test_a_page_without_its_marks_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="once each"):
        tables.with_section(page, "text")


def test_the_page_has_its_marks() -> None:
    page = (ROOT / "docs/benchmarks.md").read_text()
    assert tables.with_section(page, f"{tables.BEGIN}\n{tables.END}")


def test_the_readme_says_what_the_page_does() -> None:
    """Its one sentence is written by hand: correct it when `python -m bench readme` has written other figures."""
    ratios = [
        re.findall(r"`up` takes ([\d.]+) of the time", (ROOT / name).read_text()) for name in ("README.md", "docs/benchmarks.md")
    ]
    assert ratios[0] == ratios[1] and len(ratios[0]) == 1


def test_the_chart_has_a_bar_for_each_resource_and_marks_the_critical_path() -> None:
    root = ET.fromstring(chart.of(TAKEN))
    space = "{http://www.w3.org/2000/svg}"
    bars = {rect.find(f"{space}title").text: rect for rect in root.iter(f"{space}rect") if rect.find(f"{space}title") is not None}  # type: ignore[union-attr]
    assert list(bars) == [
        "Domain server-1-domain: 1.0 to 2.0 s",
        "Command a <&> b: 2.0 to 200.0 s, on the critical path",
    ]
    colors = [rect.get("fill") for rect in bars.values()]
    assert colors[0] != colors[1]
    assert root.findtext(f"{space}desc") == "Critical path: a <&> b 198.0 s"
    width = float(root.get("width", "0"))
    assert all(float(rect.get("x", "0")) + float(rect.get("width", "0")) <= width for rect in bars.values())


def test_no_chart_without_an_up() -> None:
    with pytest.raises(ValueError, match="bench compare"):
        chart.of({**TAKEN, "rounds": []})


@pytest.mark.parametrize(("last", "step"), [(5, 1), (10, 1), (11, 2), (45, 5), (95, 10), (130, 20), (700, 100)])
def test_the_axis_has_round_numbers(last: float, step: float) -> None:
    assert chart.tick(last) == step


def test_the_command_shows_what_it_has_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures, page, drawn = tmp_path / "figures.json", tmp_path / "page.md", tmp_path / "up.svg"
    options = ["-f", str(figures), "--page", str(page), "--chart", str(drawn)]
    assert command.main(["report", *options]) == 1
    assert "python -m bench compare writes it" in capsys.readouterr().err
    figures.write_text(json.dumps(TAKEN))
    page.write_text(f"{tables.BEGIN}\n{tables.END}\n")
    assert command.main(["report", "readme", *options]) == 0
    assert "page served" in capsys.readouterr().out
    assert page.read_text() == tables.section(TAKEN) + "\n"
    assert drawn.read_text() == chart.of(TAKEN)


def test_each_measurement_keeps_what_the_other_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[Any] = []

    def measured(_checkout: Any, document: dict[str, Any], *arguments: Any, **_options: Any) -> Any:
        configs.append(document["config"])
        return TAKEN["recorded"] if arguments else {name: TAKEN[name] for name in ("rounds", "verbs", "nodes")}

    monkeypatch.setattr(command, "prepare", lambda: None)
    monkeypatch.setattr(compare, "run", measured)
    monkeypatch.setattr(recorded, "measure", measured)
    figures = tmp_path / "kept/figures.json"
    ranges = ["--nodes", "192.168.122.140-192.168.122.149", "--pods", "192.168.122.150-192.168.122.159"]
    assert command.main(["recorded", "compare", "-s", "testnet", "-f", str(figures), *ranges]) == 0
    taken = json.loads(figures.read_text())
    assert {name: taken[name] for name in ("rounds", "verbs", "nodes", "recorded")} == {
        name: TAKEN[name] for name in ("rounds", "verbs", "nodes", "recorded")
    }
    assert (taken["stack"], taken["machine"]["guests"]) == ("testnet", "plain emulation")
    assert f"guests under plain emulation, K3s {taken['k3s']}." in tables.section(taken)
    for config in configs:
        assert config["k3s-macvlan:network"]["nodes"] == ranges[1]
        assert config["k3s-macvlan:podNetworks"] == {"macvlan-conf": {"range": ranges[3]}}


def test_only_the_range_of_the_stack_s_network_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "ROOT", tmp_path)
    options = command.parser().parse_args(["compare", "-s", "x", "--pods", "192.168.122.150-192.168.122.159"])
    stack = tmp_path / "Pulumi.x.yaml"
    stack.write_text("config:\n  k3s-macvlan:podNetworks: {lan: {range: 192.168.122.3, ipv6: accept}}\n")
    assert command._document(options)["config"] == {
        "k3s-macvlan:podNetworks": {"lan": {"range": "192.168.122.150-192.168.122.159", "ipv6": "accept"}}
    }
    stack.write_text("config:\n  k3s-macvlan:podNetworks: {lan: {}, iot: {vlan: 5}}\n")
    with pytest.raises(BenchError, match="networks lan, iot"):
        command._document(options)
    options.pods = None
    assert "k3s-macvlan:podNetworks" in command._document(options)["config"]


def test_a_stack_that_is_not_here_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["compare", "-s", "nowhere", "-f", str(tmp_path / "figures.json")]) == 1
    assert "there is no Pulumi.nowhere.yaml" in capsys.readouterr().err
