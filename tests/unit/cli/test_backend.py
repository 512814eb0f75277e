"""Where the state is, when that is looked at more than once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli import backend

pytestmark = pytest.mark.unit

OURS = (
    "PULUMI_BACKEND_URL",
    "PULUMI_SKIP_UPDATE_CHECK",
    "PULUMI_FALLBACK_TO_STATE_SECRETS_MANAGER",
    "PULUMI_CONFIG_PASSPHRASE_FILE",
)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the states, without a login of the user's and with nothing of ours in the environment."""
    monkeypatch.setattr(backend, "STATE", tmp_path / "state")
    monkeypatch.setattr(backend, "PASSPHRASE", tmp_path / "passphrase")
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    for name in (*OURS, "PULUMI_ACCESS_TOKEN", "PULUMI_CREDENTIAL_STORE", "PULUMI_CONFIG_PASSPHRASE"):
        monkeypatch.setenv(name, "")  # so that it is as it was after the test
        monkeypatch.delenv(name)
    return tmp_path / "state"


def test_used_again_it_is_the_same(state: Path) -> None:
    """Restore, drain and reboot do it: a stack that seemed to be in the user's own login was used with the file in git, into which
    Pulumi then wrote its salt."""
    first = backend.use("dev")
    environment = {name: os.environ[name] for name in OURS}
    assert first.local and environment["PULUMI_BACKEND_URL"] == f"file://{state}"
    assert backend.use("dev") == backend.use("other") == first
    assert {name: os.environ[name] for name in OURS} == environment


def test_a_login_of_the_user_s_own_stays_one(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{state.parent}/elsewhere")
    assert not backend.use("dev").local and not backend.use("dev").local
    assert os.environ["PULUMI_BACKEND_URL"] == f"file://{state.parent}/elsewhere"


def test_a_stack_is_found_by_its_full_name_too(state: Path) -> None:
    (state / ".pulumi/stacks/p").mkdir(parents=True)
    (state / ".pulumi/stacks/p/dev.json").write_text("{}")
    here = backend.Backend(project="p", local=True)
    assert here.has("dev") and here.has("organization/dev") and here.has("organization/p/dev") and not here.has("other/p")
