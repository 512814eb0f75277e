"""Stack files are read as Pulumi reads them. What is expected is what `pulumi config --json` (3.260.0) printed of the same text."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from cli import stack_yaml

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("52:54:00:12:34:56", "52:54:00:12:34:56"),
        ("190:20:30.15", "190:20:30.15"),
        *((text, text) for text in ("yes", "no", "on", "off", "y", "Yes", "OFF", "=", "0xgg", "1-2", "v1", ".inf1", "1e400")),
        *((text, text) for text in ("192.168.122.0/24", "10.0.0.1", "2001-13-01", "<<")),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ('""', ""),
        ("0644", 420),
        ("0o17", 15),
        ("0b11", 3),
        ("0x1F", 31),
        ("-0x1f", -31),
        ("0_7", 7),
        ("1_000", 1000),
        ("+1", 1),
        ("08", 8),
        ("123456789012345678", 123456789012345678),
        ("12345678901234567890123", 1.2345678901234568e22),
        ("9" * 5000, "9" * 5000),
        ("2.0", 2),
        ("1e3", 1000),
        ("1.5", 1.5),
        (".5_0", 0.5),
        ("-.5", -0.5),
        ("2001-1-1", "2001-01-01 00:00:00 +0000 UTC"),
        ("2001-12-14 21:59:43", "2001-12-14 21:59:43 +0000 UTC"),
        ("2001-12-14t21:59:43.10-05:00", "2001-12-14 21:59:43.1 -0500 -0500"),
        ('"2001-01-01"', "2001-01-01"),
        ("!!str 5", "5"),
    ],
)
def test_a_value_is_what_pulumi_makes_of_it(text: str, value: Any) -> None:
    loaded = stack_yaml.load(f"a: {text}\n")["a"]
    assert loaded == value and type(loaded) is type(value)


def test_keys_are_text() -> None:
    document = "{1: a, true: b, on: c, null: d, 0x10: e, 52:54: f}"
    assert stack_yaml.load(document) == {"1": "a", "true": "b", "on": "c", "<nil>": "d", "16": "e", "52:54": "f"}


def test_merged_keys_give_way() -> None:
    document = stack_yaml.load("a: &a {b: 1, c: 2}\nd: {<<: *a, b: 3}\n")
    assert document["d"] == {"b": 3, "c": 2}


def test_each_key_that_is_there_twice_is_reported_with_its_lines() -> None:
    with pytest.raises(stack_yaml.DuplicateKeys) as caught:
        stack_yaml.load('a: {b: 1, b: 2}\nc: 1\nl:\n- x: 1\n  "x": 2\nc: 3\nc: 4\n')
    assert sorted(caught.value.duplicates) == [("a.b", 1, 1), ("c", 2, 6), ("c", 2, 7), ("l.0.x", 4, 5)]


@pytest.mark.parametrize("text", ["a: [", "{[1]: 2}", "a: !x 1", "a: 1\n---\nb: 1", "[" * 5000, "\0", "a: *b"])
def test_what_is_no_document_is_a_yaml_error(text: str) -> None:
    with pytest.raises(yaml.YAMLError) as caught:
        stack_yaml.load(text)
    assert stack_yaml.message_of(caught.value)


def test_no_piece_of_the_document_is_shown() -> None:
    with pytest.raises(yaml.YAMLError) as caught:
        stack_yaml.load("config:\n  token: S3CRET: x\n")
    assert "S3CRET" not in stack_yaml.message_of(caught.value) and "line 2" in stack_yaml.message_of(caught.value)


def test_a_document_that_holds_itself_is_read() -> None:
    document = stack_yaml.load("&a {b: *a}")
    assert document["b"] is document
