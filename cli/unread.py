"""Keys of a stack's file that Pulumi reads past without a word, so that no run of the program can report them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cli.folders import ROOT, stack_file
from components.config.file_keys import TOP_LEVEL

if TYPE_CHECKING:
    import yaml

_MAP = "tag:yaml.org,2002:map"


def refuse(stack: str, root: Path = ROOT) -> None:
    """SettingsError with each of them. Where the file is plainly in order, or cannot be read, which Pulumi reports, nothing of the
    settings is imported, which takes most of a second."""
    import yaml  # noqa: PLC0415 - verbs are imported without packages too

    try:
        document = yaml.compose(stack_file(stack, root).read_text(encoding="utf-8"), yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError):
        return
    if _is_plain(document):
        return
    from cli import stack as stacks  # noqa: PLC0415 - it imports the settings
    from components.config.problems import SettingsError  # noqa: PLC0415 - it imports pydantic

    if problems := stacks.unread(stack, root):
        raise SettingsError(stack, problems)


def _is_plain(document: yaml.Node | None) -> bool:
    """Whether it has known keys at its top level and no two below config: that could be one setting."""
    if document is None or document.tag != _MAP:
        return True
    for key, value in document.value:
        if key.value not in TOP_LEVEL:
            return False
        if key.value == "config" and value.tag == _MAP:
            names = [str(setting.value).rpartition(":")[2] for setting, _ in value.value]
            if len(set(names)) < len(names):
                return False
    return True
