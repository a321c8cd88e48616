"""The options that choose a backbone, and loading it with a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.progress import working

if TYPE_CHECKING:
    from collections.abc import Callable

    from featcache.backbone import Backbone, BackboneSpec
    from featcache.storage.manifest import Manifest

BackboneName = Annotated[
    str,
    typer.Option(
        "--backbone",
        help="Name of an OpenCLIP model, or hf-hub:OWNER/MODEL.  [default: convnext_large_d_320, "
        "or the file name of --model-config without .json]",
        show_default=False,
    ),
]
Pretrained = Annotated[
    str,
    typer.Option(
        help="The backbone's weights: an OpenCLIP tag, a checkpoint file, or seed:N for random "
        "weights.  [default: for the default backbone laion2b_s29b_b131k_ft_soup]",
        show_default=False,
    ),
]
ModelConfig = Annotated[
    str | None,
    typer.Option(help="Your own OpenCLIP model config, a JSON file.", show_default=False),
]
ProjectionOption = Annotated[
    str,
    typer.Option(
        help="The last linear layer for patch tokens: clip (the backbone's), random:SEED, "
        "checkpoint:FILE, or none."
    ),
]
TokenPool = Annotated[
    int, typer.Option(help="Average each square of K x K patch tokens.", metavar="K")
]
TextWeights = Annotated[
    str | None,
    typer.Option(
        help="Other weights for the text tower: the file text_tower.safetensors that "
        "`adapter convert` writes.",
        show_default=False,
    ),
]
Resize = Annotated[
    str,
    typer.Option(
        help="squash: each image becomes the model's square. native: images keep their size. "
        "short:N: the shorter side becomes N pixels."
    ),
]
DecodeOption = Annotated[
    str,
    typer.Option(
        help="exact: every pixel is decoded. scaled: large JPEG photos are decoded at a half, a "
        "quarter or an eighth of each side, which is much faster. gpu: the GPU decodes JPEG "
        "photos. With scaled and gpu, pixels and features differ a little from exact."
    ),
]
ColorOption = Annotated[
    str,
    typer.Option(
        help="srgb: colors with an embedded profile (Display P3, Adobe RGB) are converted to "
        "sRGB. stored: the profile is ignored, as in CLIP's code.  [default: srgb for folders of "
        "photos, stored for the papers' data sets]",
        show_default=False,
    ),
]
PairsOption = Annotated[
    str,
    typer.Option(
        "--pairs",
        help="A raw file and a JPEG of the same name: merge makes one photo of them, separate "
        "two.  [default: merge]",
        show_default=False,
    ),
]
PositionsOption = Annotated[
    str,
    typer.Option(
        help="Position embeddings of a ResNet or ViT. default: as trained. none: left out, so "
        "that every image size works (CLIP-IQA). interpolated: stretched to the number of "
        "tokens, as in CLIP-IQA's Table 2."
    ),
]
TokensOption = Annotated[
    str,
    typer.Option(
        help="patch: keep patch tokens and pooled embeddings. none: keep pooled embeddings "
        "only; images of different sizes need this."
    ),
]
Device = Annotated[
    str,
    typer.Option(help="Where to compute: cpu, cuda, cuda:N, mps, or auto (CUDA, else the CPU)."),
]
PrecisionOption = Annotated[
    str, typer.Option(help="fp32, bf16, fp16, or auto: mixed precision on a GPU, fp32 on a CPU.")
]

MaxFailures = Annotated[
    float,
    typer.Option(help="Stop when more than this share of all images cannot be read (0 to 1)."),
]


# For commands that load the backbone of a cache again: where its parts are now.
PretrainedAgain = Annotated[
    str | None,
    typer.Option("--pretrained", help="Where the backbone's weights are now, if they were moved."),
]
ConfigAgain = Annotated[
    str | None,
    typer.Option("--model-config", help="Where the model config is now, if it was moved."),
]
ProjectionAgain = Annotated[
    str | None,
    typer.Option(
        "--projection", help="Where the token projection is now, if it was moved: checkpoint:FILE."
    ),
]
TextWeightsAgain = Annotated[
    str | None,
    typer.Option(
        "--text-weights", help="Where the text tower's weights are now, if they were moved."
    ),
]


def load(spec: BackboneSpec, device: str, precision: Any) -> Backbone:
    """Load a backbone while a message says so."""
    from featcache.backbone import load_backbone

    with working(f"loading {spec.name} ({spec.pretrained or 'its own weights'})"):
        return load_backbone(spec, device=device, precision=precision)


def loader(
    device: str,
    *,
    pretrained: str | None,
    model_config: str | None,
    projection: str | None,
    text_weights: str | None,
    same_precision: bool = False,
) -> Callable[[Manifest], Backbone]:
    """Return what loads the backbone that made a cache, from where its parts are now."""

    def load(manifest: Manifest) -> Backbone:
        from featcache.extraction.backbone import load_backbone_of

        with working(f"loading {manifest.backbone['name']}"):
            return load_backbone_of(
                manifest,
                device=device,
                precision=manifest.provenance["precision"] if same_precision else "auto",
                pretrained=pretrained,
                model_config=model_config,
                projection=projection,
                text_weights=text_weights,
            )

    return load
