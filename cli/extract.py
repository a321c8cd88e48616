"""`featcache extract`: announce, show progress, sum up."""

from __future__ import annotations

import shlex
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.backbone import (
    BackboneName,
    ColorOption,
    DecodeOption,
    Device,
    MaxFailures,
    ModelConfig,
    PairsOption,
    PositionsOption,
    PrecisionOption,
    Pretrained,
    ProjectionOption,
    Resize,
    TextWeights,
    TokensOption,
    load,
)
from cli.cluster import (
    Actors,
    Address,
    CpusPerActor,
    EngineName,
    GpusPerActor,
    Patience,
    connection,
    on_ray,
)
from cli.console import command, duration, options, say, say_next, size
from cli.places import CACHES, find_dataset
from cli.progress import progress, working
from cli.settings import texts_of
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cli.progress import Progress
    from featcache.backbone import Backbone
    from featcache.datasets.base import Dataset
    from featcache.datasets.records import DefaultBackbone
    from featcache.distributed.settings import ClusterConfig
    from featcache.extraction.counting import ExtractEvent
    from featcache.extraction.extract import ExtractSummary
    from featcache.extraction.plan import ExtractConfig

EXAMPLES = """Run the frozen backbone over a data set once, and keep the features in a cache.

If the extraction was stopped, give the same command again: it goes on. If images were added,
changed or removed, give the same command again: the cache follows. `--dry-run` shows what would
be done.

**Examples**

A folder of photos: `featcache extract --dataset folder --root photos --out cache/photos`

Photos with a table of labels: `featcache extract --dataset table --root photos
--option table=ages.csv --out cache/ages`

A data set in data/ava, into cache/ava: `featcache extract --dataset ava`

With flipped images too, on a GPU: `featcache extract --dataset ava --root /data/ava
--views original,hflip --device cuda`

With your own model: `featcache extract --dataset folder --root photos --out cache/photos
--model-config my-vit.json --pretrained my-vit.safetensors --token-pool 2`

For CLIP-IQA: `featcache extract --dataset folder --root photos --out cache/looks
--backbone RN50-quickgelu --pretrained openai --resize native --positions none --tokens none`

For a converted checkpoint of the paper's authors: `featcache extract --dataset ava
--root /data/ava --projection checkpoint:released/token_projection.safetensors
--text-weights released/text_tower.safetensors`

On all GPUs of this machine: `featcache extract --dataset ava --engine ray`

On a cluster (see docs/scaling.md): `featcache extract --dataset ava --root /shared/ava
--out /shared/cache/ava --engine ray --address auto`
"""

# How an adapter learns from drawn scenes in minutes on a CPU; `make demo` gives the same options.
DRAWN = shlex.split(
    "--preset best --steps 340 --batch-size 12 --lr 2e-3 --width 128 --set model.blocks=1 "
    "--set model.post_blocks=0 --set model.prompt_tokens=4 --set model.mlp_ratio=2 "
    "--set model.pair_layers=1 --set model.standardize=true --set loss.regression_weight=1 "
    "--set optim.amsgrad=false --set 'optim.betas=[0.9, 0.98]' --set train.stack_parts=5 "
    "--set train.stack_steps=1 --set train.stack_once=true --set sampling.queries_per_batch=22"
)


def extract(
    dataset: Annotated[str, typer.Option(help="Name of the data set; see `featcache datasets`.")],
    root: Annotated[
        Path | None,
        typer.Option(
            help="The data set's folder.  [default: $FEATCACHE_DATA/DATASET or data/DATASET]",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The cache's folder.  [default: cache/DATASET]")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            help="An option of the data set, name=value; `featcache datasets NAME` lists them."
        ),
    ] = None,
    backbone: BackboneName = "",
    pretrained: Pretrained = "",
    model_config: ModelConfig = None,
    projection: ProjectionOption = "clip",
    token_pool: Annotated[
        int | None,
        typer.Option(
            help="Average each square of K x K patch tokens.  [default: 1]",
            metavar="K",
            show_default=False,
        ),
    ] = None,
    text_weights: TextWeights = None,
    resize: Resize = "squash",
    decode: DecodeOption = "exact",
    color: ColorOption = "",
    pairs: PairsOption = "",
    positions: PositionsOption = "default",
    tokens: TokensOption = "patch",
    views: Annotated[
        str,
        typer.Option(
            help="Views to store: original, or original,hflip.  [default: original]",
            show_default=False,
        ),
    ] = "",
    dtype: Annotated[str, typer.Option(help="How tokens are stored: float16, float32 or int8.")] = (
        "float16"
    ),
    batch_size: Annotated[
        str,
        typer.Option(
            help="Largest number of images per forward pass. auto: as many as the GPU holds.",
            metavar="N|auto",
        ),
    ] = "32",
    workers: Annotated[
        int, typer.Option(help="Threads that decode images. 0: one per CPU core.")
    ] = 0,
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    shard_size: Annotated[int, typer.Option(help="Images per shard.")] = 512,
    limit: Annotated[
        int | None, typer.Option(help="Extract only the first N images.", metavar="N")
    ] = None,
    max_failures: MaxFailures = 0.25,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            help="Add a prompt. The queries of the labels are always added. Give it several times "
            "for more."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="A name for the cache.  [default: the name of the data set]")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and write nothing.")
    ] = False,
    part: Annotated[
        str,
        typer.Option(
            help="Make only part I of N, on one of N machines; `featcache merge` joins the parts.",
            metavar="I/N",
        ),
    ] = "",
    engine: EngineName = "local",
    address: Address = None,
    actors: Actors = None,
    gpus_per_actor: GpusPerActor = None,
    cpus_per_actor: CpusPerActor = None,
    patience: Patience = None,
) -> None:
    """See EXAMPLES."""
    from featcache.backbone import BackboneSpec
    from featcache.datasets.records import DefaultBackbone
    from featcache.extraction.plan import ExtractConfig, color_for
    from featcache.storage.durable import require_writable

    cluster = on_ray(
        engine,
        address=address,
        actors=actors,
        gpus_per_actor=0.0 if device == "cpu" and engine == "ray" else gpus_per_actor,
        cpus_per_actor=cpus_per_actor,
        patience=patience,
    )
    out = out or CACHES / dataset
    given = options(option or [], "--option") | ({"pairs": pairs} if pairs else {})
    reader = find_dataset(dataset, root, given)
    named = bool(backbone or pretrained or model_config)
    default = DefaultBackbone() if named else reader.backbone
    config = ExtractConfig.build(
        views=tuple(view.strip() for view in views.split(",") if view.strip()) or default.views,
        dtype=dtype,
        batch_size=_batch_size(batch_size),
        workers=workers,
        shard_size=shard_size,
        limit=limit,
        max_failures=max_failures,
        prompts=tuple(texts_of(prompt, "--prompt")),
        part=_part(part),
        name=name,
    )
    spec = BackboneSpec.build(
        name=backbone or default.name,
        pretrained=pretrained or default.pretrained,
        model_config=model_config,
        projection=projection,
        token_pool=_token_pool(token_pool, tokens, default),
        text_weights=text_weights,
        resize=resize,
        decode=decode,
        color=color_for(reader.info, out, color),
        positions=positions,
        tokens=tokens,
    )
    reader.require()  # a folder that is wrong is told before the backbone is loaded
    require_writable(out)
    with working("listing images"):
        total = len(reader.images()[:limit])
        notes = reader.notes()
    for note in notes:
        say(f"{reader.info.title}: {note}")
    with ExitStack() as stack:
        if cluster and not dry_run:
            precision = stack.enter_context(connection(cluster, precision))
        model = load(spec, device, precision)
        if dry_run:
            say(f"{out}: {plan(reader, out, model, config)}")
            return
        announce(reader, model, config, out, total)
        summary = with_progress(reader, out, model, config, cluster)
    summarize(summary, reader, model, config)


def announce(
    dataset: Dataset, backbone: Backbone, config: ExtractConfig, out: Path, total: int
) -> None:
    """Say what will be done, and how much of the disk it takes."""
    from featcache.extraction.checks import free_bytes
    from featcache.storage.layout import Shapes, bytes_per_image

    shapes = Shapes.of(backbone)
    each = bytes_per_image(shapes, views=len(config.views), dtype=config.dtype)
    needed = each * total // (config.part[1] if config.part else 1)
    features = (
        f"{shapes.num_tokens} x {shapes.token_dim} patch tokens in {config.dtype}"
        if shapes.num_tokens
        else f"{shapes.pooled_dim} numbers in float32, without patch tokens"
    )
    there = sum(file.stat().st_size for file in out.rglob("*.h5")) if out.exists() else 0
    say(
        f"{dataset.title}: {quantity(total, 'image')}, {quantity(len(config.views), 'view')} of "
        f"{features}\n"
        f"backbone {backbone.spec.name} on {backbone.device} ({backbone.precision})\n"
        f"needs {size(needed)} in {out} ({size(there)} there already), "
        f"{size(free_bytes(out))} free"
    )


def plan(dataset: Dataset, out: Path, backbone: Backbone, config: ExtractConfig) -> str:
    """Return what there is to do, in words."""
    from featcache.extraction.extract import plan_extraction

    with progress() as display:

        def show(event: ExtractEvent) -> None:
            display.show("comparing", event.done, event.total, unit="files")

        return str(plan_extraction(dataset, out, backbone, config, show))


def with_progress(
    dataset: Dataset,
    out: Path,
    backbone: Backbone,
    config: ExtractConfig,
    cluster: ClusterConfig | None = None,
) -> ExtractSummary:
    """Extract, here or on a cluster, and show how far it is."""
    from featcache.distributed.engine import RayEngine
    from featcache.extraction.engine import in_this_process
    from featcache.extraction.extract import extract as run

    engine = RayEngine(cluster=cluster) if cluster else in_this_process
    with progress() as display:
        return run(dataset, out, backbone, config, shown_on(display), engine)


LONG = 600  # seconds from which on it is worth saying how long an extraction takes


def shown_on(display: Progress) -> Callable[[ExtractEvent], None]:
    """Return what shows the events of an extraction."""
    started = time.monotonic()
    told = False

    def estimate(event: ExtractEvent) -> None:
        """After the first shard, say how long the others take, where that is long."""
        nonlocal told
        done, left = event.done - event.resumed, event.total - event.done
        seconds = time.monotonic() - started
        if not told and done and (rest := left * seconds / done) >= LONG:
            say(
                f"{done / seconds:.1f} images/s so far, so about {duration(rest)} for the other "
                f"{quantity(left, 'image')}"
            )
        told = True

    def show(event: ExtractEvent) -> None:
        nonlocal started
        if event.kind == "compare":
            display.show("comparing", event.done, event.total, unit="files")
            return
        if event.kind == "note":
            say(event.text)
            return
        if event.kind == "start":
            started = time.monotonic()
        elif event.kind == "shard":
            estimate(event)
        if event.kind == "start" and event.growth:
            say(f"changes since the last time: {event.growth}")
        elif event.kind == "start" and event.resumed:
            say(f"going on: {quantity(event.resumed, 'image')} done before")
        if event.kind == "finish":
            display.show("writing tables and prompts")
            return
        display.show(
            "extracting",
            event.done,
            event.total,
            unit="images",
            note=", ".join(_facts(event)),
            before=event.resumed,
        )

    return show


def _facts(event: ExtractEvent) -> Iterator[str]:
    """Say what is worth telling beside the numbers of images."""
    if event.workers:
        yield f"{quantity(event.workers, 'worker')}"
    if event.retried:
        yield f"{quantity(event.retried, 'shard')} retried"
    if event.failed:
        yield f"{event.failed:,} failed"


def summarize(
    summary: ExtractSummary, dataset: Dataset, backbone: Backbone, config: ExtractConfig
) -> None:
    """Say how it ended, and what comes next."""
    say(
        f"done: {quantity(summary.images, 'image')} ({summary.reused:,} from an earlier run), "
        f"{quantity(summary.labels, 'label')}, {quantity(summary.prompts, 'prompt')}, "
        f"{size(summary.bytes)} in "
        f"{summary.out}, {duration(summary.seconds)}, {summary.images_per_second:.1f} images/s"
        + ("" if config.batch_size else f", {quantity(summary.batch_size, 'image')} at once")
    )
    for device, rate in sorted(summary.rates.items()):
        say(f"{device}: {rate:.1f} images/s")
    if summary.failed:
        listing = command("featcache", "info", summary.out, "--failures")
        unread = quantity(summary.failed, "image")
        say(f"{unread} could not be read; to see which, and why: {listing}")
    if config.part is not None:
        say(f"next, when all {config.part[1]} parts are made: featcache merge PART... --out CACHE")
    elif not backbone.num_tokens:
        pair = ("--antonyms", "Good photo.", "Bad photo.")
        say_next("adapter", "rank", "--shards", summary.out, *pair)
    elif summary.labels:
        drawn = dataset.info.drawn or dataset.stand_in
        say_next("adapter", "train", "--shards", summary.out, DRAWN if drawn else [])
    else:
        say(
            "no labels: you can rank these images with a run that was trained on the same "
            f"features: adapter rank RUN {command('--shards', summary.out)} --query TEXT"
        )


def _token_pool(given: int | None, tokens: str, default: DefaultBackbone) -> int:
    """Return what was asked for; the data set's default is for caches that hold tokens."""
    if given is not None:
        return given
    return default.token_pool if tokens == "patch" else 1


def _batch_size(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal():
        raise typer.BadParameter(f"--batch-size {text}: expected a number of images, or auto")
    return int(text)


def _part(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    index, separator, count = text.partition("/")
    if not separator or not index.isdecimal() or not count.isdecimal():
        raise typer.BadParameter(f"--part {text}: expected I/N, such as 1/4")
    return int(index), int(count)
