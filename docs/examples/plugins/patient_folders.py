"""A reader of one's own: a folder for each patient, with x.png and x_mask.png side by side.

The reader `pairs`, which the program brings, reads such a folder too; it gives way to any other that recognises it.

bts-tune data check DIR --plugin patient_folders.py
bts-tune --space baseline --data DIR --plugin patient_folders.py --split grouped      # patients stay together
"""

from pathlib import Path

from bts_tune.data.readers.base import Reader, ReaderOptions
from bts_tune.data.records import Dataset, Issue, SliceRecord
from bts_tune.errors import DataError
from bts_tune.registry import READERS

SUFFIX = "_mask.png"


@READERS.register("patient-folders")
class PatientFolders(Reader):
    """Every fifth patient validates; `--split grouped` assigns them anew."""

    title = "patients' folders"
    expects = f"a folder for each patient, with x.png and x{SUFFIX} side by side"

    def recognises(self, root: Path) -> bool:
        return any(root.glob(f"*/*{SUFFIX}"))

    def read(self, root: Path, options: ReaderOptions) -> Dataset:
        records: dict[str, list[SliceRecord]] = {"train": [], "valid": []}
        issues = []
        patients = sorted({mask.parent for mask in root.glob(f"*/*{SUFFIX}")})
        if len(patients) < 5:
            raise DataError(f"{root}: has {len(patients)} patients; at least 5 are needed for a validation split.")
        for number, patient in enumerate(patients):
            for image in sorted(patient.glob("*.png")):
                if image.name.endswith(SUFFIX):
                    continue
                name, mask = f"{patient.name}/{image.name}", image.with_name(image.stem + SUFFIX)
                if not mask.is_file():
                    issues.append(Issue("error", "missing-mask", name, None, f"{mask.name} is missing."))
                    continue
                split = "train" if number % 5 else "valid"
                records[split].append(SliceRecord(name, split, image, image.stem, mask=mask, group=patient.name))
        found = {split: tuple(members) for split, members in records.items()}
        return Dataset(root=root, layout=self.name, categories={}, records=found, issues=tuple(issues))
