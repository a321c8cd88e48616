"""What is asked of a run of recipes, what it tells meanwhile, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from adapter.reproduction.data import TaskData
    from adapter.reproduction.results import Results


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that a caller may want to show.

    Attributes:
        kind: ``note`` (a sentence), ``extract`` (images done), ``cell`` (steps done of the cell
            named in ``text``), ``reused`` and ``finished`` (cells done).
        text: What it is about.
        done: So far.
        total: In all.
    """

    kind: Literal["note", "extract", "cell", "reused", "finished"]
    text: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """How a run ended.

    Attributes:
        tables: Everything that the tables show, in the order of the recipes.
        files: What was written.
        missing: Per data set that is not there, what to download and where to put it.
        failed: Per failure, what could not be computed and why.
        computed: Cells computed now.
        reused: Cells of earlier runs.
        tasks: Per key of the last recipe, the tasks whose data are there.
    """

    tables: tuple[Results, ...]
    files: tuple[Path, ...]
    missing: tuple[str, ...]
    failed: tuple[str, ...]
    computed: int
    reused: int
    tasks: Mapping[str, TaskData]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How recipes are run.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: Of the backbone while it extracts.
        only: Keys of the rows to run, of one recipe; empty for all.
        unaligned_text: Leave out methods that rest on a text tower aligned with the images,
            for a backbone that has none.
        keep_runs: Keep the trained adapters beside their cells.
        note: Said below the table, such as what the backbone is.
        cache: Folder of the caches; ``out``/cache when None.
        max_failures: Share of a data set's images that may fail.
        write: Write the tables.
        same_model: The given backbone stands for every other that a recipe or a row names.
        spread: Calls a function with each of some arguments, on several processes: there cells are
            computed side by side. None computes them here, one after the other.
    """

    device: str = "auto"
    precision: str = "auto"
    only: Sequence[str] = ()
    unaligned_text: bool = False
    keep_runs: bool = False
    note: str = ""
    cache: Path | None = None
    max_failures: float = 0.25
    write: bool = True
    same_model: bool = False
    spread: Callable[[Callable[..., None], Sequence[tuple[Any, ...]]], None] | None = None
