"""What is generated from the settings' models is up to date."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from components.settings import Settings, to_camel

pytestmark = pytest.mark.unit
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def describe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("describe_settings", ROOT / "tools" / "describe_settings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", ["Pulumi.yaml", "docs/settings.md"])
def test_a_generated_file_is_what_would_be_generated(describe: ModuleType, path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == describe.GENERATED[path](), "run tools/describe_settings.py"


def test_the_schema_has_each_key_with_type_default_and_description() -> None:
    config = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    assert list(config) == [to_camel(name) for name in Settings.model_fields]
    for name, entry in config.items():
        assert entry["type"] == "object", name
        assert entry["description"].strip(), name
        assert "default" in entry, name


def test_every_setting_is_explained() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) > 80
    for row in rows:
        assert re.fullmatch(r"\| `[^`]+` \| [^|]+ \| [^|]*(\|[^|]*)? \| .*\S.* \|", row), row


def test_no_stack_file_sets_what_does_not_exist() -> None:
    known = {to_camel(name) for name in Settings.model_fields}
    for path in ROOT.glob("Pulumi.*.yaml"):
        keys = yaml.safe_load(path.read_text())["config"]
        assert {key.split(":", 1)[1] for key in keys if key.startswith("k3s-macvlan:")} <= known, path.name
