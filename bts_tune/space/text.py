"""A search space as plain text that reads like its documentation: `bts-tune spaces show NAME`."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from bts_tune.config import AugmentationPart, ModelPart, OptimizationPart, PreprocessingPart, field_info
from bts_tune.space.file import Fidelity, Final, Published, Scheduler, Search, Searcher, SpaceFile
from bts_tune.space.parameter import OF_THE_SPACE, Parameter
from bts_tune.space.search import ResolvedSearch
from bts_tune.space.space import Space

_WIDTH = 100
_MISSING = "–"
_ORDER = [
    name
    for part in (ModelPart, PreprocessingPart, AugmentationPart, OptimizationPart)
    for name in part.model_fields
    if name not in OF_THE_SPACE
]


def render_space(space: Space) -> str:
    """Return what a space is: its trials, what is searched and why, and the demo profile. Ends with a newline."""
    sections = [f"{space.name}\n{'=' * len(space.name)}\n{space.source}\n\n{_paragraphs(space.description)}"]
    if space.file.objective != SpaceFile.model_fields["objective"].default:
        sections.append(f"{_heading('Objective')}\n{space.file.objective}, on the validation split")
    if space.file.notes:
        sections.append(f"{_heading('Notes')}\n{_notes(space.file.notes)}")
    if space.file.trials:
        sections.append(_trials(space))
    if space.file.search:
        sections.append(_search(space, space.file.search))
    if space.file.demo or any(trial.demo for trial in space.file.trials.values()):
        sections.append(_demo(space))
    return "\n\n".join(sections) + "\n"


def _trials(space: Space) -> str:
    trials = space.file.trials
    # Parameters of a loss or decoder are fields of those trials alone that choose it.
    names = dict.fromkeys(name for trial in trials.values() for name in trial.config)
    differing = [name for name in _ordered(names) if len({trial.config.get(name) for trial in trials.values()}) > 1]
    shown = differing or ["decoder", "encoder"]
    rows = [
        [name, "yes" if trial.baseline else "no", *(_value(trial.config.get(field, _MISSING)) for field in shown)]
        for name, trial in trials.items()
    ]
    same = {name: value for name, value in next(iter(trials.values())).config.items() if name not in shown}
    seeds = ", ".join(map(str, space.file.seeds))
    lines = [
        _heading(f"Named trials ({len(trials)}), each with seed {seeds}"),
        _table(["trial", "baseline", *shown], rows),
    ]
    lines.append("\n" + _hanging("the same in all: ", _fields(same)))
    for name, trial in trials.items():
        lines.append("\n" + name)
        if trial.description:
            lines.append(_paragraphs(trial.description, "  "))
        if trial.notes:
            lines.append(_notes(trial.notes, "  "))
        if trial.published:
            lines.append(_hanging("  published: ", _published(trial.published)))
    return "\n".join(lines)


def _search(space: Space, search: Search) -> str:
    resolved = space.resolve(to_run=False).search
    assert resolved is not None
    other = {*resolved.parameters, *OF_THE_SPACE}
    fixed = {name: value for name, value in resolved.fields.items() if name not in other}
    lines = [
        _heading(f"Search: {search.num_trials} sampled trials of at most {resolved.epochs} epochs"),
        _hanging("searcher:  ", f"Optuna's TPE{_startup(search.searcher)}; seed {search.searcher.seed}"),
        _hanging("scheduler: ", _scheduler(search.scheduler, resolved)),
        *([_hanging("fidelity:  ", _fidelity(search.fidelity))] if search.fidelity else []),
        _hanging("final:     ", _final(search.final)),
        "",
    ]
    width = max(map(len, search.parameters)) + 2
    for name, parameter in search.parameters.items():
        lines.append(_hanging(name.ljust(width), range_text(parameter)))
        why = parameter.description or str(field_info(name).description)
        lines.append(_hanging(" " * width, why))
    lines.append("\n" + _hanging("not searched: ", _fields(fixed)))
    return "\n".join(lines)


def _startup(searcher: Searcher) -> str:
    if not searcher.startup_trials:
        return ""
    ended = "1 trial has" if searcher.startup_trials == 1 else f"{searcher.startup_trials} trials have"
    return f", and at random until {ended} ended, named ones included"


def _scheduler(scheduler: Scheduler, resolved: ResolvedSearch) -> str:
    if resolved.grace_period >= resolved.epochs:
        return "no trial is stopped early, as the grace_period is not below the budget"
    return (
        f"ASHA; no trial is stopped before epoch {resolved.grace_period}, and at each rung one in "
        f"{_value(scheduler.reduction_factor)} goes on; {_outlook(scheduler.outlook_after)}baselines are never stopped"
    )


def _outlook(outlook_after: int) -> str:
    if not outlook_after:
        return ""
    complete = "1 trial is complete, a" if outlook_after == 1 else f"{outlook_after} trials are complete, a"
    return f"once {complete} trial that their learning curves would not take to the best is stopped as well; "


def _fidelity(fidelity: Fidelity) -> str:
    return f"lower, {_fields(fidelity.fields)}, also in the named trials beside it; the final stage trains in full"


def _final(final: Final) -> str:
    if not final.top:
        return "no final stage"
    best = "the best configuration" if final.top == 1 else f"the best {final.top} configurations"
    seeds = "a fresh seed, the same for all" if final.seeds == 1 else f"{final.seeds} fresh seeds, the same for all"
    return f"{best} and all baselines again, to the full budget, each with {seeds}; they are the result"


def _demo(space: Space) -> str:
    lines = [
        _heading("Demo profile, where no dataset is given"),
        _hanging("in every trial: ", _fields(space.file.demo)),
    ]
    for name, trial in space.file.trials.items():
        if trial.demo:
            lines.append(_hanging(f"in {name}: ", _fields(trial.demo)))
    search = space.file.search
    changes = search.demo.model_dump(exclude_none=True) if search else {}
    if changes:
        lines.append(_hanging("in the search:  ", _fields(changes)))
    return "\n".join(lines)


def range_text(parameter: Parameter) -> str:
    """Return what a parameter is drawn from and when, such as `0 to 0.6, in steps of 0.1`."""
    if parameter.bounds:
        text = " to ".join(map(_value, parameter.bounds))
        text += ", on a logarithmic scale" if parameter.log else ""
        text += f", in steps of {_value(parameter.step)}" if parameter.step else ""
    else:
        text = ", ".join(map(_value, parameter.choices or ()))
    conditions = [f"{parent} is {' or '.join(map(_value, allowed))}" for parent, allowed in parameter.when.items()]
    return text + (f"; when {' and '.join(conditions)}" if conditions else "")


def _notes(notes: Sequence[str], indent: str = "") -> str:
    return _paragraphs("\n".join(f"- {' '.join(note.split())}" for note in notes), indent)


def _published(published: Published) -> str:
    metrics = [("Dice loss", published.dice_loss), ("IoU", published.iou)]
    shown = ", ".join(f"{name} {_value(metric)}" for name, metric in metrics if metric is not None)
    return f"{shown}; {published.source}" if shown else published.source


def _fields(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_value(fields[name])}" for name in _ordered(fields))


def _ordered(names: Collection[str]) -> list[str]:
    """Return the fields of every configuration in the order of its parts, then all others as they come."""
    return [*(name for name in _ORDER if name in names), *(name for name in names if name not in _ORDER)]


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _heading(text: str) -> str:
    return f"{text}\n{'-' * len(text)}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows))
    return "\n".join(line.rstrip() for line in lines)


def _hanging(first: str, text: str) -> str:
    """Wrap `text` after `first`, its further lines below the beginning of its own first."""
    return _fill(text, first, " " * len(first))


def _paragraphs(text: str, indent: str = "") -> str:
    """Wrap each line of a text that YAML folded: its lines are paragraphs, or items of a list."""
    lines: list[str] = []
    for line in filter(None, text.splitlines()):
        item = line.startswith("- ")
        if lines and not (item and lines[-1].startswith(f"{indent}- ")):
            lines.append("")
        lines.append(_fill(line, indent, indent + "  " * item))
    return "\n".join(lines)


def _fill(text: str, first: str, further: str) -> str:
    # Names such as 'tu-convnext_tiny' stay whole, to be copied.
    return textwrap.fill(
        text, _WIDTH, initial_indent=first, subsequent_indent=further, break_long_words=False, break_on_hyphens=False
    )
