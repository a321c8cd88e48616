"""``run.json``: what a run, or a converted checkpoint, says about itself."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from adapter.errors import CheckpointError, CheckpointNotFoundError
from featcache.storage.durable import write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RUN_FILE = "run.json"
FORMAT = 1


def read_record(folder: Path) -> dict[str, Any]:
    """Read ``run.json``.

    Raises:
        CheckpointNotFoundError: There is none.
        CheckpointError: It is damaged or of another format.
    """
    path = folder / RUN_FILE
    try:
        record: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise CheckpointNotFoundError(
            f"{path}: not there; `adapter train --out {folder}` makes a run"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a run of format {FORMAT}")
    return record


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write ``run.json`` atomically and durably."""
    write_json(folder / RUN_FILE, {"format": FORMAT, **record})


def versions() -> dict[str, str]:
    """Versions of what a result may depend on."""
    found = {}
    for name in ("featcache", "torch", "numpy", "safetensors"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found
