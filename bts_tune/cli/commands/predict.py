"""`bts-tune predict`: segment images with a run's best model."""

from __future__ import annotations

import argparse
from contextlib import nullcontext

from bts_tune.cli.help import add_examples
from bts_tune.cli.options import add_plugin, add_results, as_path, load_given_plugins
from bts_tune.console import make_console, say
from bts_tune.errors import EXIT_OK, ConfigError
from bts_tune.text import percent


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `bts-tune predict`."""
    add_examples(
        parser,
        {
            "bts-tune predict RUN IMAGES --out DIR": "masks and overlays of all images of a folder",
            "bts-tune predict RUN scan.nii.gz --out DIR --tta": "a volume, with test-time augmentation",
        },
    )
    parser.add_argument("run", help="a run's folder or name")
    parser.add_argument("images", nargs="+", help="images and volumes (NIfTI, DICOM), or folders of them", type=as_path)
    parser.add_argument("--out", required=True, type=as_path, help="folder for masks and overlays")
    parser.add_argument("--trial", metavar="NAME", help="use this trial's model instead of the best one")
    parser.add_argument(
        "--ensemble", action="store_true", help="the mean of all trainings of the winner, where the run kept them"
    )
    parser.add_argument(
        "--tta",
        action="store_true",
        help="test-time augmentation: the mean over flips of an image (2 or 4 times the time)",
    )
    parser.add_argument(
        "--postprocess",
        action="store_true",
        help="the threshold and smallest region that the run chose on its validation split",
    )
    parser.add_argument(
        "--format",
        action="append",
        default=[],
        metavar="NAME",
        help="of the masks: png, nifti, dicom-seg or coco (as the image: png, NIfTI, DICOM SEG; may be repeated)",
    )
    parser.add_argument(
        "--batch-size", type=int, default=8, metavar="N", help="images, or slices, that are segmented together (8)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (auto)")
    add_results(parser)
    add_plugin(parser)
    parser.set_defaults(action=_predict)


def _predict(parsed: argparse.Namespace, _command: list[str]) -> int:
    from bts_tune.progress_bar import progress_bar
    from bts_tune.results.find import best_model, chosen_postprocessing, ensemble_models, find_run, plane_of_slices
    from bts_tune.training.prediction.ensemble import load_segmenter
    from bts_tune.training.prediction.postprocessing import Postprocessing
    from bts_tune.training.prediction.predict import TABLE_FILE, predict

    load_given_plugins(parsed)
    if parsed.ensemble and parsed.trial:
        raise ConfigError("--ensemble and --trial: give one of the two.")
    run = find_run(parsed.run, parsed.results)
    models = ensemble_models(run) if parsed.ensemble else [best_model(run, parsed.trial)]
    print("\n".join(f"Model: {model}" for model in models))
    segmenter = load_segmenter(models, parsed.device, tta=parsed.tta)
    if parsed.postprocess:
        if parsed.ensemble or parsed.tta:
            raise ConfigError("--postprocess: was chosen for single models; leave out --ensemble and --tta.")
        segmenter.postprocessing = Postprocessing(**chosen_postprocessing(run, models[0]))
    console = make_console()
    with progress_bar(console, "segmenting") if console.is_terminal else nullcontext() as progress:
        for found in predict(
            segmenter,
            parsed.images,
            parsed.out,
            plane=plane_of_slices(run),
            formats=parsed.format,
            batch_size=parsed.batch_size,
            progress=progress,
        ):
            say(console, f"{found.image}: tumour {percent(found.tumor_share, 2)} of the image -> {found.mask}")
    say(console, f"Table: {parsed.out / TABLE_FILE}")
    return EXIT_OK
