"""The format of a search-space file as a JSON Schema: the rules of `file` and `parameter`, for editors.

It says what the loader says, but for rules between the values of several keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from bts_tune.config import CHOOSERS, POLICIES, known_fields
from bts_tune.registry import AUGMENTATION_STEPS, METRICS
from bts_tune.space.file import RESERVED, Fidelity, SpaceFile
from bts_tune.space.parameter import NOT_SEARCHED, fields_model, range_kind


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a search-space file, for editors and `bts-tune spaces schema`."""
    document = SpaceFile.model_json_schema(schema_generator=_UntitledSchema)
    model = fields_model(known_fields())
    fields = model.model_json_schema(schema_generator=_UntitledSchema)["properties"]
    for name, registry in CHOOSERS.items():
        fields[name]["enum"] = list(registry.names())
    fields["augmentation"]["pattern"] = _augmentations()
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
    trials = document["properties"]["trials"]
    trials["additionalProperties"] = False
    trials["propertyNames"]["not"] = {"pattern": f"^({'|'.join(RESERVED)})"}
    document["anyOf"] = [
        {"required": ["trials"], "properties": {"trials": {"minProperties": 1}}},
        {"required": ["include"], "properties": {"include": {"minItems": 1}}},
        _given("search"),
    ]
    definitions["Fidelity"]["anyOf"] = [_given(name) for name in Fidelity.model_fields]
    searched = {name: field for name, field in fields.items() if name not in NOT_SEARCHED}
    definitions["Conditions"] = {
        "type": "object",
        "description": "values of earlier parameters",
        "properties": {
            name: {
                "type": "array",
                "items": _value(field),
                "minItems": 1,
                "description": f"values of {name} for which the parameter is drawn",
            }
            for name, field in searched.items()
        },
        "additionalProperties": False,
    }
    parameters = definitions["Search"]["properties"]["parameters"]
    parameters["properties"] = {name: _parameter_schema(parameter, name, field) for name, field in searched.items()}
    parameters["additionalProperties"] = False
    document.update({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "bts-tune search space"})
    return document


def _augmentations() -> str:
    """Return the pattern of `augmentation`: a policy, and steps that it does not have, none of them twice."""
    each = []
    for policy, own in POLICIES.items():
        others = [step for step in AUGMENTATION_STEPS.names() if step not in own]
        each.append(f"{policy}([+]({'|'.join(others)}))*" if others else policy)
    twice = r".*[+]([^+]+)([+].*)?[+]\1([+]|$)"
    return f"^(?!{twice})({'|'.join(each)})$"


def _given(key: str) -> dict[str, Any]:
    """Return the rule that a key stands there, and not without a value."""
    return {"required": [key], "properties": {key: {"not": {"type": "null"}}}}


def _value(field: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rules of a field's values."""
    return {key: rule for key, rule in field.items() if key not in ("default", "description")}


def _parameter_schema(parameter: Mapping[str, Any], name: str, field: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of a parameter for one field: the kinds that suit it, with the field's own values.

    Args:
        parameter: schema of `Parameter`.
        name: the field of `TrialConfig`.
        field: schema of that field's values.
    """
    kind = range_kind(name)
    properties = {key: dict(rule) for key, rule in parameter["properties"].items()}
    nothing = {"type": "null"}
    for key in ("float", "int", "choices"):
        rules = {"uniqueItems": True} if key == "choices" else {"minItems": 2, "maxItems": 2}
        listed = next(rule for rule in properties[key]["anyOf"] if rule["type"] == "array")
        suits = key in (kind, "choices")
        properties[key]["anyOf"] = [*([{**listed, **rules, "items": _value(field)}] if suits else []), nothing]
    if kind == "int":
        properties["step"]["anyOf"] = [{"type": "integer", "exclusiveMinimum": 0}, nothing]
    properties["when"] = {
        "$ref": "#/$defs/Conditions",
        "propertyNames": {"not": {"const": name}},
        "description": properties["when"]["description"],
    }
    no_range = {"log": {"const": False}, "step": nothing}
    above_zero = {"anyOf": [{"prefixItems": [{"exclusiveMinimum": 0}]}, nothing]}
    return {
        "type": "object",
        "description": field["description"],
        "properties": properties,
        "additionalProperties": False,
        "oneOf": [_given(key) for key in (kind, "choices") if key],
        "allOf": [
            {"if": _given("choices"), "then": {"properties": no_range}},
            {
                "if": {"required": ["log"], "properties": {"log": {"const": True}}},
                "then": {"properties": {"step": nothing, **({kind: above_zero} if kind else {})}},
            },
        ],
    }


class _UntitledSchema(GenerateJsonSchema):
    """Leaves out the titles, which only repeat the names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False
