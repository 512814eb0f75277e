"""Where Pulumi keeps the stacks' state: the user's own login, or .lab/state with a passphrase of its own."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from typing import NamedTuple

from cli import engine
from cli.errors import LabError
from cli.folders import LAB, ROOT
from cli.report import say

STATE = LAB / "state"
PASSPHRASE = LAB / "passphrase"

_LOGIN_VARIABLES = ("PULUMI_BACKEND_URL", "PULUMI_ACCESS_TOKEN", "PULUMI_CREDENTIAL_STORE")


class Backend(NamedTuple):
    """Where the state of a project's stacks is."""

    project: str
    """The project's name."""
    local: bool
    """The state is in .lab/state, and not where the user has logged in."""

    def has(self, stack: str) -> bool:
        """Whether the stack's state is in .lab/state."""
        return _state_file(self.project, stack) is not None


def use(stack: str) -> Backend:
    """The backend of the stack, set in this process's environment for the programs that it starts."""
    os.environ["PULUMI_SKIP_UPDATE_CHECK"] = "true"
    project = project_name()
    if _has_own_login(project, stack):
        return Backend(project=project, local=False)
    os.environ["PULUMI_BACKEND_URL"] = _own_url()
    # Without a salt in the stack's file, Pulumi takes the one in the state.
    os.environ["PULUMI_FALLBACK_TO_STATE_SECRETS_MANAGER"] = "true"
    STATE.mkdir(parents=True, exist_ok=True)
    if "PULUMI_CONFIG_PASSPHRASE" not in os.environ and not os.environ.get("PULUMI_CONFIG_PASSPHRASE_FILE"):
        _make_passphrase()
        os.environ["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(PASSPHRASE)
    return Backend(project=project, local=True)


def directory(backend: Backend) -> Path | None:
    """Where a backend in a directory of this machine has its files; None of any other. In the form that Pulumi reads (pulumi:
    pkg/backend/diy/backend.go, massageBlobPath)."""
    if backend.local:
        return STATE
    url = os.environ.get("PULUMI_BACKEND_URL") or _current_login()
    if not url.startswith("file://"):
        return None
    return Path(url.removeprefix("file://").partition("?")[0]).expanduser().absolute()


def project_name() -> str:
    """The project's name, from the line of Pulumi.yaml that has it."""
    match = re.search(r"(?m)^name: *(\S+)", (ROOT / "Pulumi.yaml").read_text(encoding="utf-8"))
    if match is None:
        raise LabError("Pulumi.yaml has no line `name: PROJECT`")
    return match[1]


def _state_file(project: str, stack: str) -> Path | None:
    file = STATE / ".pulumi" / "stacks" / project / f"{stack.rpartition('/')[2]}.json"
    return next((path for path in (file, file.with_name(f"{file.name}.gz")) if path.exists()), None)


def _own_url() -> str:
    return f"file://{STATE}"


def _has_own_login(project: str, stack: str) -> bool:
    if os.environ.get("PULUMI_BACKEND_URL") == _own_url():  # of `use` before, in this process or in one that has started it
        return False
    if any(os.environ.get(name) for name in _LOGIN_VARIABLES):
        return True
    if _state_file(project, stack):  # a later login elsewhere does not hide it
        return False
    return bool(_current_login())


def _current_login() -> str:
    """The URL that `pulumi login` has stored, empty without one."""
    credentials = Path(os.environ.get("PULUMI_CREDENTIALS_PATH") or engine.home()) / "credentials.json"
    try:
        match = re.search(r'"current": *"([^"]+)"', credentials.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""
    return match[1] if match else ""


def _make_passphrase() -> None:
    if PASSPHRASE.is_file() and PASSPHRASE.stat().st_size:
        return
    if any("stacks" in path.parts for path in STATE.rglob("*.json")):
        raise LabError(
            ".lab/passphrase does not exist, and the state in .lab/state is encrypted with it: bring it back, or set "
            "PULUMI_CONFIG_PASSPHRASE_FILE"
        )
    new = PASSPHRASE.with_name("passphrase.new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123 - with this mode at once
        file.write(base64.b64encode(os.urandom(32)) + b"\n")
    new.replace(PASSPHRASE)
    say("made .lab/passphrase, which the secrets in .lab/state are encrypted with: keep both")
