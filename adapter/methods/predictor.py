"""Fitted methods as plain data: arrays and numbers that can be saved, loaded and applied anywhere.

    predictor = RidgeProbe().fit(data)
    predictor.predict(data.vectors, data.test.rows).values     float64 [n], in the labels' unit
    save_predictor(folder, predictor)
    load_predictor(folder).predict(ImageVectors(other_cache), rows)

A predictor is a frozen dataclass. Its fields are NumPy arrays, dictionaries of arrays, numbers,
texts, tuples of texts, or None; nothing in it belongs to the cache that it was fitted on.
``method.json`` holds the class and the plain values, ``method.safetensors`` the arrays. Nothing is
pickled.
"""

from __future__ import annotations

import dataclasses
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from adapter.errors import CheckpointError, CheckpointNotFoundError
from adapter.record import read_document
from featcache.storage.durable import make_folders, write_bytes, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from adapter.methods.method import Predictor

METHOD_FILE = "method.json"
ARRAYS_FILE = "method.safetensors"
FORMAT = 1

# Class name -> module; what `method.json` may name, so that a file never chooses what is imported.
PREDICTORS = {
    "AdapterPredictor": "adapter.methods.adapter",
    "AntonymScale": "adapter.methods.clip_iqa",
    "CaptionPredictor": "adapter.methods.clip_tuned",
    "CosineClassifier": "adapter.methods.zero_shot",
    "LinearPredictor": "adapter.methods.linear",
    "NumClipPredictor": "adapter.methods.numclip",
    "RidgePredictor": "adapter.methods.ridge",
    "TmcrPredictor": "adapter.methods.tmcr",
}


def save_predictor(
    folder: Path, predictor: Predictor, record: Mapping[str, Any] | None = None
) -> None:
    """Write ``method.safetensors`` and then ``method.json``, each whole or not at all.

    Args:
        folder: Where; made when it is not there.
        predictor: What was fitted.
        record: More JSON values to keep beside it: the query, the method's settings, the
            fingerprint of the features.

    Raises:
        WriteError: The folder cannot be written.
    """
    make_folders(folder)
    arrays, plain = _split(predictor)
    write_bytes(folder / ARRAYS_FILE, save(arrays))
    write_json(
        folder / METHOD_FILE,
        {
            "format": FORMAT,
            **(record or {}),
            "predictor": type(predictor).__name__,
            "values": plain,
            "arrays": sorted(arrays),
        },
    )


def read_method(folder: Path) -> dict[str, Any]:
    """Read ``method.json``.

    Raises:
        CheckpointNotFoundError: There is none.
        CheckpointError: It is damaged, or of another format.
    """
    return read_document(
        folder / METHOD_FILE,
        FORMAT,
        "fitted method",
        f"`adapter fit METHOD --shards CACHE --out {folder}` makes one",
    )


def load_predictor(folder: Path) -> Predictor:
    """Load what :func:`save_predictor` wrote.

    Raises:
        CheckpointNotFoundError: There is none.
        CheckpointError: A file is damaged, or the two do not belong together.
    """
    record = read_method(folder)
    name, path = record.get("predictor"), folder / ARRAYS_FILE
    if name not in PREDICTORS:
        raise CheckpointError(f"{folder / METHOD_FILE}: unknown predictor {name!r}")
    kind = getattr(import_module(PREDICTORS[name]), name)
    try:
        arrays = load_file(path)
        values = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in record["values"].items()
        }
        if sorted(arrays) != record["arrays"]:
            raise CheckpointError(f"{path}: holds {sorted(arrays)}, not {record['arrays']}")
        return cast("Predictor", kind(**values, **_joined(arrays)))
    except FileNotFoundError as error:
        raise CheckpointNotFoundError(f"{path}: missing; fit the method again") from error
    except (OSError, SafetensorError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder}: damaged ({error}); fit the method again") from error


def _split(predictor: Predictor) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """Part the fields of a predictor into arrays and JSON values."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    plain: dict[str, Any] = {}
    for field in dataclasses.fields(cast("Any", predictor)):
        value = getattr(predictor, field.name)
        if isinstance(value, np.ndarray):
            arrays[field.name] = np.ascontiguousarray(value)
        elif isinstance(value, dict):
            found = {f"{field.name}/{key}": np.ascontiguousarray(v) for key, v in value.items()}
            arrays.update(found)
        else:
            plain[field.name] = value
    return arrays, plain


def _joined(arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Put the arrays of a dictionary, saved as ``field/key``, back into one."""
    found: dict[str, Any] = {}
    for name, value in arrays.items():
        field, separator, key = name.partition("/")
        if separator:
            found.setdefault(field, {})[key] = value
        else:
            found[name] = value
    return found
