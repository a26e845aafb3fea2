"""An export that breaks the contract is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bts_tune.errors import RunError
from bts_tune.export.context import ExportContext
from bts_tune.export.formats.base import EXPORTS, Export, Exported
from bts_tune.testing.exports import ExportContract


class CarelessContract(ExportContract):
    name = "careless"


@pytest.fixture
def careless() -> Iterator[ExportContract]:
    @EXPORTS.register("careless")
    class Careless(Export):
        """Writes over what is there, and half of it."""

        title = "careless"

        def write(self, context: ExportContext, output: str | None) -> Exported:
            with Path(output or "out").open("a") as file:
                file.write("half")
            if not context.trials:
                raise RunError("No trials.")
            return Exported(output or "out")

    yield CarelessContract()
    del EXPORTS._entries["careless"]


def test_what_is_wrong_is_found(careless: ExportContract, tmp_path: Path) -> None:
    careless.test_it_is_declared()
    careless.test_it_writes_and_changes_nothing_of_the_run()
    with pytest.raises(BaseException, match="DID NOT RAISE"):
        careless.test_nothing_is_written_over_what_is_there()
    with pytest.raises(AssertionError):
        careless.test_a_run_that_has_nothing_to_export_is_refused(tmp_path)
