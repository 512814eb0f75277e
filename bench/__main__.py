"""python -m bench: what the scenario takes by hand and with `up`, and what each verb costs.

compare    both, in turn, on this machine's libvirt; then each verb on what `up` made
recorded   previews and an `up` that changes nothing, of 1, 5, 20 and 100 nodes that are not there
report     what was measured, as tables
chart      the last `up` as a timeline, SVG
readme     write the tables into docs/benchmarks.md, and the chart into docs/bench-up.svg
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import chart, compare, machine, recorded, tables
from bench.by_hand import ByHandError
from bench.checkout import ROOT, BenchError, changed, pod_network, prepare, revision, stack_document

SIZES = (1, 5, 20, 100)
Say = Callable[[str], None]


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    begin = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - begin:7.0f} s  {text}", file=sys.stderr, flush=True)  # noqa: T201

    try:
        for verb in options.verbs:
            VERBS[verb](options, say)
    except (BenchError, ByHandError, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("verbs", nargs="+", choices=VERBS, metavar="verb")
    options.add_argument("-s", "--stack", default="dev", help="whose settings are taken; the stack itself is not touched")
    options.add_argument("--nodes", help="in place of the stack's network.nodes, where that stack is up on the same network")
    options.add_argument("--pods", help="likewise, in place of the range of its network in podNetworks")
    options.add_argument("--rounds", type=int, default=3, help="rounds of by hand and `up` (3)")
    options.add_argument("--times", type=int, default=5, help="how often each verb is run (5)")
    options.add_argument("-f", "--figures", type=Path, default=ROOT / ".lab/bench.json", help="the JSON file (.lab/bench.json)")
    page = ROOT / "docs/benchmarks.md"
    options.add_argument("--page", type=Path, default=page, help="the page that `readme` writes into (docs/benchmarks.md)")
    options.add_argument("--chart", type=Path, default=ROOT / "docs/bench-up.svg", help="its chart (docs/bench-up.svg)")
    return options


def _compare(options: argparse.Namespace, say: Say) -> None:
    _keep(options, compare.run(prepare(), _document(options), rounds=options.rounds, times=options.times, say=say))


def _recorded(options: argparse.Namespace, say: Say) -> None:
    _keep(options, {"recorded": recorded.measure(prepare(), _document(options), SIZES, times=options.times, say=say)})


def _document(options: argparse.Namespace) -> dict[str, Any]:
    """The stack file to measure with."""
    base = ROOT / f"Pulumi.{options.stack}.yaml"
    if not base.exists():
        raise BenchError(f"there is no {base.name}: -s takes the name of a stack file that is here")
    document = stack_document(base, {"network": {"nodes": options.nodes}} if options.nodes else {})
    return changed(document, {"podNetworks": {pod_network(document): {"range": options.pods}}}) if options.pods else document


def _keep(options: argparse.Namespace, figures: dict[str, Any]) -> None:
    """Add what was measured to the file; what another kind of measurement put there stays."""
    settings, _ = compare.settings_of(_document(options), compare.STACK)
    figures = {
        **_figures(options),
        **figures,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "revision": revision(),
        "stack": options.stack,
        "k3s": settings.k3s.version,
        "machine": machine.facts(settings.machine.virt_type),
    }
    options.figures.parent.mkdir(exist_ok=True)
    options.figures.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _figures(options: argparse.Namespace) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(options.figures.read_text(encoding="utf-8")) if options.figures.exists() else {}
    return figures


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    figures = _figures(options)
    if not figures:
        raise BenchError(f"there is no {options.figures}: python -m bench compare writes it")
    return figures


def _report(options: argparse.Namespace, _say: Say) -> None:
    print(tables.report(_measured(options)), end="")  # noqa: T201


def _readme(options: argparse.Namespace, _say: Say) -> None:
    figures, page = _measured(options), options.page
    options.chart.write_text(chart.of(figures), encoding="utf-8")
    text = tables.with_section(page.read_text(encoding="utf-8"), tables.section(figures))
    page.write_text(text, encoding="utf-8")


VERBS = {"compare": _compare, "recorded": _recorded, "report": _report, "readme": _readme}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
