"""Put a run at a folder or an address, and fetch it from there, with every byte compared.

    publish("runs/ages", "hf://NAME/ages")
    folder = fetch("hf://NAME/ages")

``published.json`` lists the files with their digests and comes last; so half a run is none. What is
fetched is kept by the digest of that list, so it is fetched once.
"""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from adapter.errors import CheckpointError, CheckpointNotFoundError
from adapter.publishing.card import model_card
from adapter.record import RUN_FILE
from adapter.stored import StoredRun
from featcache.errors import TransferError
from featcache.storage.durable import committed_folder, finite, write_bytes
from featcache.transfer.store import Store, insist

if TYPE_CHECKING:
    from collections.abc import Mapping

LISTING = "published.json"
FORMAT = 1
NEEDED = (RUN_FILE, "adapter.json", "adapter.safetensors")
FILES = (*NEEDED, "stack.json", "stack.safetensors", "eval.json", "README.md")
LARGEST = 1 << 32  # bytes of a file: no adapter is larger


def publish(run: str | Path, target: str | Path) -> dict[str, int]:
    """Publish a run.

    Args:
        run: Its folder.
        target: A folder or an address.

    Returns:
        The files that were written, with their bytes.

    Raises:
        CheckpointNotFoundError: There is no trained run.
        CheckpointError: The run was stopped and has not ended.
        TransferError: A file could not be written, or came back changed.
    """
    folder = Path(run)
    stored = StoredRun.load(folder)
    outcome = stored.record.get("outcome")
    if outcome is not None and outcome.get("interrupted"):
        raise CheckpointError(f"{folder} was stopped: go on with it first (--resume)")
    contents = {n: (folder / n).read_bytes() for n in FILES if (folder / n).is_file()}
    contents[RUN_FILE] = _public(stored.record)
    evaluation = json.loads(contents["eval.json"]) if "eval.json" in contents else None
    if evaluation is not None:
        evaluation["run"] = folder.name
        contents["eval.json"] = _json(evaluation)
    contents["README.md"] = model_card(stored, evaluation, str(target)).encode()
    entries = {
        name: {"bytes": len(content), "xxh3_128": xxhash.xxh3_128_hexdigest(content)}
        for name, content in contents.items()
    }
    contents[LISTING] = _json({"format": FORMAT, "files": entries})
    store = Store.at(target)
    insist(f"{target} could not be written", lambda: store.remove(LISTING))
    for name, content in contents.items():
        insist(f"{target}/{name} could not be written", partial(_put, store, name, content))
    return {name: len(content) for name, content in contents.items()}


def fetch(place: str, keep: Path | None = None) -> Path:
    """Fetch a run that was published; returns its folder here.

    Args:
        place: Its address.
        keep: Where what is fetched is kept; None for the user's cache folder.

    Raises:
        CheckpointNotFoundError: There is no published run.
        CheckpointError: It lists other files than a run has.
        TransferError: A file cannot be read, or is not what the list says.
    """
    store = Store.at(place)
    what = f"{place} could not be read"
    size = insist(what, lambda: store.size(LISTING))
    if size is None:
        raise CheckpointNotFoundError(
            f"{place}: no published run ({LISTING} is missing); `adapter publish RUN {place}` "
            "puts one there"
        )
    listing = insist(what, lambda: _get(store, LISTING, 1 << 20))
    entries = _entries(listing, place)
    folder = (keep or _kept()) / xxhash.xxh3_128_hexdigest(listing)
    if not folder.is_dir():
        with committed_folder(folder) as temporary:
            for name, entry in entries.items():
                fetched = partial(_checked, store, name, entry)
                content = insist(f"{place}/{name} could not be fetched", fetched)
                write_bytes(temporary / name, content)
    return folder


def _public(record: Mapping[str, Any]) -> bytes:
    """Return run.json without the paths of this machine."""
    shards = [{**shard, "path": Path(shard["path"]).name} for shard in record["shards"]]
    return _json({**record, "shards": shards})


def _json(value: Any) -> bytes:
    text = json.dumps(finite(value), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    return (text + "\n").encode()


def _put(store: Store, name: str, content: bytes) -> None:
    store.write(name, iter([content]))
    if store.read(name) != content:
        store.remove(name)
        raise TransferError("it came back changed")


def _entries(listing: bytes, place: str) -> dict[str, dict[str, Any]]:
    """Read the list of files; only names of ours, so that no path leads elsewhere."""
    try:
        value = json.loads(listing)
        entries: dict[str, dict[str, Any]] = value["files"]
        known = value["format"] == FORMAT and set(NEEDED) <= set(entries) <= set(FILES)
        sound = known and all(
            0 <= e["bytes"] <= LARGEST and e["xxh3_128"] for e in entries.values()
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{place}/{LISTING}: damaged ({error})") from error
    if not sound:
        raise CheckpointError(f"{place}/{LISTING}: not the list of a run of format {FORMAT}")
    return entries


def _checked(store: Store, name: str, entry: Mapping[str, Any]) -> bytes:
    content = _get(store, name, entry["bytes"])
    found = (len(content), xxhash.xxh3_128_hexdigest(content))
    if found != (entry["bytes"], entry["xxh3_128"]):
        raise TransferError(f"it is not what {LISTING} says")
    return content


def _get(store: Store, name: str, most: int) -> bytes:
    """Read a file of at most so many bytes."""
    pieces: list[bytes] = []
    for piece in store.pieces(name):
        pieces.append(piece)
        if sum(map(len, pieces)) > most:
            raise TransferError("it is longer than it should be")
    return b"".join(pieces)


def _kept() -> Path:
    """Return the folder of fetched runs."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "featcache" / "runs"
