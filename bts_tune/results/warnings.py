"""What a reader must know of a run before any of its metrics: a demo, a partial run, a split that leaks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from bts_tune.results.record.leaks import closest_sentence, unknown_patients
from bts_tune.text import percent, plural

DEMO_TAG = "DEMO: generated phantoms, not a result"


PARTIAL_TAG = "PARTIAL: the run is not complete"


PARTIAL_RUNS_TAG = "PARTIAL: not all runs are complete"


_WHY_PARTIAL: Mapping[str, str] = {
    "running": "was still running, or had been killed, when this report was written",
    "interrupted": "was interrupted",
    "out-of-time": "ran out of its time budget",
    "failed": "failed",
}


def is_demo(run: Mapping[str, Any]) -> bool:
    """Whether the run trained on generated phantoms."""
    return run.get("profile") == "demo"


def is_partial(run: Mapping[str, Any]) -> bool:
    """Whether the run has not done everything that it was asked to do."""
    return run.get("status") != "complete"


def demo_sentence(run: Mapping[str, Any]) -> str | None:
    """Return the warning that a demo run's report and terminal output begin with; None for a run on real data."""
    if not is_demo(run):
        return None
    return (
        "DEMO: this run trained on generated phantoms, with small images, few epochs and no pretrained weights. "
        "Its metrics show that the tool works; they are not a result."
    )


def partial_sentence(run: Mapping[str, Any], resume_command: str = "") -> str | None:
    """Return the warning that the report of an unfinished run begins with; None for a complete run.

    Args:
        run: the content of `run.json`.
        resume_command: the one of its `RunFolder`; "" where the reader does not have the run.
    """
    if not is_partial(run):
        return None
    why = _WHY_PARTIAL.get(str(run.get("status")), "is not complete")
    go_on = f" Go on with: {resume_command}" if resume_command else ""
    return f"PARTIAL: the run {why}. Everything below covers what is recorded so far.{go_on}"


def leak_sentence(run: Mapping[str, Any], cure: str = "Use --split grouped") -> str | None:
    """Return the warning of a run whose validation images have relatives in training; None where they have none.

    Args:
        run: the content of `run.json`.
        cure: what to do, as the beginning of a sentence.
    """
    split = run.get("dataset", {}).get("split", {})
    leak = split.get("leak", {})
    valid = leak.get("splits", {}).get("valid")
    if not leak.get("leaks") or valid is None or None in (valid.get("related_share"), valid.get("look_alike_share")):
        return None
    closest = closest_sentence(leak["splits"])
    alike = "" if closest else f", and {percent(valid['look_alike_share'])} one that correlates above 0.9 with them"
    test = leak["splits"].get("test") or {}
    of_test = f" and {percent(test['related_share'])} of the test" if test.get("related_share") and closest else ""
    return (
        f"LEAK: in the {split.get('method')} split, {percent(valid['related_share'])} of the validation{of_test} "
        f"images have a slice of their own group in the training split{alike}. Every metric is therefore too good for "
        f"new patients. {f'{closest} ' if closest else ''}{cure} to keep related slices together."
    )


def identical_sentence(run: Mapping[str, Any]) -> str | None:
    """Return the warning of a run with images that stand in training and in another split; None where none does."""
    splits = run.get("dataset", {}).get("split", {}).get("leak", {}).get("splits", {})
    alike = [
        (words, one)
        for name, words in (("test", "test"), ("valid", "validation"))
        if (one := splits.get(name)) and one.get("identical") and one.get("images")
    ]
    counted = [f"{one['identical']} of the {one['images']} {words} images{_turned(one)}" for words, one in alike]
    in_valid = (splits.get("test") or {}).get("identical_in_valid")
    chosen_on = (
        f"{plural(in_valid, 'test image')} {'is' if in_valid == 1 else 'are'} not in the training split but in the "
        "validation split, which chooses epochs and configurations."
        if in_valid
        else None
    )
    if not counted:
        return f"IDENTICAL IMAGES: {chosen_on}" if chosen_on else None
    clean = " The test metrics are given without such images too." if splits.get("test", {}).get("identical") else ""
    verb = "is" if sum(one["identical"] for _, one in alike) == 1 else "are"
    return (
        f"IDENTICAL IMAGES: {' and '.join(counted)} {verb} in the training split too; leaks.csv in the run's "
        f"folder has the names.{clean}{f' {chosen_on}' if chosen_on else ''}"
    )


def _turned(one: Mapping[str, Any]) -> str:
    number = one.get("identical_turned")
    return f" ({number} mirrored or rotated)" if number else ""


def patients_sentence(run: Mapping[str, Any]) -> str | None:
    """Return what a split without known patients leaves open; None where they are known, and of earlier versions."""
    split = run.get("dataset", {}).get("split", {})
    leak = split.get("leak", {})
    recorded = any(one.get("identical") is not None for one in leak.get("splits", {}).values())
    return f"PATIENTS: {unknown_patients(leak)}" if recorded and split.get("group_by") is None else None


def left_out_sentence(run: Mapping[str, Any]) -> str | None:
    """Return what a run went on without because an encoder's weights could not be had; None where that is nothing."""
    left_out = run.get("left_out") or {}
    encoders, trials = left_out.get("encoders") or [], left_out.get("trials") or []
    parts = []
    if encoders:
        parts.append(f"the search cannot draw {', '.join(encoders)}")
    if trials:
        parts.append(f"{', '.join(trials)} {'was' if len(trials) == 1 else 'were'} not trained, nor compared with")
    if not parts:
        return None
    return f"LEFT OUT: pretrained weights could not be had, so that {', and '.join(parts)}."


def warnings_of(run: Mapping[str, Any], resume_command: str = "") -> tuple[Callable[[], str | None], ...]:
    """Return what gives the warnings of a run, each a sentence or None, in the order in which they are shown.

    Args:
        run: the content of `run.json`.
        resume_command: see `partial_sentence`.
    """
    return (
        functools.partial(demo_sentence, run),
        functools.partial(partial_sentence, run, resume_command),
        functools.partial(left_out_sentence, run),
        functools.partial(identical_sentence, run),
        functools.partial(leak_sentence, run),
        functools.partial(patients_sentence, run),
    )


def tags(run: Mapping[str, Any]) -> list[str]:
    """Return the short warnings that go with every figure, as its file may be shown without the report."""
    return ([DEMO_TAG] if is_demo(run) else []) + ([PARTIAL_TAG] if is_partial(run) else [])


def worst_leak(run: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return 'validation' or 'test', whichever has more images with relatives in training, and their share.

    None where it is not on record.
    """
    splits = run.get("dataset", {}).get("split", {}).get("leak", {}).get("splits", {})
    shares = {
        words: share
        for name, words in (("valid", "validation"), ("test", "test"))
        if (share := (splits.get(name) or {}).get("related_share")) is not None
    }
    if "validation" not in shares:
        return None
    return max(shares.items(), key=lambda one: one[1])


def short_warnings(run: Mapping[str, Any]) -> list[str]:
    """Return each of the run's warnings in a few words, in the order of `warnings_of`."""
    found = tags(run)
    if left_out_sentence(run):
        found.append("LEFT OUT: weights could not be had")
    if identical_sentence(run):
        found.append("IDENTICAL IMAGES: in training and in another split")
    if leak_sentence(run) and (worst := worst_leak(run)):
        found.append(f"LEAK: {percent(worst[1])} of the {worst[0]} images have relatives in training")
    if patients_sentence(run):
        found.append("PATIENTS: not known")
    return found
