"""``run.json``: what a run, or a converted checkpoint, says about itself."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from adapter.errors import CheckpointError, CheckpointNotFoundError
from adapter.settings import current_settings
from featcache.storage.durable import write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RUN_FILE = "run.json"
FORMAT = 1
PACKAGES = ("featcache", "torch", "numpy", "safetensors")  # whose versions are written down


def read_document(path: Path, version: int, kind: str, advice: str) -> dict[str, Any]:
    """Read a JSON object that says its format.

    Args:
        path: The file.
        version: Of the format that is expected.
        kind: What the file describes, for messages.
        advice: How such a file is made.

    Raises:
        CheckpointNotFoundError: There is none.
        CheckpointError: It is damaged or of another format.
    """
    try:
        record: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise CheckpointNotFoundError(f"{path}: not there; {advice}") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error
    if not isinstance(record, dict) or record.get("format") != version:
        raise CheckpointError(f"{path}: not a {kind} of format {version}")
    return record


def member_folders(folder: Path) -> list[Path]:
    """Return the runs of a sweep's folder, folds before seeds; none in the folder of one run."""
    if (folder / RUN_FILE).exists():
        return []
    found = [*folder.glob(f"seed-*/{RUN_FILE}"), *folder.glob(f"fold-*/seed-*/{RUN_FILE}")]

    def numbers(run: Path) -> list[int]:
        return [int(digits) for digits in re.findall(r"-(\d+)", str(run.relative_to(folder)))]

    return sorted((path.parent for path in found), key=numbers)


def read_record(folder: Path) -> dict[str, Any]:
    """Read ``run.json``; settings of older files are returned in today's form.

    Raises:
        CheckpointNotFoundError: There is none.
        CheckpointError: It is damaged or of another format.
    """
    advice = f"`adapter train --out {folder}` makes a run"
    if several := member_folders(folder):
        advice = f"{folder} holds {len(several)} runs; give one of them, such as {several[0]}"
    record = read_document(folder / RUN_FILE, FORMAT, "run", advice)
    if "settings" in record:
        record["settings"] = current_settings(record["settings"])
    return record


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write ``run.json`` atomically and durably."""
    write_json(folder / RUN_FILE, {"format": FORMAT, **record})
