"""Who has made which shard: a line per shard while an extraction runs, then one in the history.

Whatever ends an extraction, the lines stay; the run that finishes the cache takes all of them into
history.jsonl.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from featcache.storage.durable import explained
from featcache.storage.history import read_history
from featcache.storage.layout import MAKERS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def note_maker(folder: Path, number: int, device: str) -> None:
    """Add a line, which a crash of this process does not lose.

    Args:
        folder: The cache, locked by the caller.
        number: The shard's.
        device: What has made it.

    Raises:
        DiskSpaceError, WriteError: It cannot be written.
    """
    path = folder / MAKERS
    with explained(path), path.open("ab") as file:
        # The line break comes first: what a full disk has cut does not spoil the next line.
        file.write(b"\n" + json.dumps([number, device]).encode())


def noted_makers(folder: Path) -> dict[str, str]:
    """Return the shards since the last line of the history, such as ``{"cuda:0": "0-99,120"}``."""
    return _grouped(_noted(folder))


def forget_makers(folder: Path) -> None:
    """Remove the lines, which are in the history now."""
    (folder / MAKERS).unlink(missing_ok=True)


def makers(folder: Path) -> dict[str, str]:
    """Return which device has made which shards, the last one where there were several."""
    found: dict[int, str] = {}
    for line in read_history(folder)[0]:
        for device, ranges in line.get("shards", {}).items():
            found |= dict.fromkeys(_numbers(ranges), device)
    return _grouped(found | _noted(folder))


def _noted(folder: Path) -> dict[int, str]:
    path = folder / MAKERS
    found: dict[int, str] = {}
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            number, device = json.loads(line)
        except ValueError:  # cut by a full disk, or by a machine that lost its power
            continue
        found[number] = device
    return found


def _grouped(found: dict[int, str]) -> dict[str, str]:
    devices: dict[str, list[int]] = {}
    for number in sorted(found):
        devices.setdefault(found[number], []).append(number)
    return {device: _ranges(numbers) for device, numbers in devices.items()}


def _ranges(numbers: Iterable[int]) -> str:
    """Write ascending numbers as ``0-11,14``."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in found)


def _numbers(ranges: str) -> Iterable[int]:
    """Read what `_ranges` writes."""
    for part in filter(None, ranges.split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
