"""Where the models and checkpoints of a run are while it goes on, if `--storage` names a place elsewhere."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bts_tune.errors import RunError
from bts_tune.experiment.execution.files.storage import MODEL_FILES
from bts_tune.results.find import is_whole
from bts_tune.results.record.files import write_atomically
from bts_tune.results.record.model_files import LAST
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.results.storage.remote import RemoteError, RemoteFiles

_MARK = "storage.id"


@dataclass(frozen=True)
class ModelStorage:
    """The models of one run, in `models/TRIAL/` of a folder elsewhere.

    Attributes:
        place: the run's folder there.
        mark: what a file in it says, by which a node sees that it reaches the same place.
    """

    place: RemoteFiles
    mark: str

    @classmethod
    def claim(cls, storage: str, folder: RunFolder) -> ModelStorage:
        """Take a place for a new run, and record it.

        Raises:
            RunError: another run has it, or it cannot be written.
        """
        place = RemoteFiles(storage) / folder.path.name
        if place.files():
            raise RunError(
                f"--storage {storage}: {place} holds something already; choose another --name, or another place."
            )
        mark = secrets.token_hex(16)
        place.write(_MARK, mark.encode())
        folder.update_run(storage={"uri": place.uri, "id": mark})
        return cls(place, mark)

    @classmethod
    def of_run(cls, folder: RunFolder) -> ModelStorage | None:
        """Return the place that a run recorded; None where its models are in its folder.

        Raises:
            RunError: it cannot be reached, or is not the run's any more.
        """
        recorded = folder.read_run().get("storage")
        if not recorded:
            return None
        storage = cls(RemoteFiles(recorded["uri"]), recorded["id"])
        storage.require_same()
        return storage

    def require_same(self) -> None:
        """Refuse a place that is not the driver's, such as the path of a folder that is not shared.

        Raises:
            RemoteError: it is another one, or cannot be reached.
        """
        if self.place.read(_MARK) != self.mark.encode():
            raise RemoteError(f"{self.place}: is not the place where the run keeps its models")

    def give_back(self) -> None:
        """Leave the place of a run that did not begin."""
        with contextlib.suppress(RemoteError):
            self.place.remove(_MARK)

    def files(self, folder: str, names: Sequence[str]) -> dict[str, bytes]:
        """Return those files of a trial that there are, by name."""
        found = {name: self.place.read(_path(folder, name)) for name in names}
        return {name: content for name, content in found.items() if content is not None}

    def keep(self, folder: str, contents: Mapping[str, bytes]) -> None:
        """Write files of a trial. The last state comes last: an epoch that it holds has its model."""
        for name in sorted(contents, key=[*MODEL_FILES, LAST].index):
            self.place.write(_path(folder, name), contents[name])

    def drop(self, trial: str, *names: str) -> None:
        """Remove files of a trial, or all of them. What cannot be removed now goes at the end of the run."""
        with contextlib.suppress(RemoteError):
            for name in names or ("",):
                self.place.remove(f"models/{trial}/{name}".rstrip("/"))

    def drop_others(self, trials: Iterable[str], say: Callable[[str], None]) -> None:
        """Remove the models of all trials but some."""
        kept = set(trials)
        try:
            for trial in self._trials() - kept:
                self.place.remove(f"models/{trial}")
        except RemoteError as error:
            say(f"Models that nobody needs are still there: {error}")

    def fetch(self, folder: RunFolder) -> None:
        """Bring what is there into the run's folder, for those that use the models of a run.

        Raises:
            RemoteError: it cannot be read.
        """
        for trial in sorted(self._trials()):
            target = folder.model_folder(trial)
            if not is_whole(target):
                for name, content in self.files(str(target), MODEL_FILES).items():
                    write_atomically(target / name, content)

    def _trials(self) -> set[str]:
        return {path.split("/")[1] for path in self.place.files() if path.startswith("models/")}


def _path(folder: str, name: str) -> str:
    return f"models/{Path(folder).name}/{name}"
