"""What a run of the command, its report, a prediction and an export import."""

import albumentations  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import pandas  # noqa: F401
import ray
import ray.tune  # noqa: F401
import segmentation_models_pytorch  # noqa: F401
import tensorboardX  # noqa: F401
import torch  # noqa: F401

import bts_tune.cli.main
import bts_tune.experiment.execution.trials.probe
import bts_tune.experiment.run
import bts_tune.report.write
import bts_tune.training.prediction.predict  # noqa: F401
