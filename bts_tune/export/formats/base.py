"""What an export is: it writes a run, or its best model, in a form that other programs read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from bts_tune.errors import ConfigError
from bts_tune.export.context import ExportContext
from bts_tune.export.whole import whole
from bts_tune.registry import EXPORTS

__all__ = ["EXPORTS", "Export", "ExportContext", "Exported", "FileExport", "require"]


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        output: the path, or the address, that it is at.
        notes: sentences that a person should read, such as how well it was found to agree with the run.
    """

    output: str
    notes: tuple[str, ...] = ()


class Export(ABC):
    """Writes a run, or its best model, in a form that other programs read.

    It reads the run and changes nothing of it. It writes all or nothing, and never over what is there. A model that it
    writes gives the probabilities that `bts-tune predict` gives; where it can, it measures that and says so.

    `__init__` takes no arguments and is called before anything is computed: what it raises refuses the export, so this
    is the place to look for a package (see `require`).

    An export of files derives from `FileExport`, which has this done. One that writes elsewhere, such as into a
    database, derives from this class.

    Attributes:
        name: the name that it is registered under; set by the registry.
        title: what it writes, in a few words, for the help.
        averages: whether it can write an ensemble, and the mean over views of an image; both are refused otherwise.
            `ExportContext.model_folders` and `segmenter` then are those that were asked for.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    averages: ClassVar[bool] = False

    @abstractmethod
    def write(self, context: ExportContext, output: str | None) -> Exported:
        """Export a run.

        Args:
            context: the run, and the model that was asked for.
            output: the path or address to write to; None for a usual one.

        Raises:
            RunError: the run has nothing to export, something is there already, or it cannot be written.
            ConfigError: `output` cannot be used.
        """


class FileExport(Export):
    """Writes one file, with further ones beside it, or one folder.

    Attributes:
        suffix: how the name ends where none is given; empty for a folder.
    """

    suffix: ClassVar[str] = ""

    @abstractmethod
    def write_to(self, context: ExportContext, target: Path) -> Iterable[str]:
        """Write to a path where nothing is yet, in a folder that is there, and return notes for a person.

        It is a temporary path with the final name. Files beside it must have names that begin with that name.
        """

    def write(self, context: ExportContext, output: str | None) -> Exported:
        """Export into `output`, by default `exports/<trial><suffix>` in the run's folder; whole or not at all."""
        if output and "://" in output:
            raise ConfigError(
                f"--output {output}: is an address; --to {self.name} writes a file or folder of this machine."
            )
        target = Path(output) if output else self.default_output(context)
        with whole(target) as path:
            notes = tuple(self.write_to(context, path))
        return Exported(str(target), notes)

    def default_output(self, context: ExportContext) -> Path:
        """Return where it is written if nobody says."""
        return context.folder.path / "exports" / f"{context.name}{self.suffix}"


def require(*packages: str, extra: str) -> None:
    """Refuse an export whose packages are not installed.

    Args:
        packages: names as they are imported.
        extra: what of bts-tune installs them.

    Raises:
        ConfigError: one is missing; the sentence says what to install.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ConfigError(
            f"--to {extra}: {missing[0]} is not installed; install it with: pip install 'bts-tune[{extra}]'."
        )
