"""Implementations by name: our own, those of installed packages, and those in a user's files.

A registry is a table of one kind of thing: losses, metrics, decoders, readers, … Our own implementations are files of
one package, each named like what it registers (`losses/focal_tversky.py` registers `focal-tversky`), so that the names
are known without importing any of them. Others come from plugins; see `bts_tune.plugins`.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar, cast

from bts_tune.errors import ConfigError
from bts_tune.text import nearest

T = TypeVar("T")

_NAME = re.compile("[a-z0-9][a-z0-9_-]{0,99}")


class Registry(Generic[T]):
    """A table from names to classes of one kind.

    Args:
        kind: what its entries are, in the singular, for error messages.
        package: the package that holds our own implementations, one a file. Files whose name begins with an
            underscore, and `base.py`, which holds the base class, are no implementations.
        base: name of the base class in `<package>.base`; every entry must be a subclass.
    """

    def __init__(self, kind: str, package: str, base: str) -> None:
        self.kind = kind
        self._package, self._base = package, base
        self._builtin: tuple[str, ...] | None = None
        self._entries: dict[str, type[T]] = {}
        self._sources: dict[str, str] = {}

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Return a class decorator that enters a class under `name`.

        A file that is loaded again after an edit, or a notebook's cell that is run again, replaces its own class.

        Raises:
            ConfigError: the name is taken by another implementation, or cannot be typed; or the class is not of this
                registry's kind, lacks a method, or declares what its base class refuses.
        """

        def enter(entry: type[T]) -> type[T]:
            base = getattr(importlib.import_module(f"{self._package}.base"), self._base)
            if not (isinstance(entry, type) and issubclass(entry, base)):
                raise ConfigError(f"{self.kind} {name!r}: must be a subclass of {self._package}.base.{self._base}.")
            known = self._entries.get(name)
            source = _source(entry)
            taken = name in self._own() and entry.__module__ != self._module(name)
            if known is not None:
                same_place = known.__module__ == entry.__module__ or self._sources.get(name) == source
                taken = taken or known.__qualname__ != entry.__qualname__ or not same_place
            if taken:
                raise ConfigError(f"{self.kind} {name!r}: there is one of this name already; choose another name.")
            if hasattr(base, "check_declared"):
                cast(Any, entry).check_declared(name)
            if not _NAME.fullmatch(name):
                raise ConfigError(
                    f"{self.kind} {name!r}: a name must be of at most 100 lower-case letters, digits, hyphens and "
                    "underscores, a letter or digit first, so that it can be written in a space and on a command line."
                )
            if lacking := sorted(getattr(entry, "__abstractmethods__", ())):
                raise ConfigError(f"{self.kind} {name!r}: must define {', '.join(lacking)}, as its base class says.")
            cast(Any, entry).name = name
            self._entries[name] = entry
            self._sources[name] = source
            return entry

        return enter

    def names(self) -> tuple[str, ...]:
        """Return every known name: our own in alphabetical order, then those that plugins registered."""
        own = self._own()
        return (*own, *(name for name in self._entries if name not in own))

    def get(self, name: str) -> type[T]:
        """Return the class of a name.

        Raises:
            ConfigError: there is none; the sentence names those that there are.
        """
        if name not in self._entries and name in self._own():
            importlib.import_module(self._module(name))
        if name not in self._entries:
            raise ConfigError(f"unknown {self.kind} {name!r}.{nearest(str(name), self.names())} {self.allowed()}")
        return self._entries[name]

    def registered(self) -> dict[str, type[T]]:
        """Return the classes that have been registered so far, by name; nothing is imported."""
        return dict(self._entries)

    def all(self) -> dict[str, type[T]]:
        """Return every class by name; this imports all of them."""
        return {name: self.get(name) for name in self.names()}

    def allowed(self) -> str:
        """Return a sentence with the known names."""
        return f"Allowed: {', '.join(self.names())}."

    def __contains__(self, name: object) -> bool:
        """Return whether a name is known; nothing is imported."""
        return name in self._entries or name in self._own()

    def __iter__(self) -> Iterator[str]:
        """Go through the known names."""
        return iter(self.names())

    def is_plugin(self, name: str) -> bool:
        """Return whether a name is known and not one of our own."""
        return name in self._entries and name not in self._own()

    def _module(self, name: str) -> str:
        return f"{self._package}.{name.replace('-', '_')}"

    def _own(self) -> tuple[str, ...]:
        if self._builtin is None:
            path = importlib.import_module(self._package).__path__
            files = (module.name for module in pkgutil.iter_modules(path) if not module.ispkg)
            own = (name for name in files if not name.startswith("_") and name != "base")
            self._builtin = tuple(sorted(name.replace("_", "-") for name in own))
        return self._builtin


def _source(entry: type) -> str:
    """Return the file of a class, or its module where that has none."""
    file = getattr(sys.modules.get(entry.__module__), "__file__", None)
    return os.path.realpath(file) if file else entry.__module__


LOSSES: Registry[Any] = Registry("loss", "bts_tune.losses", "Loss")
METRICS: Registry[Any] = Registry("metric", "bts_tune.metrics", "Metric")
DECODERS: Registry[Any] = Registry("decoder", "bts_tune.models.decoders", "Decoder")
READERS: Registry[Any] = Registry("reader", "bts_tune.data.readers", "Reader")
SPLIT_METHODS: Registry[Any] = Registry("split method", "bts_tune.data.splits.methods", "SplitMethod")
AUGMENTATION_STEPS: Registry[Any] = Registry("augmentation step", "bts_tune.augmentation.steps", "Step")
TRACKERS: Registry[Any] = Registry("tracker", "bts_tune.experiment.callbacks.trackers", "Tracker")
SECTIONS: Registry[Any] = Registry("report section", "bts_tune.report.sections", "Section")
EXPORTS: Registry[Any] = Registry("export", "bts_tune.export.formats", "Export")
