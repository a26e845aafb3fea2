"""`bts-tune predict`: segment images with a run's best model."""

from __future__ import annotations

import argparse
from pathlib import Path

from bts_tune.cli.options import add_plugin, add_results, load_given_plugins
from bts_tune.errors import EXIT_OK


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `bts-tune predict`."""
    parser.add_argument("run", help="a run's folder or name")
    parser.add_argument("images", nargs="+", help="images, or folders of images", type=Path)
    parser.add_argument("--out", required=True, type=Path, help="folder for masks and overlays")
    parser.add_argument("--trial", metavar="NAME", help="use this trial's model instead of the best one")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (auto)")
    add_results(parser)
    add_plugin(parser)
    parser.set_defaults(action=_predict)


def _predict(parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune.results.find import best_model, find_run
    from bts_tune.training.prediction import predict

    load_given_plugins(parsed)
    model = best_model(find_run(parsed.run, Path(parsed.results)), parsed.trial)
    print(f"Model: {model}")
    for prediction in predict(model, parsed.images, parsed.out, device=parsed.device):
        print(f"{prediction.image}: tumour {prediction.tumor_share:.2%} of the image -> {prediction.mask}", flush=True)
    return EXIT_OK
