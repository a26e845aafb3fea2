"""A search at a lower fidelity: what it trains, what the final stage trains of it, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bts_tune.config import PreprocessingPart
from bts_tune.errors import ConfigError
from bts_tune.experiment.planning.cpu_precision import kinds_of_trials
from bts_tune.experiment.planning.plan import largest_batches, preprocessings
from bts_tune.experiment.planning.preview import DryRun, cost, images
from bts_tune.space import Space
from bts_tune.space.text import render_space
from tests.space.builders import RandomTrial, from_text, searching

TEXT = """
defaults: {epochs: 12, image_size: 128, encoder_weights: none}
demo: {epochs: 2, image_size: 64}
trials:
  base: {baseline: true, config: {decoder: fpn}}
  lower: {config: {image_size: 32, train_share: 0.1, epochs: 4}}
search:
  num_trials: 5
  parameters:
    freeze: {choices: [none, all, epochs]}
    freeze_epochs: {int: [1, 5], when: {freeze: [epochs]}}
    learning_rate: {float: [1e-5, 1e-2], log: true}
    batch_size: {choices: [4, 8]}
  scheduler: {grace_period: 4}
  FIDELITY
  final: {top: 2, seeds: 3}
"""


LOWER = "fidelity: {image_size: 64, train_share: 0.25, epochs: 6}"


def space(folder: Path, fidelity: str = LOWER, final: str = "final: {top: 2, seeds: 3}") -> Space:
    return from_text(folder, TEXT.replace("FIDELITY", fidelity).replace("final: {top: 2, seeds: 3}", final))


def lowered(config: Any) -> tuple[int, float, int]:
    return config.image_size, config.train_share, config.epochs


def test_the_search_is_lower_and_the_final_stage_is_not(tmp_path: Path) -> None:
    resolved = space(tmp_path).resolve()
    search = searching(resolved)
    base, lower = resolved.named
    assert lowered(base.config) == lowered(search.sample(RandomTrial(0))) == (64, 0.25, 6)
    assert lowered(base.in_full) == lowered(search.in_full.sample(RandomTrial(0))) == (128, 1.0, 12)
    # What has a lower value of its own keeps it, and nothing counts as changed by the user.
    assert lowered(lower.config) == lowered(lower.in_full) == (32, 0.1, 4)
    assert not lower.full
    assert base.changed == lower.changed == ()
    assert search.grace_period == 2


def test_what_is_drawn_does_not_change(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    with_it, without = searching(space(tmp_path).resolve()), searching(space(tmp_path / "own", "").resolve())
    assert with_it.parameters == without.parameters
    for seed in range(200):
        one, other = RandomTrial(seed), RandomTrial(seed)
        low, full = with_it.sample(one), without.sample(other)
        assert one.params == other.params == with_it.values_of(low) == without.values_of(low)
        assert low.replaced(with_it.full) == full
        assert low.replaced(with_it.full).config_id == full.config_id


def test_both_kinds_of_data_are_asked_for_and_paid_for(tmp_path: Path) -> None:
    resolved = space(tmp_path).resolve()
    kinds = {(part.image_size, part.train_share) for part in preprocessings(resolved)}
    assert kinds == {(64, 0.25), (128, 1.0), (32, 0.1)}
    steps = kinds_of_trials(resolved, 99)
    assert {config.image_size for config in steps} == {32, 64, 128}
    assert largest_batches(resolved) == {0.25: 16, 1.0: 16, 0.1: 16}
    assert cost(resolved) == (2 + 5 + 9, 6 + 4 + 5 * 6 + 9 * 12)
    assert images(resolved, [100]) == 6 * 25 + 4 * 10 + 5 * 6 * 25 + 9 * 12 * 100
    shown = DryRun("x", resolved, [100])
    assert shown.to_dict()["search"]["fidelity"] == {"image_size": 64, "train_share": 0.25, "epochs": 6}
    assert "at a lower fidelity, as are the named trials: image_size 64 in place of 128" in shown.text()


def test_without_one_nothing_is_lowered(tmp_path: Path) -> None:
    resolved = space(tmp_path, "").resolve()
    assert not any(one.full for one in resolved.named)
    assert searching(resolved).in_full == searching(resolved)
    assert preprocessings(resolved)[0] == PreprocessingPart(image_size=128)


def test_it_goes_with_the_search(tmp_path: Path) -> None:
    (base,) = space(tmp_path).resolve(only=["base"]).named
    assert lowered(base.config) == (128, 1.0, 12)


def test_the_demo_and_overrides_are_never_made_dearer(tmp_path: Path) -> None:
    resolved = space(tmp_path).resolve(demo=True)
    assert lowered(searching(resolved).sample(RandomTrial(0))) == (64, 0.25, 2)
    assert searching(resolved).full == {"train_share": 1.0}
    resolved = space(tmp_path).resolve(overrides={"image_size": 32})
    assert lowered(resolved.named[0].config) == (32, 0.25, 6)
    assert resolved.named[0].changed == ("image_size",)


def test_its_document_is_the_same_space(tmp_path: Path) -> None:
    made = space(tmp_path)
    assert Space.from_document(made.document).resolve() == made.resolve()
    assert "fidelity:  lower, image_size 64, train_share 0.25, epochs 6, also" in render_space(made)


@pytest.mark.parametrize(
    ("fidelity", "sentence"),
    [
        ("fidelity: {}", "search.fidelity: must have one of image_size, train_share, epochs at least"),
        ("fidelity: {decoder: unet}", "search.fidelity: unknown key 'decoder'"),
        ("fidelity: {image_size: 128}", "search.fidelity.image_size: must be below the space's own 128, got 128."),
        ("fidelity: {image_size: 100}", "search.fidelity.image_size: input should be a multiple of 32, got 100."),
        ("fidelity: {epochs: 13}", "search.fidelity.epochs: must be below the space's own 12, got 13."),
        ("fidelity: {train_share: 1.0}", "search.fidelity.train_share: input should be less than 1, got 1.0."),
        ("fidelity: {train_share: 0}", "search.fidelity.train_share: input should be greater than 0, got 0."),
        ("fidelity: {epochs: 5}", "freeze_epochs is 5 with epochs: 5; it must be below epochs"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, fidelity: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        space(tmp_path, fidelity)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_searched_field_is_refused(tmp_path: Path) -> None:
    text = TEXT.replace("FIDELITY", "fidelity: {image_size: 32}")
    text = text.replace("batch_size: {choices: [4, 8]}", "image_size: {choices: [64, 128]}")
    with pytest.raises(ConfigError, match=r"search.fidelity.image_size: is searched too; leave one of the two out"):
        from_text(tmp_path, text)


def test_it_needs_a_final_stage(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"search.fidelity: needs a final stage"):
        space(tmp_path, final="final: {top: 0}")
    made = space(tmp_path)
    with pytest.raises(ConfigError, match=r"search.fidelity: needs a final stage.*--final-top"):
        made.resolve(final_top=0)
    assert made.resolve(final_top=1).final is not None
