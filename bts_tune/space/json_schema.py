"""The format of a search-space file as a JSON Schema: the rules of `file` and `parameter`, for editors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from bts_tune.config import CHOOSERS, POLICIES, known_fields
from bts_tune.registry import AUGMENTATION_STEPS, METRICS
from bts_tune.space.file import SpaceFile
from bts_tune.space.parameter import NOT_SEARCHED, fields_model, range_kind


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a search-space file, for editors and `bts-tune spaces schema`."""
    document = SpaceFile.model_json_schema(schema_generator=_UntitledSchema)
    model = fields_model(known_fields())
    fields = model.model_json_schema(schema_generator=_UntitledSchema)["properties"]
    for name, registry in CHOOSERS.items():
        fields[name]["enum"] = list(registry.names())
    steps = "|".join(AUGMENTATION_STEPS.names())
    fields["augmentation"]["pattern"] = f"^({'|'.join(POLICIES)})([+]({steps}))*$"
    document["properties"]["objective"]["enum"] = list(METRICS.names())
    definitions = document["$defs"]
    parameter = definitions.pop("Parameter")
    definitions["TrialFields"] = {
        "type": "object",
        "description": "fields of a trial's configuration",
        "properties": fields,
        "additionalProperties": False,
    }
    trial = definitions["Trial"]
    for owner, key in ((document, "defaults"), (document, "demo"), (trial, "config"), (trial, "demo")):
        described = owner["properties"][key]["description"]
        owner["properties"][key] = {"$ref": "#/$defs/TrialFields", "description": described}
    document["properties"]["trials"]["additionalProperties"] = False
    parameters = definitions["Search"]["properties"]["parameters"]
    parameters.pop("additionalProperties")
    parameters["properties"] = {
        name: _parameter_schema(parameter, name, field) for name, field in fields.items() if name not in NOT_SEARCHED
    }
    parameters["additionalProperties"] = False
    document.update({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "bts-tune search space"})
    return document


def _parameter_schema(parameter: Mapping[str, Any], name: str, field: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of a parameter for one field: the kinds that suit it, with the field's own values.

    Args:
        parameter: schema of `Parameter`.
        name: the field of `TrialConfig`.
        field: schema of that field's values.
    """
    value = {key: rule for key, rule in field.items() if key not in ("default", "description")}
    kind = range_kind(name)
    properties = {
        key: rule
        for key, rule in parameter["properties"].items()
        if key in ("choices", "when", "description") or (kind and key in (kind, "log", "step"))
    }
    properties["choices"] = {
        "type": "array",
        "items": value,
        "minItems": 1,
        "uniqueItems": True,
        "description": properties["choices"]["description"],
    }
    properties["when"] = {
        **properties["when"],
        "propertyNames": {"not": {"const": name}},
        "additionalProperties": {"type": "array", "items": {"type": ["string", "number"]}, "minItems": 1},
    }
    kinds = ["choices"]
    if kind:
        kinds.append(kind)
        described = properties[kind]["description"]
        properties[kind] = {"type": "array", "items": value, "minItems": 2, "maxItems": 2, "description": described}
    return {
        "type": "object",
        "description": field["description"],
        "properties": properties,
        "additionalProperties": False,
        "oneOf": [{"required": [key]} for key in kinds],
    }


class _UntitledSchema(GenerateJsonSchema):
    """Leaves out the titles, which only repeat the names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False
