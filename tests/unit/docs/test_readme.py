"""The pages for readers: a command is run by a test or says that it is not; stack files are valid; links lead somewhere."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab_harness import STACK_FILE, Lab

from cli.networks import NETWORKS, requests
from cli.stack import project
from components.config import reading
from components.config.model import to_camel
from components.config.raw import from_document
from components.config.settings import Settings
from components.network import cni

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
OTHERS = {"settings.md"}  # generated
PAGES = [
    ROOT / "README.md",
    ROOT / "README.zh-CN.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(page for page in (ROOT / "docs").glob("*.md") if page.name not in OTHERS),
    *sorted((ROOT / "examples").glob("*/README.md")),
]
NOT_RUN = "# not run by a test"

# Commands that a test of their own runs for real or with stand-ins; those of `./lab` are all run below, with stand-ins.
RUN_BY = {
    "./lab up": "tests/e2e/test_life.py::test_up_serves_the_page",
    "./lab destroy": "tests/e2e/test_life.py::test_destroy_of_a_dead_machine_leaves_nothing",
    "./lab test": "tests/unit/cli/test_lab.py::test_ci_runs_the_tests_from_any_folder",
    "./lab diagram --example docs/network.svg": "tests/unit/cli/test_diagram.py::test_the_readme_s_picture_is_current",
    "./lab --version": "tests/unit/cli/test_lab.py::test_the_version_is_said_without_anything_that_is_not_there_yet",
    "./lab kubectl get pods -A": "tests/unit/cli/test_enter.py::test_kubectl_reads_the_kubeconfig_from_memory",
}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", page.read_text())


def commands() -> list[tuple[str, str]]:
    """(page, command) for each line of the `sh` blocks, without its comment unless that is the mark."""
    lines = []
    for page in PAGES:
        for line in "\n".join(blocks(page, "sh")).splitlines():
            command, _sign, _comment = line.partition(" #") if NOT_RUN not in line else (line, "", "")
            if command.strip():
                lines.append((page.name, command.strip()))
    return lines


def test_blocks_name_their_language() -> None:
    for page in PAGES:
        fences = re.findall(r"(?m)^```(.*)$", page.read_text())
        assert set(fences[::2]) <= {"sh", "yaml", "json", ""} and set(fences[1::2]) <= {""}, page


@pytest.mark.parametrize(("page", "command"), commands())
def test_a_command_is_run_or_says_that_it_is_not(page: str, command: str, tmp_path: Path) -> None:
    if NOT_RUN in command:
        return
    if command in RUN_BY:
        path, _colons, name = RUN_BY[command].partition("::")
        assert f"def {name}(" in (ROOT / path).read_text(), f"{page}: {RUN_BY[command]} is not there"
    assert command.startswith("./lab "), f"{page}: {command}: run it in a test, or end its line in {NOT_RUN!r}"
    lab = Lab(tmp_path)
    words = shlex.split(command.partition(" > ")[0])[1:]
    if words[0] == "-s":
        (lab.root / f"Pulumi.{words[1]}.yaml").write_text(STACK_FILE)
    if "doctor" not in words and "test" not in words:
        lab.run("up")
    lab.run(*words)
    # lab took it: what it stands for was called.
    assert lab.log.read_text() or words == ["--version"]


def test_a_pulumi_command_names_its_stack() -> None:
    """`lab` selects none for it, so that Pulumi would end with "no stack selected"."""
    shown = [shlex.split(command)[2:] for _page, command in commands() if command.startswith("./lab pulumi ")]
    assert len(shown) >= 3 and [words for words in shown if "-s" not in words] == []
    assert not [command for _page, command in commands() if re.match(r"\./lab -s \S+ pulumi", command)]


def stack_files() -> list[tuple[str, dict[str, Any]]]:
    documents = []
    for page in PAGES:
        for text in blocks(page, "yaml"):
            document = yaml.safe_load(text)
            if "config" in document:
                name = re.match(r"# Pulumi\.([a-z]+)\.yaml\n", text)
                assert name, f"{page.name}: a stack file begins with its name"
                documents.append((name.group(1), document))
    return documents


@pytest.mark.parametrize(("name", "document"), stack_files(), ids=[name for name, _ in stack_files()])
def test_a_stack_file_is_valid(name: str, document: dict[str, Any]) -> None:
    own = project()
    reading.load(own, name, from_document(document, own))


def networks_annotations(value: Any) -> Iterator[str]:
    """The networks annotation of a manifest and of each template in it."""
    if isinstance(value, dict):
        annotation = (value.get("annotations") or {}).get(NETWORKS)
        yield from [annotation] if annotation else []
        for item in value.values():
            yield from networks_annotations(item)


def test_annotations_in_manifests_request_what_a_stack_file_of_the_page_has() -> None:
    """Read as Multus reads them, and with addresses only of the book."""
    count = 0
    for page in PAGES:
        documents = [yaml.safe_load(text) for text in blocks(page, "yaml")]
        manifests = [annotation for document in documents for annotation in networks_annotations(document)]
        networks = [
            network
            for document in documents
            if "config" in document and manifests
            for network in reading.load(project(), "dev", from_document(document, project()))[1].networks
        ]
        for selection in (selection for annotation in manifests for selection in requests(annotation, "default")):
            named = [network for network in networks if network.reference == selection.network]
            assert named, f"{page.name}: {selection}"
            booked = [
                cni.attachment(network, entry).get("ips") for network in named for entry in network.settings.addresses.values()
            ]
            assert not selection.ips or list(selection.ips) in booked, f"{page.name}: {selection}"
            count += 1
    assert count >= 5


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_json_is_json(page: Path) -> None:
    for text in blocks(page, "json"):
        json.loads(text)


def test_every_key_is_in_the_readme_s_table() -> None:
    table = set(re.findall(r"\[`(\w+)`\]\(docs/settings\.md#", (ROOT / "README.md").read_text()))
    assert table == {to_camel(name) for name in Settings.model_fields}


def settings_in(text: str) -> set[str]:
    """Dotted names in code spans that begin with a key of the settings."""
    keys = {to_camel(name) for name in Settings.model_fields}
    return {setting for setting in re.findall(r"`([a-zA-Z0-9]+(?:\.[a-zA-Z0-9]+)+)", text) if setting.split(".")[0] in keys}


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_settings_that_a_page_names_exist(page: Path) -> None:
    known = re.findall(r"(?m)^\| `([^`]+)` ", (ROOT / "docs/settings.md").read_text())
    for name in settings_in(page.read_text()):
        assert any(setting == name or setting.startswith(f"{name}.") for setting in known), f"{page.name}: no setting {name}"


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        file, _sign, anchor = target.partition("#")
        if file.startswith("http"):
            continue
        path = (page.parent / file) if file else page
        assert path.exists(), f"{page.name}: {target}"
        if anchor:
            heads = re.findall(r"(?m)^#+ (.+)$", path.read_text())
            slugs = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in slugs, f"{page.name}: {target}"
