from __future__ import annotations

import pytest

from bts_tune.data.volumes.planes import PLANES
from bts_tune.errors import ConfigError
from bts_tune.experiment.planning.options import RunOptions


def test_the_options_of_a_run_allow_just_these() -> None:
    for plane in PLANES:
        assert RunOptions.parse({"space": "baseline", "plane": plane}).plane == plane
    with pytest.raises(ConfigError, match="axial"):
        RunOptions.parse({"space": "baseline", "plane": "oblique"})
