"""Frozen CLIP backbones, through OpenCLIP's own loading path.

    backbone = load_backbone(BackboneSpec(), device="cuda", precision="auto")
    features = backbone.encode_images(images)    # tokens [B, P, C], pooled [B, E]
    prompts = backbone.encode_prompts(["a photo of a cat."])    # tokens [n, T, D], pooled [n, E]

Importing this package does not import torch; the first use of `load_backbone` does.
"""

from typing import TYPE_CHECKING, Any

from featcache.backbone.spec import DEMO_NAME, BackboneSpec

if TYPE_CHECKING:
    from featcache.backbone.model import Backbone, ImageFeatures, PromptFeatures, load_backbone

__all__ = [
    "DEMO_NAME",
    "Backbone",
    "BackboneSpec",
    "ImageFeatures",
    "PromptFeatures",
    "load_backbone",
]


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for (PEP 562)."""
    if name in ("Backbone", "ImageFeatures", "PromptFeatures", "load_backbone"):
        from featcache.backbone import model

        return getattr(model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
