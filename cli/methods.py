"""`adapter methods` and `adapter fit`: every method of the papers on a cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.backbone import ConfigAgain, Device, PretrainedAgain
from cli.console import say, say_next, table
from cli.progress import progress
from cli.settings import texts_of, value_of
from featcache.wording import quantity


def methods() -> None:
    """List the methods that `adapter fit` knows: needs, source and license of each.

    **Example**

    `adapter methods`
    """
    from adapter.methods.registry import METHODS

    table(
        "methods",
        ["name", "method", "needs", "source", "license of the authors' code"],
        [[m.name, m.title, m.needs, m.source, m.license] for m in METHODS.values()],
    )


def fit(
    method: Annotated[
        str, typer.Argument(help="Name of the method; `adapter methods` lists them.")
    ],
    cache: Annotated[Path, typer.Option("--shards", help="The cache.")],
    query: Annotated[
        str, typer.Option(help="The query to learn; the cache must have labels for it.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The folder to write.  [default: fits/METHOD]"),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="FIELD=VALUE: a setting of the method. Give it several times for more."
        ),
    ] = None,
    antonyms: Annotated[
        tuple[str, str] | None,
        typer.Option(
            help="Two opposite prompts, for methods that need them.  [default: made from the "
            "query]",
            metavar="HIGH LOW",
        ),
    ] = None,
    scale: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="Lowest and highest possible label.  [default: those of the data set, else the "
            "lowest and highest training label]",
            metavar="LOW HIGH",
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Splits to learn from, such as train,val.")] = "train",
    fold: Annotated[
        int | None, typer.Option(help="The fold to learn from, if the data set has several.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Take few training steps, for a check in a minute.")
    ] = False,
    device: Device = "auto",
    pretrained: PretrainedAgain = None,
    model_config: ConfigAgain = None,
) -> None:
    """Fit a method to one query of a cache, for `adapter eval` and `adapter rank`.

    If it was stopped, give the same command again: it goes on.

    **Examples**

    `adapter fit ridge --shards cache/ages --query "sort images by the person's age."`

    `adapter fit clip-iqa-plus --shards cache/koniq10k --query "sort images by the image quality
    of mean opinion score." --scale 0 100 --out fits/koniq`
    """
    from adapter.errors import ConfigError
    from adapter.methods.fitted import fit_method
    from adapter.names import clean_names
    from featcache.devices import pick_device
    from featcache.reading.cache import Cache

    values: dict[str, Any] = {}
    for assignment in settings or ():
        name, separator, text = assignment.partition("=")
        if not separator:
            raise ConfigError(f"--set {assignment}: expected FIELD=VALUE")
        values[name.replace("-", "_")] = value_of(text)
    target = out or Path("fits") / method
    with progress() as display:
        summary = fit_method(
            method,
            Cache.open(cache),
            texts_of([query], "--query")[0],
            target,
            settings=values,
            split=clean_names(split, commas=True),
            fold=fold,
            seed=seed,
            antonyms=antonyms,
            scale=scale,
            quick=quick,
            device=str(pick_device(device)),
            pretrained=pretrained,
            model_config=model_config,
            on_progress=lambda done, steps: display.show(
                f"fitting {method}", done, steps, unit="steps", before=done
            ),
        )
    say(
        f"{method}: fitted to {quantity(summary.images, 'image')} in {summary.seconds:.1f} s; "
        f"it is in {summary.folder}"
    )
    say_next("adapter", "eval", summary.folder, "--shards", cache)
