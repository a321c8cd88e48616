"""`featcache info`, `prompts` and `labels`."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.backbone import (
    ConfigAgain,
    Device,
    PretrainedAgain,
    ProjectionAgain,
    TextWeightsAgain,
    loader,
)
from cli.console import command, options, out, say, say_next, size, table
from cli.settings import texts_of
from featcache.datasets.stand_in import WORDS
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from featcache.reading.cache import Cache
    from featcache.storage.manifest import Manifest

CacheFolder = Annotated[Path, typer.Argument(help="The cache's folder.", metavar="CACHE")]


def info(
    cache: CacheFolder,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
    failures: Annotated[
        bool, typer.Option("--failures", help="List the images that failed, and why.")
    ] = False,
) -> None:
    """Show what a cache holds: features, labels, prompts, failures, fingerprint.

    If the extraction is not finished, it shows how far it is.

    **Examples**

    `featcache info cache/ava`

    `featcache info cache/ava --failures`

    `featcache info cache/ava --json | jq .fingerprint_digest`
    """
    from featcache.reading.cache import Cache
    from featcache.storage.manifest import Manifest

    manifest = Manifest.read(cache)
    if manifest.complete:
        opened = Cache.open(cache)
        facts, failed = describe(opened), _failures(opened)
    else:
        facts, failed = describe_unfinished(cache, manifest)
    if as_json:
        if failures:
            facts["failures"] = [{"path": path, "reason": reason} for path, reason in failed]
        print(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    backbone = facts["fingerprint"]["backbone"]
    shapes = facts["shapes"]
    table(
        str(cache),
        ["", ""],
        [
            ("name", facts["name"]),
            ("identity", facts["identity"]),
            ("data set", _dataset_in_words(facts["dataset"])),
            *([] if facts["complete"] else [("state", _state(manifest))]),
            ("images", _images(facts)),
            (
                "patch tokens",
                (
                    f"{shapes['num_tokens']} x {shapes['token_dim']} "
                    f"{facts['fingerprint']['dtype']}"
                    if shapes["num_tokens"]
                    else f"none; pooled embeddings of {shapes['pooled_dim']} float32"
                ),
            ),
            ("views", ", ".join(facts["fingerprint"]["views"])),
            ("on disk", f"{size(facts['bytes'])} in {quantity(facts['shards'], 'shard')}"),
            *(
                ("made by", f"{device} (shards {numbers})")
                for device, numbers in facts["made_by"].items()
            ),
            ("backbone", backbone["architecture"]),
            ("options", _as_options(facts["backbone"])),
            ("weights", backbone["weights"]),
            *(
                [
                    ("projection", " ".join(map(str, backbone["projection"].values()))),
                    ("token pool", backbone["token_pool"]),
                ]
                if shapes["num_tokens"]
                else []
            ),
            ("preprocessing", _in_words(facts["fingerprint"]["preprocessing"])),
            ("fingerprint", facts["fingerprint_digest"]),
            *((name, f"{facts[name]:,}") for name in ("prompts", "labels") if name in facts),
        ],
    )
    if facts.get("queries"):
        table(
            "labels",
            ["task", "query", "split", "images", "least", "largest", "folds"],
            [tuple(query.values()) for query in facts["queries"]],
        )
    if failures:
        table("failed images", ["path", "reason"], failed)
    elif facts["failed"]:
        listing = command("featcache", "info", cache, "--failures")
        say(f"{quantity(facts['failed'], 'image')} failed; to see which, and why: {listing}")


def _images(facts: Mapping[str, Any]) -> str:
    """Say how many images there are; of an extraction that goes on, of how many."""
    there, failed, planned = facts["images"], facts["failed"], facts.get("planned")
    if planned is None:
        return f"{there:,}, {failed:,} failed"
    return f"{there:,} of {planned:,} planned, {failed:,} failed"


def _as_options(backbone: Mapping[str, Any]) -> str:
    """Write a backbone's spec as the options of `featcache extract` that ask for it."""
    from featcache.backbone.spec import BackboneSpec

    names = {"name": "backbone"}
    return " ".join(
        f"--{names.get(field.name, field.name).replace('_', '-')} {backbone[field.name]}"
        for field in fields(BackboneSpec)
        if backbone.get(field.name, field.default) != field.default
    )


def _in_words(values: Mapping[str, Any]) -> str:
    """Write settings as ``name value``, comma-separated; numbers to four digits."""

    def text(value: Any) -> str:
        if isinstance(value, (list, tuple)):
            return " ".join(map(text, value))
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    return ", ".join(f"{name} {text(value)}" for name, value in values.items())


def describe(cache: Cache) -> dict[str, Any]:
    """Return what `info` tells, as JSON values."""
    manifest = cache.manifest
    return {
        **_settings(cache.path, manifest),
        "images": len(cache),
        "failed": cache.samples.num_rows - len(cache),
        "shards": len(manifest.shards()),
        "bytes": sum(entry.bytes for entry in manifest.files.values()),
        "prompts": len(cache.prompts),
        "labels": cache.labels.num_rows,
        "queries": _queries(cache),
    }


def describe_unfinished(
    path: Path, manifest: Manifest
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return the same of a cache that is being made, or of a part, and the failures so far."""
    from featcache.reading.unfinished import read_so_far

    so_far = read_so_far(path, manifest)
    facts = {
        **_settings(path, manifest),
        "part": manifest.part.to_dict() if manifest.part else None,
        "images": so_far.images,
        "failed": len(so_far.failures),
        "planned": manifest.planned,
        "shards": so_far.shards,
        "bytes": so_far.bytes,
    }
    return facts, [(record.path, record.error or "") for record in so_far.failures]


def _settings(path: Path, manifest: Manifest) -> dict[str, Any]:
    """Return what was decided before the first image, and who has worked."""
    from featcache.storage.makers import makers

    return {
        "path": str(path),
        "name": manifest.name,
        "identity": manifest.identity,
        "complete": manifest.complete,
        "dataset": dict(manifest.dataset),
        "shapes": manifest.shapes.to_dict(),
        "fingerprint_digest": manifest.fingerprint.digest,
        "fingerprint": manifest.fingerprint.to_dict(),
        "backbone": dict(manifest.backbone),
        "provenance": dict(manifest.provenance),
        "made_by": makers(path),
    }


def _dataset_in_words(source: Mapping[str, Any]) -> str:
    return f"{source['name']} ({WORDS})" if source.get("stand_in") else str(source["name"])


def _state(manifest: Manifest) -> str:
    """Say why this is not a cache that can be read."""
    what = "not finished; the same `featcache extract` goes on"
    if manifest.part is None:
        return what
    if manifest.files:
        what = "finished; `featcache merge` joins the parts"
    return f"part {manifest.part}, {what}"


def _queries(cache: Cache) -> list[dict[str, Any]]:
    """Count labels per task, query and split."""
    groups = cache.labels.group_by(["task", "query", "split"], use_threads=False).aggregate(
        [
            ("sample_id", "count_distinct"),
            ("value", "min"),
            ("value", "max"),
            ("fold", "count_distinct"),
        ]
    )
    return [
        {
            "task": row["task"],
            "query": row["query"],
            "split": row["split"],
            "images": row["sample_id_count_distinct"],
            "least": row["value_min"],
            "largest": row["value_max"],
            "folds": row["fold_count_distinct"],
        }
        for row in groups.to_pylist()
    ]


def _failures(cache: Cache) -> list[tuple[str, str]]:
    import pyarrow.compute as pc

    rows = cache.read_samples("path", "status", "error").filter(pc.field("status") != "ok")
    return [(row["path"], row["error"]) for row in rows.to_pylist()]


def prompts(
    cache: CacheFolder,
    add: Annotated[
        list[str] | None, typer.Option(help="A prompt to add. Give it several times for more.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Add the prompts of a text file, one per line.")
    ] = None,
    device: Device = "auto",
    pretrained: PretrainedAgain = None,
    model_config: ConfigAgain = None,
    projection: ProjectionAgain = None,
    text_weights: TextWeightsAgain = None,
) -> None:
    """List the prompts of a cache, or add some.

    A run can rank a cache by a prompt that the cache holds. To add prompts, only the text tower
    runs.

    **Examples**

    `featcache prompts cache/photos`

    `featcache prompts cache/photos --add "sort images by the number of cats."`
    """
    from featcache.maintenance.relabel import add_texts
    from featcache.reading.cache import Cache

    texts = [*texts_of(add, "--add"), *(_lines(file) if file else [])]
    if texts:
        Cache.open(cache)
        load = loader(
            device,
            pretrained=pretrained,
            model_config=model_config,
            projection=projection,
            text_weights=text_weights,
        )
        count = add_texts(cache, texts, load)
        say(f"{cache} holds {quantity(count, 'prompt')}")
        ranking = command("--shards", cache, "--query", texts[0])
        say(f"next, with a run that was trained on the same features: adapter rank RUN {ranking}")
        return
    for text in Cache.open(cache).prompts:
        print(text)


def _lines(file: Path) -> list[str]:
    from featcache.errors import FeatcacheError

    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FeatcacheError(f"{file}: not text in UTF-8 ({error}); save it as UTF-8") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def labels(
    cache: CacheFolder,
    dataset: Annotated[
        str,
        typer.Option(
            help="Read new labels as this data set's reader does; see `featcache datasets`."
        ),
    ] = "",
    root: Annotated[
        Path | None, typer.Option(help="With --dataset: the folder of the data set.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="With --dataset: an option of the data set, name=value."),
    ] = None,
    append: Annotated[
        bool, typer.Option("--append", help="Keep the old labels, and add the new ones.")
    ] = False,
    device: Device = "auto",
    pretrained: PretrainedAgain = None,
    model_config: ConfigAgain = None,
    projection: ProjectionAgain = None,
    text_weights: TextWeightsAgain = None,
) -> None:
    """Show the labels of a cache, or replace them. Features stay as they are.

    **Examples**

    `featcache labels cache/photos`

    `featcache labels cache/photos --dataset table --root photos --option table=scores.csv`
    """
    from featcache.datasets import open_dataset
    from featcache.maintenance.relabel import relabel
    from featcache.reading.cache import Cache

    opened = Cache.open(cache)
    if not dataset:
        if not (queries := _queries(opened)):
            out().print(f"{cache} has no labels")
            return
        table("", list(queries[0]), [tuple(query.values()) for query in queries])
        return
    if root is None:
        raise typer.BadParameter("--dataset needs --root, the data set's folder")
    reader = open_dataset(dataset, root, **options(option or [], "--option"))
    load = loader(
        device,
        pretrained=pretrained,
        model_config=model_config,
        projection=projection,
        text_weights=text_weights,
    )
    written, left_out = relabel(cache, reader, load, append=append)
    say(
        f"{quantity(written, 'label')} written to {cache}; {left_out:,} of images that it does "
        "not hold"
    )
    say_next("adapter", "train", "--shards", cache)
