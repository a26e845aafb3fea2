"""The files of a trial on the node that it runs on: shared with the driver, or brought there and back."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bts_tune.data.prepared.cache import building, default_cache, own_cache, remove, temporary_folder
from bts_tune.data.prepared.prepare import PreparedData, load_prepared
from bts_tune.errors import DataError
from bts_tune.experiment.execution.files.model_storage import ModelStorage
from bts_tune.experiment.execution.files.storage import MODEL_FILES
from bts_tune.experiment.execution.nodes.node_check import reads
from bts_tune.models.weights import EncoderWeights
from bts_tune.results.record.model_files import LAST
from bts_tune.results.storage.remote import RemoteError
from bts_tune.text import first_line


class NodeFaultError(Exception):
    """Something is wrong with the node, and not with the trial; the message is a clause that says what."""


class UnwritableResultsError(Exception):
    """The driver cannot write what a trial brings back, or not read what it asks for; the message says why."""


@dataclass(frozen=True)
class Shipping:
    """How files reach the nodes of a cluster, and come back.

    Attributes:
        storage: the name of the actor of `Storage`.
        nonce: path and content of the file that shows which nodes share the run's folder; None before there is one.
    """

    storage: str
    nonce: tuple[str, str] | None = None

    def prepared(self, folder: str) -> PreparedData:
        """Open prepared data, having brought it to this node if need be.

        Raises:
            NodeFaultError: it cannot be kept here.
        """
        with contextlib.suppress(DataError):
            return load_prepared(Path(folder))
        return load_prepared(self._fetch_folder(Path(folder)))

    def weights(self, weights: EncoderWeights) -> EncoderWeights:
        """Return an encoder's weights with a path on this node, having brought them if need be.

        Raises:
            NodeFaultError: they cannot be kept here.
        """
        if weights.path is None or _digest(Path(weights.path)) == weights.sha256:
            return weights
        path = Path(weights.path)
        try:
            file = _writable_cache(path.parent) / f"weights-{weights.sha256}{path.suffix}"
            if _digest(file) != weights.sha256:
                part = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
                try:
                    self._write(self._parts(weights.path)[path.name], part)
                    os.replace(part, file)
                finally:
                    part.unlink(missing_ok=True)
        except OSError as error:
            raise _fault(error) from None
        return replace(weights, path=str(file))

    def shares_results(self) -> bool:
        """Whether this node shares the run's folder with the driver."""
        return self.nonce is not None and reads(*self.nonce)

    @contextlib.contextmanager
    def model(self, folder: str) -> Iterator[Path]:
        """Yield a folder on this node with the model that a trial has kept."""
        if self.shares_results():
            yield Path(folder)
            return
        with tempfile.TemporaryDirectory(prefix="bts-tune-") as copy:
            _write_all(Path(copy), self.files(folder, MODEL_FILES))
            yield Path(copy)

    def files(self, folder: str, names: Sequence[str]) -> dict[str, bytes]:
        """Return those files of a trial's model folder that the driver has, by name."""
        found: dict[str, bytes] = self._call("files", folder, names)
        return found

    def keep(self, folder: str, contents: Mapping[str, bytes]) -> None:
        """Have the driver write files of a trial into its model folder.

        Raises:
            UnwritableResultsError: it cannot.
        """
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        if reason := self._call("keep", folder, contents, digests):
            raise UnwritableResultsError(reason)

    def _fetch_folder(self, folder: Path) -> Path:
        try:
            cache = _writable_cache(folder.parent)
            target = cache / folder.name
            with building(cache, folder.name):
                with contextlib.suppress(DataError):
                    return load_prepared(target).folder
                if target.exists():
                    remove(target)
                temporary = temporary_folder(cache, folder.name)
                try:
                    for name, parts in self._parts(str(folder)).items():
                        self._write(parts, temporary / name)
                    temporary.rename(target)
                finally:
                    shutil.rmtree(temporary, ignore_errors=True)
            return target
        except OSError as error:
            raise _fault(error) from None

    def _parts(self, path: str) -> Mapping[str, Sequence[Any]]:
        found: Mapping[str, Sequence[Any]] = self._call("parts", path)
        return found

    def _write(self, parts: Sequence[Any], file: Path) -> None:
        import ray

        with file.open("wb") as target:
            for part in parts:
                target.write(ray.get(part))

    def _call(self, method: str, *arguments: Any) -> Any:
        import ray

        try:
            actor = ray.get_actor(self.storage)
            return ray.get(getattr(actor, method).remote(*arguments))
        except ray.exceptions.RayTaskError as error:
            # What cannot be read is the driver's: not as an OSError, which would be this node's.
            cause = getattr(error, "cause", None) or error
            raise UnwritableResultsError(f"what the driver holds cannot be read: {first_line(cause)}") from None


class TrialFiles:
    """The model folder of one trial, on the node that it runs on.

    Args:
        folder: at the driver.
        shipping: None where the driver is on this machine.
        elsewhere: where the run keeps its models, if that is not in its folder.
    """

    def __init__(self, folder: str, shipping: Shipping | None, elsewhere: ModelStorage | None = None) -> None:
        self._home, self._of_node = folder, shipping is not None
        self._keeper: Shipping | ModelStorage | None = elsewhere
        if elsewhere is None and shipping is not None and not shipping.shares_results():
            self._keeper = shipping
        self._seen: dict[str, tuple[int, int]] = {}
        self.shared = self._keeper is None
        self.folder = Path(folder)
        if self._keeper is not None:
            try:
                self.folder = Path(tempfile.mkdtemp(prefix="bts-tune-")) / Path(folder).name
                with self._reaching_storage():
                    if elsewhere is not None:
                        elsewhere.require_same()
                    _write_all(self.folder, self._keeper.files(folder, [LAST]))
            except OSError as error:
                raise _fault(error) from None
            self._changed()

    def bring_back(self) -> None:
        """Send what was written since the last call to where it belongs, and return when it is stored there.

        Raises:
            UnwritableResultsError: the driver cannot write it.
            NodeFaultError: this node cannot write it to where the run keeps its models.
        """
        if self._keeper is None:
            return
        contents = {name: (self.folder / name).read_bytes() for name in self._changed()}
        if contents:
            with self._reaching_storage():
                self._keeper.keep(self._home, contents)

    def close(self) -> None:
        """Remove what is here only because it could not be written at once to where it belongs."""
        if self._keeper is not None:
            shutil.rmtree(self.folder.parent, ignore_errors=True)

    @contextlib.contextmanager
    def _reaching_storage(self) -> Iterator[None]:
        try:
            yield
        except RemoteError as error:
            # In a cluster another node may reach it; the driver has.
            kind = NodeFaultError if self._of_node else UnwritableResultsError
            raise kind(str(error).rstrip(".")) from None

    def _changed(self) -> list[str]:
        found = []
        for name in (*MODEL_FILES, LAST):
            with contextlib.suppress(FileNotFoundError):
                stat = (self.folder / name).stat()
                now = (stat.st_mtime_ns, stat.st_ino)
                if self._seen.get(name) != now:
                    self._seen[name] = now
                    found.append(name)
        return found


def _writable_cache(first: Path) -> Path:
    """Return the folder to keep on this node what it lacks: where the driver has it, else the cache of this node."""
    for folder in (first, default_cache(), own_cache()):
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
    folder = Path(tempfile.gettempdir()) / f"bts-tune-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid != os.getuid():
        raise PermissionError(errno.EACCES, "belongs to somebody else", str(folder))
    return folder


def _fault(error: OSError) -> NodeFaultError:
    named = f"{error.filename}: " if error.filename else ""
    return NodeFaultError(f"what a trial needs cannot be kept there ({named}{error.strerror or first_line(error)})")


def _write_all(folder: Path, contents: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def _digest(file: Path) -> str | None:
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError:
        return None
