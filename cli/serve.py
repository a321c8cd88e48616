"""`adapter serve`: the page for people with photos."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.backbone import (
    ColorOption,
    ConfigAgain,
    Device,
    MaxFailures,
    PairsOption,
    PretrainedAgain,
)
from cli.console import say
from cli.extract import shown_on
from cli.progress import progress

if TYPE_CHECKING:
    from adapter.stored import StoredRun
    from featcache.reading.cache import Cache

EXAMPLES = """Open a page in the browser to rank, teach, cull and take away photos.

It needs the extra `serve`: `pip install 'featcache[serve]'`.

Only this machine can open the page (127.0.0.1). With another `--host`, the address contains a
token: everybody who has the address can see the photos and give stars. Stars, answers, trained
heads and exports are kept in `--state`. Nothing is written into your folder of photos, except an
export that you confirm.

**Examples**

With a run: `adapter serve runs/ages --shards cache/photos --root photos`

Without a run: `adapter serve --images holiday`

Without a run, with a first ranking: `adapter serve --images holiday --attribute quality
--antonyms "A calm place." "A busy place."`
"""


def serve(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of runs. Without any, the page ranks by prompts alone."),
    ] = None,
    caches: Annotated[Path | None, typer.Option("--shards", help="A cache of the photos.")] = None,
    images: Annotated[
        Path | None, typer.Option(help="Or a folder of photos. Their features are made first.")
    ] = None,
    attributes: Annotated[
        list[str] | None,
        typer.Option(
            "--attribute",
            help="Begin with a ranking by an attribute of CLIP-IQA, such as quality or brightness. "
            "Give it several times for more.",
        ),
    ] = None,
    antonyms: Annotated[
        tuple[str, str] | None,
        typer.Option(help="Begin with a ranking by two opposite prompts.", metavar="HIGH LOW"),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="With --shards: the folder of the photos, to show them.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address that the page is served on.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port. 0: a free one.", min=0, max=65535)] = 8000,
    state: Annotated[
        Path | None,
        typer.Option(
            help="The folder for stars, answers and exports.  "
            "[default: ~/.local/share/featcache/ID]",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            help="The folder for the features of --images.  "
            "[default: ~/.cache/featcache/images/ID]",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    max_failures: MaxFailures = 0.25,
    pretrained: PretrainedAgain = None,
    model_config: ConfigAgain = None,
    backbone: Annotated[
        str,
        typer.Option(
            help="With --images, without a run: the backbone, as in `featcache extract`.",
            show_default=False,
        ),
    ] = "",
    color: ColorOption = "",
    pairs: PairsOption = "",
) -> None:
    """See EXAMPLES."""
    from adapter.errors import ConfigError
    from adapter.methods.ranker import chosen_pairs
    from adapter.serve.session import Session
    from adapter.stored import StoredRun
    from featcache.reading.cache import Cache

    _require_extra()
    opposites = chosen_pairs(attributes or (), antonyms, None)
    if (images is None) == (caches is None):
        raise ConfigError("give either --images, a folder, or --shards, a cache")
    if caches is not None and (color or pairs):
        raise ConfigError(
            "--color and --pairs are for --images; the features of a cache exist already"
        )
    if runs and color:
        raise ConfigError("a run sees photos as in its training: leave out --color")
    loaded: dict[str, StoredRun] = {}
    for folder in runs or []:
        loaded[_name(folder, loaded)] = StoredRun.load(folder)
    changes = {
        name: value
        for name, value in (("pretrained", pretrained), ("model_config", model_config))
        if value is not None
    }
    if images is not None:
        place = keep or _user("XDG_CACHE_HOME", ".cache") / "images" / _key(images)
        options = {"pairs": pairs} if pairs else {}
        how = {"name": backbone, "color": color}
        cache = _extract(images, place, loaded, device, max_failures, how, changes, options)
    else:
        assert caches is not None  # one of the two is given, see above
        cache = Cache.open(caches)
    kept = state or _user("XDG_DATA_HOME", ".local/share") / cache.identity
    session = Session.open(
        cache,
        images or root,
        loaded,
        kept,
        _user("XDG_CACHE_HOME", ".cache") / "thumbnails",
        device=device,
        backbone=changes,
    )
    for high, low in opposites:
        session.engine.add(high, "similarity", low)
    try:
        _run(session, host, port, kept)
    finally:
        session.close()


def _require_extra() -> None:
    """Say how to get what the page needs, where it is not there."""
    from importlib.util import find_spec

    from adapter.errors import ConfigError

    if missing := [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]:
        raise ConfigError(
            f"{' and '.join(missing)} is not installed: pip install 'featcache[serve]'"
        )


def _run(session: object, host: str, port: int, kept: Path) -> None:
    """Serve until Ctrl-C."""
    import socket
    from typing import Any, cast

    import uvicorn

    from adapter.serve.app import make_app
    from adapter.serve.security import Address

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)  # whoever opens the address at once waits, and is not refused
        address = Address.of(host, listening.getsockname()[1])
        if address.token:
            say(f"note: {host} is open to others; everybody with this address sees the photos")
        say(f"stars, answers and exports are kept in {kept}")
        print(address.url, flush=True)
        app = make_app(cast("Any", session), address)
        settings = uvicorn.Config(app, log_level="warning", server_header=False)
        uvicorn.Server(settings).run(sockets=[listening])


def _extract(
    images: Path,
    place: Path,
    runs: dict[str, StoredRun],
    device: str,
    max_failures: float,
    how: dict[str, str],
    changes: dict[str, str],
    options: dict[str, str],
) -> Cache:
    """Make features of a folder, or go on with those that are there."""
    from adapter.evaluation.rank import NeededFeatures, extract_folder, features_of
    from featcache.backbone import BackboneSpec
    from featcache.datasets.folder import Folder
    from featcache.extraction.plan import color_for

    with progress() as display:
        display.show("loading the backbone")
        if runs:
            run = next(iter(runs.values()))
            needed = features_of(run, run.queries, **changes)
        else:
            color = color_for(Folder.info, place, how["color"])
            spec = {"pretrained": "", **changes, "name": how["name"], "color": color}
            needed = NeededFeatures(spec=BackboneSpec.build(**spec))
        return extract_folder(
            needed,
            images,
            place,
            device=device,
            max_failures=max_failures,
            on_event=shown_on(display),
            **options,
        )


def _name(folder: Path, taken: dict[str, StoredRun]) -> str:
    """Name a run by its folder, or by its path where two folders have one name."""
    return folder.name if folder.name not in taken else str(folder)


def _key(folder: Path) -> str:
    """Name the cache of a folder of photos."""
    import hashlib

    digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    return f"{folder.resolve().name}-{digest}"


def _user(variable: str, default: str) -> Path:
    """Return this program's folder among those of the user."""
    base = os.environ.get(variable)
    return (Path(base) if base else Path.home() / default) / "featcache"
