"""Where data sets, caches and runs lie when nobody says so.

data/ava      a data set; or $FEATCACHE_DATA/ava, which is looked at first
cache/ava     its features
runs/ava      a run on them; runs/ava-2 is the next
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.console import say

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from featcache.datasets.base import Dataset

DATA_VARIABLE = "FEATCACHE_DATA"
DATA, CACHES, RUNS = Path("data"), Path("cache"), Path("runs")


def data_folders() -> list[Path]:
    """Return the folders that may hold data sets, the first choice first."""
    named = os.environ.get(DATA_VARIABLE, "")
    return [*([Path(named)] if named else []), DATA]


def find_dataset(name: str, root: Path | None, options: Mapping[str, str]) -> Dataset:
    """Open a data set in the folder that was given, or in the one where it should be.

    Raises:
        DatasetNotFoundError: It is not there; the message says what belongs where.
        BadParameter: The images are the user's own, so that only the user knows the folder.
    """
    from featcache.datasets import info, open_dataset
    from featcache.errors import DatasetNotFoundError

    if root is not None:
        return open_dataset(name, root, **options)
    facts = info(name)
    if facts.num_images is None:
        raise typer.BadParameter(f"--dataset {name} needs --root, the folder of your images")
    places = [folder / name for folder in data_folders()]
    looked = f"looked at {' and '.join(map(str, places))}"
    if not os.environ.get(DATA_VARIABLE):
        looked += f"; the folder that {DATA_VARIABLE} names would come first"
    readers = [open_dataset(name, place, **options) for place in places if place.is_dir()]
    if not readers and facts.drawn:
        readers = [open_dataset(name, places[-1], **options)]
    if not readers:
        raise DatasetNotFoundError(
            f"{facts.title} is not there ({looked}). Put it into {places[-1]}, or give --root "
            f"DIR. Expected layout:\n{facts.layout}\nWhere to get it: {facts.source} "
            f"(terms: {facts.license})"
        )
    chosen = next((reader for reader in readers if _has_parts(reader)), readers[0])
    say(f"{facts.title}: data in {chosen.root} ({looked})")
    return chosen


def known_root(cache: Path) -> Path | None:
    """Return the folder where the images of a cache should be, if it is there."""
    from featcache.storage.manifest import Manifest

    name = str(Manifest.read(cache).dataset["name"])
    places = [folder / name for folder in data_folders()]
    return next((place for place in places if place.is_dir()), None)


def find_data() -> Path:
    """Return the folder that holds data sets: the first that is there."""
    places = data_folders()
    return next((place for place in places if place.is_dir()), places[-1])


def new_run(caches: Sequence[Path]) -> Path:
    """Return a free folder for a run on these caches, named after them."""
    name = "-".join(cache.resolve().name for cache in caches)
    first = RUNS / name
    free = next(place for place in _numbered(first) if not place.exists())
    taken = f"; {first} is taken" if free != first else ""
    say(f"the run goes to {free}{taken}")
    return free


def unfinished_run(caches: Sequence[Path]) -> Path:
    """Return the newest run on these caches that was stopped; a new one where there is none.

    Raises:
        ConfigError: All of them are finished.
    """
    from adapter.errors import ConfigError

    found = [run for run in _runs() if _trained_on(run) == {c.resolve() for c in caches}]
    open_ = [run for run in found if not _finished(run)]
    if open_:
        newest = max(open_, key=lambda run: max(f.stat().st_mtime for f in run.rglob("*")))
        say(f"going on with {newest}")
        return newest
    if found:
        raise ConfigError(
            f"nothing to go on with: {', '.join(map(str, found))} "
            f"{'is' if len(found) == 1 else 'are'} finished. Leave out --resume to train again"
        )
    return new_run(caches)


def _has_parts(reader: Dataset) -> bool:
    return all(reader.find(part.what) for part in reader.parts if part.needed)


def _numbered(first: Path) -> Iterator[Path]:
    yield first
    number = 2
    while True:
        yield first.with_name(f"{first.name}-{number}")
        number += 1


def _runs() -> list[Path]:
    """Folders of runs, and of several runs side by side."""
    folders = sorted(RUNS.iterdir()) if RUNS.is_dir() else []
    return [folder for folder in folders if folder.is_dir() and _members(folder)]


def _members(folder: Path) -> list[Path]:
    """The runs in a folder: itself, or one for each fold and seed."""
    from adapter.record import RUN_FILE, member_folders

    return [folder] if (folder / RUN_FILE).exists() else member_folders(folder)


def _trained_on(folder: Path) -> set[Path]:
    from adapter.errors import AdapterError
    from adapter.record import read_record

    try:
        shards = read_record(_members(folder)[0]).get("shards", [])
        return {Path(shard["path"]).resolve() for shard in shards}
    except (AdapterError, KeyError, TypeError):
        return set()  # a damaged run is not one to go on with


def _finished(folder: Path) -> bool:
    from adapter.record import read_record

    members = _members(folder)
    outcomes = [read_record(member)["outcome"] for member in members]
    if any(outcome is None or outcome["interrupted"] for outcome in outcomes):
        return False
    # Of several runs, some may not have begun.
    summary = folder / "many.json"
    return members == [folder] or (
        summary.exists() and not json.loads(summary.read_text("utf-8"))["interrupted"]
    )
