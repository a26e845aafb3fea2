from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from bts_tune.config import PreprocessingPart
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.prepare import bytes_to_prepare, prepare
from bts_tune.errors import RunError
from bts_tune.experiment.planning.disk import bytes_on_disk, estimate_disk_usage, require_free_space, size_text
from bts_tune.space import load_space

SIZES = {("unet", "efficientnet-b0"): 6_000_000, ("unetplusplus", "efficientnet-b5"): 32_000_000}


def test_more_trials_at_a_time_and_larger_models_need_more() -> None:
    space = load_space("baseline").resolve()
    one, four = estimate_disk_usage(space, SIZES, 1), estimate_disk_usage(space, SIZES, 4)
    assert four.running == 4 * one.running
    assert one.running == 4 * 32_000_000 * 7, "state twice while it is replaced, weights once"
    assert one.kept == 4 * (6_000_000 * 2 + 32_000_000 * 2), "three baselines, and a best trial of the largest kind"
    assert (one.kept, one.logs) == (four.kept, four.logs)
    assert one.total == one.running + one.kept + one.logs
    assert estimate_disk_usage(load_space("baseline").resolve(seeds=range(9)), SIZES, 1).logs > one.logs


def test_an_average_of_the_weights_is_kept_beside_them() -> None:
    space = load_space("baseline").resolve(overrides={"weight_average": "ema"})
    assert estimate_disk_usage(space, SIZES, 1).running == 4 * 32_000_000 * 9, "in both states"


def test_what_is_free_is_enough_or_refused_with_both_figures(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    folder = tmp_path / "not" / "there" / "yet"
    assert require_free_space(folder, 2**20, "the prepared data").startswith("the prepared data: at most 1.0 MiB (")
    with pytest.raises(RunError, match=re.escape(str(folder))) as error:
        require_free_space(folder, free + 2**40, "the prepared data")
    assert len(re.findall(r"\d+\.\d GiB", str(error.value))) == 2
    assert not folder.parent.exists()


def test_preparing_writes_what_was_foretold(small_data: Path, tmp_path: Path) -> None:
    dataset, part = open_dataset(small_data), PreprocessingPart(image_size=64)
    foretold = bytes_to_prepare(dataset, part, cache=tmp_path)
    prepare(dataset, part, cache=tmp_path)
    assert foretold <= bytes_on_disk([tmp_path]) <= foretold * 1.1
    assert bytes_to_prepare(dataset, part, cache=tmp_path) == 0


def test_sizes_are_written_for_people() -> None:
    assert [size_text(size) for size in (0, 1023, 1536, 2**20, 5 * 2**30, 3 * 2**40)] == [
        "0 bytes",
        "1023 bytes",
        "1.5 KiB",
        "1.0 MiB",
        "5.0 GiB",
        "3072.0 GiB",
    ]
