"""What the demo profile and overrides leave of a search."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bts_tune.config import unused_with
from bts_tune.paths import user_path
from bts_tune.space.parameter import Parameter


def with_paths_beside(content: Any, folder: Path) -> Any:
    """Let the files of `encoder_weights` in what was read from a file begin at the file's own folder."""

    def beside(value: Any) -> Any:
        if isinstance(value, str):
            return value if value in ("imagenet", "none", "") else str(folder / user_path(value, "encoder_weights"))
        if isinstance(value, list):
            return [beside(one) for one in value]
        if isinstance(value, Mapping):  # a parameter of the search
            return {name: beside(one) if name == "choices" else one for name, one in value.items()}
        return value

    if isinstance(content, list):
        return [with_paths_beside(one, folder) for one in content]
    if not isinstance(content, Mapping):
        return content
    return {
        name: beside(one) if name == "encoder_weights" else with_paths_beside(one, folder)
        for name, one in content.items()
    }


def within_budget(parameters: Mapping[str, Parameter], epochs: int) -> dict[str, Parameter]:
    """Leave of `freeze_epochs` what is below the budget; if nothing is, thawing is not among the choices."""
    shortened = dict(parameters)
    thaw = shortened.get("freeze_epochs")
    if thaw is None:
        return shortened
    left = [value for value in thaw.values() if value < epochs]
    if left:
        key, values = ("int_", [left[0], left[-1]]) if thaw.int_ else ("choices", left)
        shortened["freeze_epochs"] = thaw.model_copy(update={key: values})
        return shortened
    freeze = shortened.get("freeze")
    if freeze is not None and freeze.choices != ["epochs"]:
        choices = [mode for mode in freeze.choices or () if mode != "epochs"]
        shortened["freeze"] = freeze.model_copy(update={"choices": choices})
        del shortened["freeze_epochs"]
    return shortened


def still_searched(
    parameters: Mapping[str, Parameter], fields: Mapping[str, Any], fixed: set[str]
) -> dict[str, Parameter]:
    """Return the parameters that are not fixed and whose conditions can hold, with what is left of the conditions.

    That another field decides whether one is used is a condition too, though nobody wrote it.
    """
    searched: dict[str, Parameter] = {}
    for name, parameter in parameters.items():
        if name in fixed or _unused_by(fixed, name, fields):
            continue
        when: dict[str, list[Any]] = {}
        for parent, allowed in parameter.when.items():
            choices = searched[parent].choices or [] if parent in searched else []
            possible = [value for value in allowed if value in choices]
            if possible:
                when[parent] = possible
            elif parent not in fixed or fields[parent] not in allowed:
                break
        else:
            searched[name] = parameter.model_copy(update={"when": when})
    return searched


def _unused_by(fixed: set[str], name: str, fields: Mapping[str, Any]) -> bool:
    found = unused_with(name, fields)
    return found is not None and found[0] in fixed


def without_choices(parameters: Mapping[str, Parameter], name: str, left_out: set[Any]) -> dict[str, Parameter]:
    """Leave out some choices of one parameter, and what is drawn only where one of them was."""
    left: dict[str, Parameter] = {}
    for other, parameter in parameters.items():
        if other == name:
            choices = [value for value in parameter.choices or () if value not in left_out]
            left[other] = parameter.model_copy(update={"choices": choices})
            continue
        when = {parent: list(allowed) for parent, allowed in parameter.when.items()}
        if name in when:
            when[name] = [value for value in when[name] if value not in left_out]
        # A condition on what is never drawn never holds.
        if all(allowed and parent in left for parent, allowed in when.items()):
            left[other] = parameter.model_copy(update={"when": when})
    return left


def cheaper_fields(fields: Mapping[str, Any], fidelity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a lower fidelity takes the place of a trial's own fields: it never makes a trial dearer."""
    return {name: value for name, value in fidelity.items() if value < fields[name]}


def scaled_grace_period(grace_period: int, epochs: int, documented: int) -> int:
    """Return the same share of a smaller budget; otherwise a short search would end before its first rung.

    It is never more than the budget.
    """
    if epochs >= documented:
        return min(grace_period, epochs)
    return min(max(1, round(grace_period * epochs / documented)), epochs)
