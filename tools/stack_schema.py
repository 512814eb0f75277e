"""The schema of a stack file, `Pulumi.STACK.yaml`, for editors: from the settings' models, with what Pulumi itself writes.

JSON Schema of draft 7, which every editor's YAML support reads. It knows single settings; what concerns several at once is known to
the program alone (`./lab preview`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from components.config.addresses import AddressRange, Ipv6Range
from components.config.settings import Settings

CNI_OBJECT, CNI_OBJECT_MODEL = "CNI object", "CniObject"
"""What a plugin's own configuration is called, and the definition of what all of them have."""
_DEFINITIONS = "#/definitions/"
_NETWORK_PATTERNS = {
    "ipv4interface": r"^\d{1,3}(\.\d{1,3}){3}/\d{1,2}$",
    "ipv4network": r"^\d{1,3}(\.\d{1,3}){3}(/[\d.]+)?$",
    "ipv6network": r"^[0-9a-fA-F.]*:[0-9a-fA-F:.]*(/\d{1,3})?$",
}
"""For formats that no editor knows: what is no network at all."""
_SECURE = {"$ref": f"{_DEFINITIONS}secure"}


class _Generate(GenerateJsonSchema):
    """Defaults as they are written in YAML, and no titles made of field names."""

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, AddressRange | Ipv6Range):
            return str(dft)
        return super().encode_default(dft)

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        default = super().default_schema(schema)
        # Those of a model are its fields'. An absent default is None, which is not what one would write.
        if isinstance(schema.get("default"), BaseModel) or default.get("default", 0) is None:
            default.pop("default", None)
        return default

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def settings_schema() -> dict[str, Any]:
    """The schema of `Settings`, by the names that are written in YAML; models are under `definitions`."""
    schema = Settings.model_json_schema(by_alias=True, ref_template=f"{_DEFINITIONS}{{model}}", schema_generator=_Generate)
    schema["definitions"] = schema.pop("$defs")
    _describe_chain(schema["definitions"])
    for part in parts(schema):
        # Not a setting of this name.
        if isinstance(part.get("format"), str) and part["format"] in _NETWORK_PATTERNS:
            part["pattern"] = _NETWORK_PATTERNS[part["format"]]
        if "pattern" in part:
            part["pattern"] = ecma(part["pattern"])
        if "patternProperties" in part:
            part["patternProperties"] = {ecma(pattern): value for pattern, value in part["patternProperties"].items()}
            part.setdefault("additionalProperties", False)
    return schema


def _describe_chain(definitions: dict[str, Any]) -> None:
    """Say what each plugin of a chain has. The model takes any mapping there, to name the mistake in words of its own."""
    definitions[CNI_OBJECT_MODEL] = {
        "description": "Configuration of one CNI plugin.",
        "type": "object",
        "properties": {
            "type": {"type": "string", "minLength": 1, "description": "Name of the plugin; its other keys are the plugin's own."}
        },
        "required": ["type"],
        "additionalProperties": True,
    }
    chain = definitions["PodNetwork"]["properties"]["chain"]
    chain["items"] = {"$ref": f"{_DEFINITIONS}{CNI_OBJECT_MODEL}"}


def ecma(pattern: str) -> str:
    """A pattern of Python's as one of ECMAScript's, which editors run. ValueError where it may not mean the same there."""
    translated = pattern
    if pattern.startswith("^(?i:") and pattern.endswith(")$"):
        translated = pattern.replace("(?i:", "(?:").replace("a-f", "a-fA-F").replace("a-z", "a-zA-Z")
    if any(mark in translated for mark in ("(?i", "(?P", "(?<", "(?#", "(?>", "\\A", "\\Z", "++", "*+", "?+")):
        raise ValueError(f"{pattern}: write it without what only Python knows")
    return translated


def stack_schema(project: str) -> dict[str, Any]:
    """The schema of a stack file: each setting as a key `PROJECT:NAME` of `config`, and an encrypted value at any place."""
    settings = settings_schema()
    definitions = settings["definitions"]
    definitions["secure"] = {
        "description": "A value that Pulumi has encrypted: `pulumi config set --secret --path KEY`.",
        "type": "object",
        "properties": {"secure": {"type": "string"}},
        "required": ["secure"],
        "additionalProperties": False,
    }
    for name, model in definitions.items():
        if name != "secure":
            _let_secure(model)
    own = {f"{project}:{name}": _or_secure(value) for name, value in settings["properties"].items()}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": f"A stack file of {project}",
        "description": "Generated from components/config/settings.py by tools/describe_settings.py.",
        "type": "object",
        "properties": {
            "config": {
                "type": "object",
                "description": "Settings of the stack; docs/settings.md explains each.",
                "properties": own,
                # Of other providers and of Pulumi itself, such as pulumi:disable-default-providers.
                "patternProperties": {f"^(?!{project}:)[^:]+:.+$": True},
                "additionalProperties": False,
            },
            # https://www.pulumi.com/docs/iac/concepts/projects/stack-settings-file/
            "environment": {"description": "Pulumi ESC environments."},
            "secretsprovider": {"type": "string"},
            "encryptedkey": {"type": "string"},
            "encryptionsalt": {"type": "string"},
        },
        "additionalProperties": False,
        "definitions": definitions,
    }


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in a schema."""
    if isinstance(schema, dict):
        yield schema
    for item in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from parts(item)


def _or_secure(schema: Any) -> Any:
    """What the schema allows, or an encrypted value; so in all that it holds."""
    if not schema or schema is True:  # anything at all
        return schema
    annotations = {key: value for key, value in schema.items() if key in ("description", "default")}
    constraints = {key: value for key, value in schema.items() if key not in annotations}
    choices = constraints["anyOf"] if set(constraints) == {"anyOf"} else [constraints]
    for choice in choices:
        _let_secure(choice)
    return {**annotations, "anyOf": [*choices, _SECURE]}


def _let_secure(schema: dict[str, Any]) -> None:
    """Let each value inside of a mapping or list be an encrypted one."""
    for keyword in ("properties", "patternProperties"):
        if keyword in schema:
            schema[keyword] = {name: _or_secure(value) for name, value in schema[keyword].items()}
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            schema[keyword] = _or_secure(schema[keyword])
