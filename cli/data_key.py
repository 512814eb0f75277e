"""The key of a backup, encrypted by the stack's secrets provider: a passphrase, a cloud's KMS, or Pulumi's service.

pulumi itself encrypts it, as a secret value of a stack file of its own. That file's text holds what decrypts it again (the
passphrase's salt, or the KMS's encrypted key), so that the passphrase or the KMS is enough where the stack's state is lost.
Pulumi's service keeps the key of each stack, and needs that stack.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from cli import engine, stack_yaml
from cli.errors import LabError
from cli.folders import ROOT, stack_file

SIZE = 32
_PROVIDER = ("secretsprovider", "encryptedkey", "encryptionsalt")
"""Keys of a stack file that say how its secrets are encrypted."""
_OF_THE_FILE = ("encryptedkey", "encryptionsalt")
"""Those with which its text is enough."""


def make() -> bytes:
    return secrets.token_bytes(SIZE)


def wrap(project: str, stack: str, key: bytes) -> str:
    """Text of a stack file with the encrypted key. The stack's backend has been set (`backends.use`). Raises LabError."""
    document = stack_yaml.load(stack_file(stack).read_text(encoding="utf-8")) or {}
    provider = {name: document[name] for name in _PROVIDER if name in document}
    with tempfile.TemporaryDirectory(prefix="lab-backup-") as folder:
        file = Path(folder, "Pulumi.backup.yaml")
        file.write_text(yaml.safe_dump({**provider, "config": {}}), encoding="utf-8")
        words = ["config", "set", "--secret", "--config-file", str(file), "-s", stack, _name(project)]
        done = _pulumi(words, stdin=base64.b64encode(key), folder=ROOT)
        if done.returncode:
            raise LabError(f"pulumi cannot encrypt the backup's key with the secrets provider of stack {stack}: {_said(done)}")
        return file.read_text(encoding="utf-8")


def unwrap(project: str, stack: str, text: str, passphrase_file: str | None = None) -> bytes:
    """The key from what `wrap` has given. passphrase_file: in place of the environment's passphrase. Raises LabError."""
    document = yaml.safe_load(text)
    environment = dict(os.environ)
    if passphrase_file is not None:
        environment.pop("PULUMI_CONFIG_PASSPHRASE", None)
        environment["PULUMI_CONFIG_PASSPHRASE_FILE"] = passphrase_file
    with tempfile.TemporaryDirectory(prefix="lab-backup-") as name:
        folder = Path(name)
        file = folder / "Pulumi.key.yaml"
        file.write_text(text, encoding="utf-8")
        where = ROOT
        if isinstance(document, dict) and any(key in document for key in _OF_THE_FILE):
            where = folder / "project"
            environment |= _scratch(project, folder, where)
            stack = "backup"
        done = _pulumi(
            ["config", "get", "--config-file", str(file), "-s", stack, _name(project)], folder=where, environment=environment
        )
    if done.returncode:
        raise LabError(
            f"the backup's key cannot be decrypted: {_said(done)}. It takes the secrets provider that the stack had then: its "
            "passphrase (the former .lab/passphrase: --passphrase-file FILE), its KMS, or its stack at Pulumi's service"
        )
    try:
        key = base64.b64decode(done.stdout.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != SIZE:
        raise LabError("the backup is damaged: its key is none. Take another backup")
    return key


def _name(project: str) -> str:
    return f"{project}:backupKey"


def _scratch(project: str, folder: Path, where: Path) -> dict[str, str]:
    """Environment of a backend with a stack, without which pulumi decrypts nothing. The passphrase of that one protects nothing."""
    (folder / "state").mkdir()
    where.mkdir()
    (where / "Pulumi.yaml").write_text(f"name: {project}\nruntime: python\n", encoding="utf-8")
    own = {"PULUMI_BACKEND_URL": f"file://{folder / 'state'}", "PULUMI_SKIP_UPDATE_CHECK": "true"}
    environment = {key: value for key, value in os.environ.items() if key != "PULUMI_CONFIG_PASSPHRASE_FILE"}
    made = _pulumi(
        ["stack", "init", "--no-select", "backup"],
        folder=where,
        environment={**environment, **own, "PULUMI_CONFIG_PASSPHRASE": "of no secret"},
    )
    if made.returncode:
        raise LabError(f"pulumi makes no stack in {folder}, in which the backup's key would be decrypted: {_said(made)}")
    return {**own, "PULUMI_FALLBACK_TO_STATE_SECRETS_MANAGER": "false"}


def _pulumi(
    words: list[str], *, folder: Path, stdin: bytes = b"", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S603 - our own words
        [engine.path(), *words], cwd=folder, env=environment, input=stdin, capture_output=True, check=False
    )


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    return " ".join(done.stderr.decode(errors="replace").split()) or f"status {done.returncode}"
