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
TokenPool = Annotated[int, typer.Option(help="K: average K x K neighboring patch tokens.")]
TextWeights = Annotated[
    str | None,
    typer.Option(
        help="Other weights for the text tower: text_tower.safetensors of `adapter convert`.",
        show_default=False,
    ),
]
Resize = Annotated[
    str,
    typer.Option(
        help="squash: to the model's own square; native: not at all; short:N: the shorter side "
        "to N pixels."
    ),
]
DecodeOption = Annotated[
    str,
    typer.Option(
        help="exact; scaled: of large JPEG photos, half, a quarter or an eighth of each side is "
        "decoded, which is much quicker; gpu: JPEG photos are decoded on the GPU. With both, "
        "pixels differ a little, and so do features."
    ),
]
ColorOption = Annotated[
    str,
    typer.Option(
        help="srgb: the colors of an embedded profile (Display P3, Adobe RGB) are converted to "
        "sRGB; stored: numbers are taken as stored, as CLIP's own code does.  [default: srgb for "
        "folders of photos, stored for the papers' data sets]",
        show_default=False,
    ),
]
PairsOption = Annotated[
    str,
    typer.Option(
        "--pairs",
        help="A raw file and its JPEG of the same name: merge, one photo; separate, two.  "
        "[default: merge]",
        show_default=False,
    ),
]
PositionsOption = Annotated[
    str,
    typer.Option(
        help="Of a ResNet or ViT of OpenCLIP: default; none: left out, so that any image size "
        "passes (CLIP-IQA); interpolated: stretched along the list of tokens, as CLIP-IQA's "
        "Table 2 does."
    ),
]
TokensOption = Annotated[
    str,
    typer.Option(
        help="patch: patch tokens and pooled embeddings; none: pooled embeddings alone, which "
        "images of different sizes need."
    ),
]
Device = Annotated[
    str,
    typer.Option(help="Where to compute: cpu, cuda, cuda:N, mps, or auto (CUDA if there is some)."),
]
PrecisionOption = Annotated[
    str, typer.Option(help="fp32, bf16, fp16, or auto: mixed precision on a GPU, fp32 on a CPU.")
]

MaxFailures = Annotated[
    float, typer.Option(help="Share of all images that may fail; above it the extraction stops.")
]


# For commands that load the backbone of a cache again: where its parts are now.
PretrainedAgain = Annotated[
    str | None,
    typer.Option(
        "--pretrained", help="Where the weights are now, if not where the extraction found them."
    ),
]
ConfigAgain = Annotated[
    str | None, typer.Option("--model-config", help="Where the model config is now.")
]
ProjectionAgain = Annotated[
    str | None,
    typer.Option("--projection", help="Where the token projection is now: checkpoint:FILE."),
]
TextWeightsAgain = Annotated[
    str | None, typer.Option("--text-weights", help="Where the text tower's weights are now.")
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
