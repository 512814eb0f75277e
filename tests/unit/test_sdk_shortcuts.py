"""What the program does without of Pulumi's SDK."""

from types import SimpleNamespace

import pytest
from pulumi import log
from pulumi.runtime import rpc

from components import interrupt, sdk_shortcuts

pytestmark = pytest.mark.unit


def test_the_sdk_has_both_under_these_names() -> None:
    """Where it fails, an update of the SDK has moved them: the program takes longer until sdk_shortcuts.py follows."""
    assert callable(log.debug)
    assert callable(vars(rpc)["declare_dependency"])


def test_both_are_skipped_and_the_rest_stays() -> None:
    said: list[str] = []
    messages = SimpleNamespace(debug=said.append, info=said.append)
    dependencies = SimpleNamespace(declare_dependency=lambda *_: False)
    sdk_shortcuts.skip(messages, dependencies)
    messages.debug("beginning rpc", None, stream_id=1)
    messages.info("news")
    assert said == ["news"]
    assert dependencies.declare_dependency("one", "another") is True


def test_another_sdk_is_left_as_it_is() -> None:
    messages, dependencies = SimpleNamespace(), SimpleNamespace()
    sdk_shortcuts.skip(messages, dependencies)
    assert vars(messages) == vars(dependencies) == {}


def test_they_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    skipped: list[bool] = []
    for name in ("skip", "keep_garbage"):
        monkeypatch.setattr(sdk_shortcuts, name, lambda *_: skipped.append(True))
    monkeypatch.setenv("LAB_SDK_SHORTCUTS", "off")
    sdk_shortcuts.take()
    assert not skipped
    monkeypatch.delenv("LAB_SDK_SHORTCUTS")
    sdk_shortcuts.take()
    assert skipped == [True, True]


def test_tests_are_not_run_by_pulumi(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not interrupt.run_by_pulumi()
    monkeypatch.setattr("sys.orig_argv", ["python", "/usr/bin/pulumi-language-python-exec", "--stack"])
    assert interrupt.run_by_pulumi()
