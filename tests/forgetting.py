"""What a test registers must not reach the next one."""

from __future__ import annotations

import pytest

from bts_tune import plugins, registry
from bts_tune.registry import Registry


def forget_plugins(patch: pytest.MonkeyPatch) -> None:
    """Know no plugin from now on, and forget those that are loaded meanwhile when the patch is undone."""
    patch.setattr(plugins, "_loaded", {})
    for table in vars(registry).values():
        if isinstance(table, Registry):
            table.all()  # what is imported later would be forgotten with it
            patch.setattr(table, "_entries", dict(table._entries))
