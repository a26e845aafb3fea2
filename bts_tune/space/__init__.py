"""Search spaces: files that say which configurations are trained, fixed ones by name and a search to sample from.

`load_space` reads one; `Space.resolve` gives the trials that are run as they are run.
"""

from bts_tune.space.file import Final
from bts_tune.space.loader import list_spaces, load_space, space_folders
from bts_tune.space.search import ResolvedSearch
from bts_tune.space.space import NamedTrial, ResolvedSpace, Space

__all__ = [
    "Final",
    "NamedTrial",
    "ResolvedSearch",
    "ResolvedSpace",
    "Space",
    "list_spaces",
    "load_space",
    "space_folders",
]
