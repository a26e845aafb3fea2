"""What is known of models on this machine: found out once and kept in the cache, so that nothing is built to ask again.

    <cache>/models/<key>.json     an answer, and its question

Importing torch and SMP takes seconds, and so does building twenty models to count their parameters. An answer holds for
the versions of the libraries that build models, and for the code here and of the losses. Where the cache cannot be read
or written, everything is found out anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from functools import cache as once
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bts_tune.data.prepared.cache import places
from bts_tune.registry import LOSSES
from bts_tune.results.record.files import write_atomically

_PACKAGES = ("torch", "segmentation-models-pytorch", "timm")


def recall(cache: Path | None, **question: Any) -> Any:
    """Return the answer that is kept for a question; None where there is none.

    Args:
        cache: folder of the cache; by default `default_cache()`.
        question: what is asked, in types of JSON.
    """
    for place in places(cache):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            kept = json.loads(_file(place, question).read_bytes())
            if kept["question"] == question:
                return kept["answer"]
    return None


def keep(cache: Path | None, answer: Any, **question: Any) -> None:
    """Keep the answer to a question, in types of JSON."""
    with contextlib.suppress(OSError):
        file = _file(places(cache)[-1], question)
        write_atomically(file, json.dumps({"question": question, "answer": answer}) + "\n")


def definition_of_loss(name: str, cache: Path | None = None) -> str:
    """Return what a loss is, in a sentence, with its source."""
    question = {"definition of loss": name}
    own = not LOSSES.is_plugin(name)
    found = recall(cache, **question) if own else None
    if isinstance(found, str):
        return found
    loss = LOSSES.get(name)
    found = f"{loss.definition} ({loss.source})" if loss.source else str(loss.definition)
    if own:
        keep(cache, found, **question)
    return found


def _file(cache: Path, question: dict[str, Any]) -> Path:
    asked = json.dumps([question, _versions(), _code()], sort_keys=True)
    return cache / "models" / f"{hashlib.sha256(asked.encode()).hexdigest()[:32]}.json"


@once
def _versions() -> tuple[str, ...]:
    found = []
    for package in _PACKAGES:
        try:
            found.append(version(package))
        except PackageNotFoundError:
            found.append("unknown")
    return tuple(found)


@once
def _code() -> str:
    """Return a hash of what builds models and defines losses: another version may answer otherwise."""
    package = Path(__file__).parents[1]
    sources = sorted([*(package / "models").rglob("*.py"), *(package / "losses").rglob("*.py")])
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
