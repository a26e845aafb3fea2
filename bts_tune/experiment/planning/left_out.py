"""What a run goes on without, because the weights of an encoder cannot be had here.

An encoder that a search may draw is one choice of several: it is left out of the search, and the run says so. A named
trial was asked for by name: it is left out only with `--skip-missing-weights`, and never replaced by another.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bts_tune.errors import ConfigError, MissingWeightsError, RunError, WeightsError
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.experiment.planning.plan import encoders
from bts_tune.models.weights import EncoderWeights, resolve_weights, to_download
from bts_tune.paths import user_path
from bts_tune.results.warnings import left_out_sentence
from bts_tune.space import ResolvedSpace, Space
from bts_tune.space.layers import without_choices
from bts_tune.text import printable, quoted

Weights = dict[tuple[str, str], EncoderWeights]
"""Weights by encoder and kind of weights."""


@dataclass(frozen=True)
class AtHand:
    """What is left of a space.

    Attributes:
        space: without what was left out.
        options: likewise.
        weights: of every encoder of it.
        left_out: what was: `encoders` of the search and named `trials`; for the record, None where nothing was.
    """

    space: Space
    options: RunOptions
    weights: Weights
    left_out: dict[str, list[str]] | None

    @property
    def sentence(self) -> str | None:
        """What was left out, for the user."""
        return left_out_sentence({"left_out": self.left_out})


def find_weights(space: ResolvedSpace, options: RunOptions, cache: Path) -> Weights:
    """Return the weights of every encoder that a trial of the space can have.

    Raises:
        WeightsError: one cannot be had.
    """
    return {pair: resolve_weights(*pair, _weights_dir(options), cache) for pair in encoders(space)}


def weights_again(
    space: ResolvedSpace, options: RunOptions, cache: Path, source: Path, now: Path | None = None
) -> Weights:
    """Return the weights that a run goes on with, as `find_weights`; the files that it began with may have moved.

    Args:
        space: the trials.
        options: of the run.
        cache: where downloaded weights are kept.
        source: the file of its space, as the run recorded it.
        now: where that file is now. Weights that are not where they were are looked for as far from it as before.

    Raises:
        RunError: a file is not there.
        WeightsError: as `find_weights`.
    """
    found = {}
    for encoder, weights in encoders(space):
        place = weights
        if weights not in ("imagenet", "none") and not user_path(weights, "encoder_weights").is_file():
            beside = Path(os.path.relpath(weights, source.parent)) if os.path.isabs(weights) else Path(weights)
            place = weights if now is None else os.path.normpath(now.parent / beside)
            if not Path(place).is_file():
                places = " and ".join(repr(printable(path)) for path in dict.fromkeys((weights, place)))
                raise RunError(
                    f"encoder_weights: the file that the run began with is not there, looked for at {places}; put it "
                    "back, or a link to it."
                )
        found[encoder, weights] = resolve_weights(encoder, place, _weights_dir(options), cache)
    return found


def encoders_to_download(space: ResolvedSpace, options: RunOptions, cache: Path) -> list[str]:
    """Return the encoders of a space whose weights are not on this machine, in the order of the space.

    Raises:
        ConfigError: there is no such encoder.
        WeightsError: the folder of `--weights-dir` is not there; weights that are here do not fit, or are not what was
            asked for; or nobody offers such weights.
    """
    lacking = []
    for encoder, weights in encoders(space):
        with _named(space, options, (encoder, weights)):
            if to_download(encoder, weights, _weights_dir(options), cache):
                lacking.append(encoder)
            else:
                resolve_weights(encoder, weights, _weights_dir(options), cache)
    return lacking


@contextmanager
def _named(space: ResolvedSpace, options: RunOptions, pair: tuple[str, str]) -> Iterator[None]:
    """Let an error of an encoder, or of its weights, begin with the space and the trial that asks for it."""
    try:
        yield
    except MissingWeightsError:
        raise
    except (ConfigError, WeightsError) as error:
        if str(error).startswith("--"):  # an option's mistake, not a trial's
            raise
        names = [one.name for one in space.named if _pair(one.config) == pair]
        where = f"trials.{names[0]}" if names else "search"
        raise type(error)(f"{options.space}: {where}: {error}") from None


def leave_out_missing(
    space: Space, options: RunOptions, cache: Path, resolve: Callable[[Space], ResolvedSpace]
) -> AtHand:
    """Find the weights of a new run's encoders, and leave out what cannot have its own.

    Args:
        space: the run's space.
        options: what was asked for.
        cache: where downloaded weights are kept.
        resolve: gives the trials of a space with the run's overrides.

    Raises:
        WeightsError: nothing would be left, a named trial would have to be left out and may not be, or weights are not
            what was asked for.
    """
    resolved = resolve(space)
    found: Weights = {}
    missing: dict[tuple[str, str], MissingWeightsError] = {}
    for pair in encoders(resolved):
        try:
            with _named(resolved, options, pair):
                found[pair] = resolve_weights(*pair, _weights_dir(options), cache)
        except MissingWeightsError as error:
            missing[pair] = error
    if not missing:
        return AtHand(space, options, found, None)
    trials = list(dict.fromkeys(one.name for one in resolved.named if _pair(one.config) in missing))
    if trials and not options.skip_missing_weights:
        first = next(missing[_pair(one.config)] for one in resolved.named if one.name == trials[0])
        raise MissingWeightsError(
            f"{str(first).rstrip('.')}; or --skip-missing-weights to go on without {', '.join(map(quoted, trials))}."
        )
    searched = [] if resolved.search is None else resolved.search.all_encoders()
    without = list(dict.fromkeys(encoder for encoder, weights in searched if (encoder, weights) in missing))
    nothing_to_draw = bool(without) and {encoder for encoder, _ in searched} <= set(without)
    nothing_to_train = resolved.search is None and len(trials) == len({one.name for one in resolved.named})
    if nothing_to_draw or nothing_to_train:
        raise next(iter(missing.values()))
    kept = options.replaced(only=[name for name in options.only if name not in trials])
    return AtHand(_reduced(space, trials, set(without)), kept, found, {"encoders": without, "trials": trials})


def _reduced(space: Space, trials: list[str], without: set[str]) -> Space:
    file = space.file
    update: dict[str, Any] = {"trials": {name: one for name, one in file.trials.items() if name not in trials}}
    if file.search is not None and without:
        parameters = without_choices(file.search.parameters, "encoder", without)
        update["search"] = file.search.model_copy(update={"parameters": parameters})
    return replace(space, file=file.model_copy(update=update))


def _pair(config: Any) -> tuple[str, str]:
    return (config.encoder, config.encoder_weights)


def _weights_dir(options: RunOptions) -> Path | None:
    return Path(options.weights_dir) if options.weights_dir else None
