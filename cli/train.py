"""`adapter train`: settings from options, progress, a summary."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.backbone import Device, PrecisionOption
from cli.cluster import Address, CpusPerTask, GpusPerTask, TaskEngine, side_by_side
from cli.console import STOPPED, again, fail, say, say_next
from cli.places import new_run, unfinished_run
from cli.preset import choose_preset
from cli.progress import progress
from cli.training import Display, comes_next, summarize

if TYPE_CHECKING:
    from adapter.data.comparisons import ComparisonTable
    from adapter.settings import TrainConfig

Caches = Annotated[
    list[Path] | None,
    typer.Option(
        "--shards",
        help="A cache. Give it several times to mix data sets.  [required]",
        show_default=False,
    ),
]
Queries = Annotated[
    list[str] | None,
    typer.Option(
        "--query",
        help="Use only this query, or all queries like `*age*`. Give it several times for more.",
    ),
]
Tasks = Annotated[list[str] | None, typer.Option("--task", help="The same, by the name of a task.")]

EXAMPLES = """Train an adapter on the features of a cache.

If it was stopped, add `--resume` to the same command: it goes on. The result is the same as
without the stop, bit for bit on one device.

**Examples**

`adapter train --shards cache/ava`

On two data sets: `adapter train --shards cache/coco --shards cache/ava --out runs/mixed
--steps 20000`

One run for each of three folds and three seeds: `adapter train --shards cache/hci --out runs/hci
--folds 0,1,2 --seeds 0,1,2`

With the paper's reported settings, and changes: `adapter train --shards cache/ava --out runs/paper
--preset paper --set model.relation_tokens=4 --set loss.ranking=hinge --set optim.clip_norm=null`

From answers about pairs of images: `adapter train --shards cache/holiday --comparisons answers.csv`

Write all settings to a file: `adapter train --preset paper --print-config > mine.toml`

Train with the settings of a file: `adapter train --config mine.toml --shards cache/ava`

Train with the settings of another run: `adapter train --config runs/ava --shards cache/hci`

Four runs in parallel on one GPU: `adapter train --shards cache/ava --seeds 0,1,2,3 --engine ray
--gpus-per-task 0.25`

One run on four GPUs of this machine: `adapter train --shards cache/ava --processes 4`

One run on two machines, with the same command on both: `torchrun --nnodes 2 --nproc-per-node 4
--rdzv-backend c10d --rdzv-endpoint HOST:29400 -m cli.adapter train --shards cache/ava
--out runs/ava`
"""


def train(
    ctx: typer.Context,
    caches: Caches = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The folder of the run.  [default: runs/NAME, by the name of the cache; "
            "runs/NAME-2 if that is taken]",
            show_default=False,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="The sum of adapter and regression (best), or the settings of the authors' code "
            "(released) or of the paper's text (paper).  [default: best; released where there is "
            "nothing to add, such as with --comparisons]",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[int, typer.Option(help="Number of updates of the weights.")] = 2000,
    batch_size: Annotated[
        int, typer.Option(help="Images per step, of all processes together.")
    ] = 64,
    lr: Annotated[float, typer.Option(help="The highest learning rate of the schedule.")] = 2e-4,
    width: Annotated[
        int | None,
        typer.Option(help="Channels inside the adapter.  [default: 768; with --preset paper 512]"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, batches and dropout.")] = 0,
    comparisons: Annotated[
        Path | None,
        typer.Option(
            help="A table of answers about pairs of images, with or without labels in the cache. "
            "Its columns are left, right, answer and question.",
            show_default=False,
        ),
    ] = None,
    query: Queries = None,
    task: Tasks = None,
    split: Annotated[str, typer.Option(help="Splits to train on, such as train,val.")] = "train",
    fold: Annotated[int | None, typer.Option(help="Train on the labels of this fold.")] = None,
    folds: Annotated[
        str, typer.Option(help="Train and evaluate one run for each fold, such as 0,1,2.")
    ] = "",
    seeds: Annotated[
        str, typer.Option(help="Train and evaluate one run for each seed, such as 0,1,2.")
    ] = "",
    validate_every: Annotated[
        int, typer.Option(help="Steps between validations. 0: no validation.")
    ] = 0,
    patience: Annotated[
        int, typer.Option(help="Stop after this many validations without improvement. 0: never.")
    ] = 0,
    source: Annotated[
        str, typer.Option(help="Where tokens are kept during training: disk, ram, device, or auto.")
    ] = "auto",
    verify_rows: Annotated[
        bool,
        typer.Option(
            "--verify-rows", help="Check the checksum of features when they are first read."
        ),
    ] = False,
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="SECTION.FIELD=VALUE: any setting of model, loss, train, sampling or optim; see "
            "docs/training.md. Give it several times for more.",
        ),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            min=1,
            help="Number of processes, one per GPU. They share each batch; the result is that of "
            "one process.",
        ),
    ] = 1,
    engine: TaskEngine = "local",
    address: Address = None,
    gpus_per_task: GpusPerTask = None,
    cpus_per_task: CpusPerTask = None,
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="Read settings from a TOML file, or from the folder of a run. Options of the "
            "command line come first.",
            show_default=False,
        ),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print all settings as a TOML file, and exit.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the run in --out. Without --out: with the newest run that was "
            "stopped.",
        ),
    ] = False,
) -> None:
    """See EXAMPLES."""
    from adapter.network.config import AdapterConfig
    from adapter.network.losses import LossConfig
    from adapter.settings import OptimConfig, SamplingConfig, TrainConfig
    from cli import configfile
    from cli.settings import build, parse

    file = configfile.read(config_file) if config_file else configfile.Given()
    told = {name for name in ctx.params if _is_told(ctx, name)}
    given = file.under(told, parse(set_ or []))
    preset, note = choose_preset(preset or file.preset, given, compared=comparisons is not None)
    fields = given["model"] if width is None else {"width": width, **given["model"]}
    model = getattr(AdapterConfig, preset)(**fields)
    loss = getattr(LossConfig, preset)(**given["loss"])
    sampling = build(SamplingConfig, "sampling", given["sampling"], batch_size=batch_size)
    optim = build(OptimConfig, "optim", given["optim"], lr=lr)
    config = build(
        TrainConfig,
        "train",
        given["train"],
        stack_parts=getattr(TrainConfig, preset)().stack_parts,
        steps=steps,
        seed=seed,
        queries=tuple(query or ()),
        tasks=tuple(task or ()),
        split=tuple(split.split(",")),
        fold=fold,
        validate_every=validate_every,
        patience=patience,
        source=source,
        verify_rows=verify_rows,
        device=device,
        precision=precision,
        sampling=sampling,
        optim=optim,
    )
    if print_config:
        sections = {"model": model, "loss": loss, "train": config}
        print(configfile.write(preset, {**sections, "sampling": sampling, "optim": optim}), end="")
        return
    if not caches:
        raise typer.BadParameter("give --shards CACHE, a cache that `featcache extract` wrote")
    table = None
    if comparisons is not None:
        from adapter.data.comparisons import read_comparisons

        table = read_comparisons(comparisons)
    from adapter.training.launch import launched

    folder = out or _choose_folder(caches, resume=resume)
    members = _numbers(folds, "--folds")
    if note and _first() and (processes == 1 or not launched()):
        say(note)
    try:
        if processes > 1 and not launched():
            _launch(folder, processes, [] if out else ["--out", str(folder)])
        elif engine != "local" and not (members or seeds):
            raise typer.BadParameter("--engine ray is for several runs: give --seeds or --folds")
        elif members or seeds:
            tasks = {"address": address, "gpus_per_task": gpus_per_task}
            tasks |= {"cpus_per_task": cpus_per_task}
            _sweep(
                *(caches, folder, model, loss, config, table, members, seeds),
                resume=resume,
                engine=engine,
                tasks=tasks,
            )
        else:
            _one(caches, folder, model, loss, config, table, resume=resume)
    except KeyboardInterrupt:
        _stopped(folder)


def _is_told(ctx: typer.Context, option: str) -> bool:
    """Tell whether an option was given, and not left to its default."""
    source = ctx.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def _choose_folder(caches: list[Path], *, resume: bool) -> Path:
    """Return the folder of a run that has no ``--out``."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise typer.BadParameter("--out is needed with torchrun: its processes share one folder")
    return unfinished_run(caches) if resume else new_run(caches)


def _launch(folder: Path, processes: int, more: list[str]) -> None:
    """Start this command again, several times, with more options."""
    from adapter.errors import ProcessError
    from adapter.training.launch import launch

    try:
        launch([sys.executable, "-m", "cli.adapter", *sys.argv[1:], *more], processes)
    except ProcessError as error:
        fail(f"{error}. Go on with: {again(out=folder, resume=True)}")


def _stopped(folder: Path) -> None:
    """Say how a run goes on that a signal has ended."""
    if not _first():
        sys.exit(STOPPED)
    fail(f"stopped; go on with: {again(out=folder, resume=True)}", code=STOPPED)


def _first() -> bool:
    """Tell whether this process speaks for all that train together."""
    return os.environ.get("RANK", "0") == "0"


def _one(
    caches: list[Path],
    out: Path,
    model: Any,
    loss: Any,
    config: TrainConfig,
    table: ComparisonTable | None,
    *,
    resume: bool,
) -> None:
    """One run."""
    from adapter.training.train import train as run

    with progress() as display:
        show = Display(display)
        summary = run(
            caches, out, model, loss, config, comparisons=table, on_event=show, resume=resume
        )
    if _first():
        summarize(summary, config.steps)
    if summary.interrupted:
        _stopped(out)
    say_next(*comes_next(summary.folder, caches))


def _sweep(
    caches: list[Path],
    out: Path,
    model: Any,
    loss: Any,
    config: TrainConfig,
    table: ComparisonTable | None,
    folds: list[int],
    seeds: str,
    *,
    resume: bool,
    engine: str,
    tasks: dict[str, Any],
) -> None:
    """One run per fold and seed, each evaluated; prints mean and spread."""
    from adapter.training.sweep import train_sweep

    with progress() as display:
        show = Display(display)
        summary = train_sweep(
            caches,
            out,
            model,
            loss,
            config,
            comparisons=table,
            seeds=_numbers(seeds, "--seeds") or [config.seed],
            folds=folds or [config.fold],
            on_event=show,
            on_member=lambda m: say(f"{m.title}: {m.summary.folder}") if _first() else None,
            resume=resume,
            spread=side_by_side(display, "runs, side by side", engine, **tasks),
        )
    if not _first():
        if summary.interrupted:
            _stopped(out)
        return
    print(summary.spread.to_markdown(), end="")
    for note in summary.spread.notes:
        say(f"note: {note}")
    if summary.interrupted:
        _stopped(out)
    if summary.members:
        say_next("adapter", "report", summary.members[0].summary.folder)


def _numbers(text: str, flag: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")] if text else []
    except ValueError as error:
        raise typer.BadParameter(f"{flag} {text}: expected whole numbers, such as 0,1,2") from error
