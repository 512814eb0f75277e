"""renovate.json: each pinned version is found by exactly one manager, with the right source, and a pull request of it is whole.

The pins are searched here by other means than renovate.json's patterns: the settings' defaults, the scalars of YAML, lines of
requirements, and, in all other files, each text that the former have. Renovate's own rules: lib/modules/manager/custom/regex and
lib/workers/repository/update/branch/auto-replace.ts.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.config.settings import Settings

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[3]
CONFIG: dict[str, Any] = json.loads((ROOT / "renovate.json").read_text())
KEPT = {"Pulumi.cn.yaml", "Pulumi.testnet.yaml", "Pulumi.testnet-stand-in.yaml"}
"""Stack files whose versions stay: the scenario's, and those that the closed test network has."""

VERSION = re.compile(r"(?<![\d.])(?!\d+(?:\.\d+){3})(?:v?\d+\.\d+(?:\.\d+)?(?:\+k3s\d+|-[a-z]+$)?|\d{8}-\d+)(?![\d.]*\d)")
"""A release in a value; an IPv4 address is none."""

IMAGE = re.compile(r"[a-z0-9.-]+\.[a-z]+/[\w/.-]+:v?\d[\w.-]*")
"""A container image with the tag of a release."""

NO_PINS = {
    "cniVersion": "of the CNI specification, which the plugins of many releases know",
    "pci": "the place of a device",
    "usb": "the place of a device",
}
"""Keys of the settings whose values look like a version, and why they are none."""

FACTS = {
    ("README.md", "no effect with Multus v4.2.2 to v4.3.0"),
    ("README.md", "K3s's own binary (v1.36.3, then v1.36.4)"),
    ("docs/measured.md", ""),
    ("docs/own-image-network-mirror.md", "https://cloud-images.ubuntu.com/"),
    ("docs/own-pods.md", "With v1.9.1 the daemon logs"),
    ("docs/own-pods.md", "with Multus v4.2.2 to v4.3.0"),
    ("docs/test-network.md", ""),
    ("CHANGELOG.md", ""),
    ("policy/deleted_with.py", "of a resource's options the analyzer protocol"),
}
"""Lines of pages that say of which release something was seen, or name another image as an example; they stay true when the default
is another one.
"""

SOURCES = (
    (r"^v\d+\.\d+\.\d+\+k3s\d+$", {"github-releases"}, "k3s-io/k3s"),
    (r"/cni-plugins-linux-amd64-", {"github-release-attachments", "github-releases"}, "containernetworking/plugins"),
    (r"^https://cloud\.debian\.org/", {"custom.debian-bookworm"}, "debian-12-genericcloud"),
    (r"^((?:ghcr|docker)\.io/[\w/-]+):v?[\d.]+(?:-[a-z]+)?$", {"docker"}, r"\1"),
    (r"^(?:>=|\^)?\d+\.\d+\.\d+$", {"pypi"}, "pulumi"),
)
"""By the text that has the version: where renovate must look for a newer one, and under which name."""


@dataclass(frozen=True)
class Pin:
    """A version in a file."""

    file: str
    start: int
    version: str
    text: str
    """The whole value that has it."""

    def __str__(self) -> str:
        return f"{self.file}: {self.text}"

    @property
    def source(self) -> tuple[set[str], str]:
        """Datasources of which one is right, and the name."""
        for pattern, datasources, name in SOURCES:
            match = re.search(pattern, self.text)
            if match:
                return datasources, match.expand(name)
        raise AssertionError(f"{self}: say in SOURCES where its releases are")


@dataclass(frozen=True)
class Found:
    """What one of renovate's managers finds in a file."""

    file: str
    start: int
    replaced: str
    """The text in which renovate replaces the version and the checksum, wherever they are in it."""
    name: str
    version: str
    digest: str
    datasource: str

    def has(self, pin: Pin) -> bool:
        return self.start <= pin.start < self.start + len(self.replaced) and self.version == pin.version


@cache
def files() -> dict[str, str]:
    """The text files of the repository, without the tests."""
    kinds = {".json", ".md", ".py", ".sh", ".svg", ".txt", ".yaml", ".yml", ""}
    folders = (".github", "bench", "cli", "components", "docs", "examples", "policy", "tools")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    paths += [path for path in ROOT.iterdir() if path.name not in (".git", "renovate.json")]
    chosen = [path for path in paths if path.is_file() and path.suffix in kinds and "__pycache__" not in path.parts]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in sorted(chosen)}


# --- what renovate finds


def matches(pattern: str, file: str) -> bool:
    """As renovate takes managerFilePatterns; of globs there is none here but plain names."""
    return re.search(pattern[1:-1], file) is not None if pattern.startswith("/") else pattern == file


def python(pattern: str) -> str:
    return pattern.replace("(?<", "(?P<")


def of_custom_managers() -> Iterator[Found]:
    for manager in CONFIG["customManagers"]:
        for file, text in files().items():
            if not any(matches(pattern, file) for pattern in manager["managerFilePatterns"]):
                continue
            for pattern in manager["matchStrings"]:
                for match in re.finditer(python(pattern), text):
                    groups = match.groupdict()
                    name = manager.get("depNameTemplate") or groups["depName"]
                    digest = groups.get("currentDigest") or ""
                    yield Found(file, match.start(), match[0], name, groups["currentValue"], digest, manager["datasourceTemplate"])


def of_own_managers() -> Iterator[Found]:
    """Renovate's own managers pip_requirements and github-actions."""
    for file, text in files().items():
        if re.search(r"(^|/)[\w-]*requirements([-._]\w+)?\.(txt|pip)$", file):
            for match in re.finditer(r"(?m)^([\w.-]+)==([\w.]+)", text):
                yield Found(file, match.start(), match[0], match[1], match[2], "", "pypi")
        if file.startswith(".github/workflows/"):
            for match in re.finditer(r"uses: ([\w-]+/[\w-]+)@([0-9a-f]{40}) # (v[\d.]+)", text):
                yield Found(file, match.start(), match[0], match[1], match[3], match[2], "github-tags")
            for match in re.finditer(r'python-version: "([\d.]+)"', text):
                yield Found(file, match.start(), match[0], "python", match[1], "", "github-releases")
            for match in re.finditer(r"runs-on: (\w+)-([\d.]+)", text):
                yield Found(file, match.start(), match[0], match[1], match[2], "", "github-runners")


@cache
def found() -> tuple[Found, ...]:
    return (*of_custom_managers(), *of_own_managers())


def disabled(file: str) -> bool:
    return any(file in rule.get("matchFileNames", ()) and rule.get("enabled") is False for rule in CONFIG["packageRules"])


# --- which pins there are


def pins_in(file: str, start: int, text: str) -> Iterator[Pin]:
    for match in VERSION.finditer(text):
        yield Pin(file, start + match.start(), match[0], text)


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """(key, text) of each text in a document."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, str(name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item, key)
    elif isinstance(value, str):
        yield key, value


def pinned_defaults() -> list[str]:
    """Texts of the settings' defaults that have a version."""
    document = Settings().model_dump(mode="json", by_alias=True)
    return [text for key, text in leaves(document) if key not in NO_PINS and VERSION.search(text)]


def of_defaults() -> Iterator[Pin]:
    """Where the source has them: each is one literal."""
    for path in ("settings.py", "pod_networks.py", "artifacts.py"):
        file = f"components/config/{path}"
        for text in pinned_defaults():
            for match in re.finditer(re.escape(f'"{text}"'), files()[file]):
                yield from pins_in(file, match.start() + 1, text)


def scalars(node: yaml.Node, key: str = "") -> Iterator[tuple[str, yaml.ScalarNode]]:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield from scalars(value, name.value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from scalars(item, key)
    elif isinstance(node, yaml.ScalarNode):
        yield key, node


def of_yaml(file: str, text: str, offset: int = 0) -> Iterator[Pin]:
    """All values on one line but descriptions, which name no release that is used."""
    for document in yaml.compose_all(text, Loader=yaml.SafeLoader):
        for key, node in scalars(document) if document is not None else ():
            start = offset + node.start_mark.index + (0 if node.style is None else 1)
            if key not in (*NO_PINS, "description") and "\n" not in node.value and not is_fact(file, start):
                yield from pins_in(file, start, node.value)


def is_fact(file: str, place: int) -> bool:
    text = files()[file]
    end = text.find("\n", place)
    line = text[text.rfind("\n", 0, place) + 1 : end if end >= 0 else None]
    return any(file == page and words in line for page, words in FACTS)


def of_yaml_files() -> Iterator[Pin]:
    for file, text in files().items():
        if re.fullmatch(r"Pulumi(\.[^/]+)?\.yaml|examples/[^/]+/Pulumi\.yaml", file):
            yield from of_yaml(file, text)
        if file.endswith(".md"):
            for block in re.finditer(r"(?ms)^```yaml\n(.*?)^```$", text):
                yield from of_yaml(file, block[1], block.start(1))


def of_lab() -> Iterator[Pin]:
    for match in re.finditer(r"(?m)^[^#\n]*?(\d+\.\d+\.\d+)", files()["lab"]):
        yield Pin("lab", match.start(1), match[1], match[1])


def of_images() -> Iterator[Pin]:
    """In Python, next to the settings'."""
    for file, text in files().items():
        for start, end in literals(text) if file.endswith(".py") else ():
            if IMAGE.fullmatch(text[start + 1 : end - 1]):
                yield from pins_in(file, start + 1, text[start + 1 : end - 1])


def of_repeated_versions() -> Iterator[Pin]:
    """Versions that other pins have, wherever a file repeats them but in a comment or a docstring of Python.

    Not of two numbers alone, as 1.25: they are counts and other things too.
    """
    values = {pin.version: pin.text for pin in (*of_defaults(), *of_lab()) if pin.version.count(".") == 2 or "-" in pin.version}
    for file, text in files().items():
        spans = literals(text) if file.endswith(".py") else [(0, len(text))]
        for version, value in values.items():
            for match in re.finditer(rf"(?<![\w.]){re.escape(version)}(?![\w+.]*\w)", text):
                place = match.start()
                pinned_by_pip = file.endswith("requirements.txt")
                if any(start <= place < end for start, end in spans) and not is_fact(file, place) and not pinned_by_pip:
                    yield Pin(file, place, version, value)


def of_repeated_images() -> Iterator[Pin]:
    """Images that are defaults, likewise."""
    for value in {pin.text for pin in of_defaults() if IMAGE.fullmatch(pin.text)}:
        for file, text in files().items():
            for match in re.finditer(rf"{re.escape(value)}(?![\w.-]*\w)", text) if not file.endswith(".py") else ():
                yield from pins_in(file, match.start(), value)


def literals(text: str) -> list[tuple[int, int]]:
    """Where texts of a Python program are that are no docstrings."""
    tree = ast.parse(text)
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    lines = [0]
    for line in text.splitlines(keepends=True):
        lines.append(lines[-1] + len(line.encode()))
    data = text.encode()

    def place(line: int, column: int) -> int:
        return len(data[: lines[line - 1] + column].decode())

    return [
        (place(node.lineno, node.col_offset), place(node.end_lineno or node.lineno, node.end_col_offset or 0))
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
    ]


@cache
def pins() -> tuple[Pin, ...]:
    """All of them, each once."""
    by_place = {}
    for pin in (*of_repeated_versions(), *of_repeated_images(), *of_images(), *of_lab(), *of_yaml_files(), *of_defaults()):
        by_place[pin.file, pin.start] = pin
    return tuple(by_place.values())


# --- the tests


def test_the_search_finds_what_is_known_to_be_pinned() -> None:
    """At least what the issue names; otherwise the tests below would pass with a search that finds nothing."""
    by_file: dict[str, set[str]] = {}
    for pin in pins():
        by_file.setdefault(pin.file, set()).add(pin.source[1])
    images = {"ghcr.io/k8snetworkplumbingwg/multus-cni", "docker.io/library/nginx"}
    defaults = {"k3s-io/k3s", "containernetworking/plugins", "debian-12-genericcloud", *images}
    assert by_file["components/config/settings.py"] >= defaults
    assert by_file["Pulumi.yaml"] >= {*defaults, "pulumi"}
    assert by_file["docs/settings.md"] >= defaults and by_file["docs/stack.schema.json"] >= defaults
    assert by_file["Pulumi.dev.yaml"] == by_file["Pulumi.ha.yaml"] == {"k3s-io/k3s"}
    assert by_file["Pulumi.cn.yaml"] == {"k3s-io/k3s", "containernetworking/plugins", "ghcr.io/k8snetworkplumbingwg/multus-cni"}
    assert by_file["README.md"] == by_file["README.zh-CN.md"] == {"pulumi"}
    assert by_file["lab"] == by_file["tools/describe_settings.py"] == {"pulumi"}
    assert "pulumi" in by_file[".github/workflows/preview.yml"]


@pytest.mark.parametrize("pin", pins(), ids=str)
def test_a_pin_is_found_once_where_its_releases_are(pin: Pin) -> None:
    having = [dependency for dependency in found() if dependency.file == pin.file and dependency.has(pin)]
    assert len(having) == 1, f"{pin}: {len(having)} managers of renovate.json find it"
    datasources, name = pin.source
    assert having[0].datasource in datasources and having[0].name == name
    assert disabled(pin.file) == (pin.file in KEPT)


def test_each_requirement_and_each_action_is_found() -> None:
    """By renovate's own managers: every line is in the form that they take."""
    of = {(dependency.file, dependency.start): dependency for dependency in of_own_managers()}
    lines = 0
    for file, text in files().items():
        wanted = ""
        if file.endswith((".txt", ".pip")):
            wanted = r"(?m)^[^#\s-].*$"
        elif file.startswith(".github/workflows/"):
            wanted = r"(?m)uses: .*$|python-version: .*$|runs-on: (?!\[).*$"
        for match in re.finditer(wanted, text) if wanted else ():
            assert (file, match.start()) in of, f"{file}: {match[0]}"
            lines += 1
    assert lines > 30
    managers = {"custom.regex", "pip_requirements", "github-actions"}
    assert set(CONFIG["enabledManagers"]) == managers and CONFIG["ignorePaths"] == []


def test_no_pattern_is_of_no_use() -> None:
    for manager in CONFIG["customManagers"]:
        for pattern in manager["managerFilePatterns"]:
            assert any(matches(pattern, file) for file in files()), pattern
        chosen = [text for file, text in files().items() if any(matches(p, file) for p in manager["managerFilePatterns"])]
        for pattern in manager["matchStrings"]:
            assert any(re.search(python(pattern), text) for text in chosen), pattern
            assert not re.search(r"\(\?<?[=!]", pattern), f"{pattern}: re2, which renovate uses, does not look around"
    for page, words in FACTS:
        assert any(words in line and VERSION.search(line) for line in files()[page].splitlines()), (page, words)


def test_versions_are_compared_as_they_are_counted() -> None:
    versionings = {manager.get("versioningTemplate", "").removeprefix("regex:") for manager in CONFIG["customManagers"]} - {""}
    k3s, image = sorted(versionings, key=lambda pattern: "k3s" not in pattern)

    def parts(pattern: str, version: str) -> list[int] | None:
        match = re.match(python(pattern), version)
        return [int(part) for part in match.groups()] if match else None

    older, newer = parts(k3s, "v1.36.9+k3s2"), parts(k3s, "v1.36.10+k3s1")
    assert older and newer and older < newer
    assert parts(k3s, "v1.36.10-rc1+k3s1") is None and parts(k3s, "v1.36.10") is None
    first, second = parts(image, "20260923-2610"), parts(image, "20261010-0")
    assert first and second and first < second
    [extract] = [manager["extractVersionTemplate"] for manager in CONFIG["customManagers"] if "extractVersionTemplate" in manager]
    listed = ["../", "20260923-2610/", "daily/", "latest/"]
    assert [match["version"] for match in (re.match(python(extract), link) for link in listed) if match] == ["20260923-2610"]


def test_one_group_for_what_changes_together() -> None:
    rules = [rule for rule in CONFIG["packageRules"] if "groupName" in rule]
    groups = {name: rule["groupName"] for rule in rules for name in rule["matchPackageNames"]}
    assert groups["k3s-io/k3s"] == "K3s" and groups["containernetworking/plugins"] == "CNI plugins"
    assert groups["pulumi"] == groups["pulumi-policy"] == "Pulumi"


def replaced(name: str, version: str, digest: str) -> dict[str, str]:
    """The files that a pull request changes, as renovate writes them: the dependency in its newer version."""
    changed: dict[str, str] = {}
    for dependency in found():
        if dependency.name == name and not disabled(dependency.file):
            new = dependency.replaced.replace(dependency.version, version)
            assert dependency.version not in new
            if dependency.digest:
                new = new.replace(dependency.digest, digest)
            text = changed.get(dependency.file, files()[dependency.file])
            changed[dependency.file] = text.replace(dependency.replaced, new, 1)
    return changed


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("k3s-io/k3s", "v1.99.1+k3s1"),
        ("containernetworking/plugins", "v9.9.9"),
        ("ghcr.io/k8snetworkplumbingwg/multus-cni", "v9.9.9"),
        ("docker.io/library/nginx", "9.99"),
        ("debian-12-genericcloud", "20991231-1"),
        ("pulumi", "9.99.0"),
    ],
)
def test_a_pull_request_is_whole(name: str, version: str, tmp_path: Path) -> None:
    """What is generated from the settings is as the generator would write it, and no pin has the former version."""
    changed = replaced(name, version, "f" * 64)
    for folder in ("components", "tools"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "docs").mkdir()
    for file, text in changed.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    subprocess.run([sys.executable, str(tmp_path / "tools/describe_settings.py")], check=True, timeout=120)
    generated = {"Pulumi.yaml", "docs/settings.md", "docs/stack.schema.json"}
    assert {file for file in changed if (tmp_path / file).read_text() != changed[file]} == set()
    assert name == "pulumi" or generated <= set(changed)

    pinned = {pin.file for pin in pins() if pin.source[1] == name and pin.file not in KEPT}
    assert pinned <= set(changed)
