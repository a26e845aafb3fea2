"""A split method of a user's own: registered, it is all that is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bts_tune.data.records import Dataset
from bts_tune.data.scan.scan import Scan
from bts_tune.data.scan.similarity import Indices
from bts_tune.data.splits.make import make_split
from bts_tune.data.splits.methods.base import SplitMethod
from bts_tune.errors import ConfigError, DataError
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.registry import SPLIT_METHODS
from tests.data.splits.builders import Scanned


@pytest.fixture(autouse=True)
def own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what a test registers."""
    monkeypatch.setattr(SPLIT_METHODS, "_entries", dict(SPLIT_METHODS._entries))


class Alternating(SplitMethod):
    description = "every third slice validates"

    def assign(self, dataset: Dataset, scan: Scan, groups: Indices, seed: int) -> dict[str, str]:
        return {name: "train" if place % 3 else "valid" for place, name in enumerate(sorted(scan.names))}


def test_a_registered_method_is_used_by_its_name(phantoms: Scanned) -> None:
    SPLIT_METHODS.register("alternating")(Alternating)
    dataset, split = make_split(phantoms.dataset, phantoms.scan, "alternating")
    assert {name: len(records) for name, records in dataset.records.items()} == {"train": 133, "valid": 67, "test": 0}
    assert split.to_dict()["method"] == "alternating"
    assert split.sentence().startswith("Split alternating: 133/67/0 train/valid/test")
    assert RunOptions.parse({"space": "baseline", "split": "alternating"}).split == "alternating"


def test_describing_the_methods_opens_no_image_library() -> None:
    code = (
        "import sys; from bts_tune.registry import SPLIT_METHODS\n"
        "assert all(method.description for method in SPLIT_METHODS.all().values())\n"
        "sys.exit(bool({'torch', 'cv2', 'pycocotools', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_a_method_forgets_or_invents_is_told(phantoms: Scanned) -> None:
    class Forgetful(Alternating):
        def assign(self, *arguments: object) -> dict[str, str]:
            return dict.fromkeys(phantoms.scan.names[1:], "train")

    class Inventive(Alternating):
        def assign(self, *arguments: object) -> dict[str, str]:
            return dict.fromkeys(phantoms.scan.names, "dev")

    SPLIT_METHODS.register("forgetful")(Forgetful)
    SPLIT_METHODS.register("inventive")(Inventive)
    with pytest.raises(DataError, match="has no split"):
        make_split(phantoms.dataset, phantoms.scan, "forgetful")
    with pytest.raises(DataError, match="is 'dev'; allowed are train, valid, test"):
        make_split(phantoms.dataset, phantoms.scan, "inventive")


def test_an_unknown_method_is_refused_with_the_known_ones(phantoms: Scanned) -> None:
    with pytest.raises(DataError, match=r"--split 'groupd': must be one of grouped, provided\. Did you mean 'grouped'"):
        make_split(phantoms.dataset, phantoms.scan, "groupd")
    options = RunOptions.parse({"space": "baseline", "split": "groupd"})
    with pytest.raises(ConfigError, match=r"--split: unknown split method 'groupd'\..*Allowed: grouped, provided"):
        options.require_known_names()
