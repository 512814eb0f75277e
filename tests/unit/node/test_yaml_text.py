"""Text stays text for readers of YAML 1.2, and everything else is written as PyYAML writes it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from cli import stack_yaml
from components.cluster.k3s_files import config, registries_yaml
from components.config.plan import make
from components.config.reading import parse
from components.node.cloud_init import user_data
from components.node.yaml_text import dump

pytestmark = pytest.mark.unit

NUMBERS = ["1e3", "1E-3", "08", "0o17", "0b1", "1_000", "+7", ".5", "5.", "1.e5", "0x1F", "12", "-0"]
WORDS = ["yes", "null", "~", "2026-11-26", "a: b", "1.2.3", "v1", "é", "", " x", "<<", "1e", "e3", "12:30:45"]


@pytest.mark.parametrize("text", NUMBERS + WORDS)
def test_a_text_is_read_as_the_same_text(text: str) -> None:
    assert stack_yaml.load(dump({"key": text})) == {"key": text}
    assert yaml.safe_load(dump({"key": [text]})) == {"key": [text]}


@pytest.mark.parametrize("value", [1, 1000.0, 1.5e300, True, None, [1, "a"], {"b": 1, "a": {"c": []}}])
def test_other_values_are_read_as_they_are(value: Any) -> None:
    assert yaml.safe_load(dump({"key": value})) == {"key": value}


def test_what_k3s_and_cloud_init_read_has_it() -> None:
    registry = {"registry.example": {"auth": {"username": "u", "password": "1e3"}}}
    settings = parse("dev", {"k3s": {"registries": {"configs": registry}}})
    written = registries_yaml(settings.k3s)
    assert written is not None
    assert stack_yaml.load(written)["configs"]["registry.example"]["auth"]["password"] == "1e3"
    plan = make("k3s-macvlan", "dev", settings)
    document = config(plan.nodes[0], "", plan.api_names, settings.k3s, "1e3")
    assert stack_yaml.load(dump(document))["token"] == "1e3"
    text = user_data(
        hostname="h",
        user="u",
        authorized_keys=["k"],
        host_private_key="p",
        host_public_key="q",
        extra={"password": "1e3"},
    )
    assert stack_yaml.load(text)["password"] == "1e3"
