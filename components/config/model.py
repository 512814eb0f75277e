"""Base of the settings' models, and how their fields are named in YAML. Pure; imports nothing of ours."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Self

from pydantic import BaseModel, ConfigDict


@lru_cache(maxsize=4096)
def to_camel(name: str) -> str:
    """`cloud_init` as it is written in YAML: `cloudInit` (pydantic's own would make `k3S` of `k3s`)."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class Model(BaseModel):
    """Base of all settings: frozen, camelCase in YAML, an unknown key is a mistake."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True
    )

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Itself, as nothing changes it. pydantic copies each default for each new object: a third of the time to read a stack."""
        return self
