"""The options that choose a backbone, and loading it with a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.console import errors

if TYPE_CHECKING:
    from featcache.backbone import Backbone, BackboneSpec
    from featcache.manifest import Manifest

BackboneName = Annotated[
    str,
    typer.Option(
        "--backbone",
        help="OpenCLIP model name or hf-hub:OWNER/MODEL. Default: convnext_large_d_320, or the "
        "stem of --model-config.",
        show_default=False,
    ),
]
Pretrained = Annotated[
    str,
    typer.Option(
        help="OpenCLIP tag, local checkpoint file, or seed:N for random weights on purpose. "
        "Default with the default backbone: laion2b_s29b_b131k_ft_soup.",
        show_default=False,
    ),
]
ModelConfig = Annotated[
    str | None,
    typer.Option(help="An OpenCLIP model config of your own, a JSON file.", show_default=False),
]
ProjectionOption = Annotated[
    str, typer.Option(help="Token projection: clip, random:SEED, checkpoint:FILE or none.")
]
TokenPool = Annotated[int, typer.Option(help="K: average K x K neighbouring patch tokens.")]
TextWeights = Annotated[
    str | None,
    typer.Option(
        help="Other weights for the text tower: text_tower.safetensors of `adapter convert`.",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:N, or auto.")]
PrecisionOption = Annotated[
    str, typer.Option(help="fp32, bf16, fp16, or auto: mixed precision on a GPU, fp32 on a CPU.")
]


def pick_device(device: str) -> str:
    """Resolve ``auto``."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def load(spec: BackboneSpec, device: str, precision: Any) -> Backbone:
    """Load a backbone while a message says so."""
    from featcache.backbone import load_backbone

    with errors().status(f"loading {spec.name} ({spec.pretrained or 'its own weights'})"):
        return load_backbone(spec, device=pick_device(device), precision=precision)


def load_again(manifest: Manifest, device: str = "auto", **changes: Any) -> Backbone:
    """Load the backbone that made a cache, while a message says so."""
    from featcache.finish import load_backbone_of

    with errors().status(f"loading {manifest.backbone['name']}"):
        return load_backbone_of(manifest, device=pick_device(device), **changes)
