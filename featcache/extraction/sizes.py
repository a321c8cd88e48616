"""How large a backbone's features are, told from its config alone: no weights are loaded.

For announcing what will be written before anything is; the extraction itself knows exactly.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from featcache.backbone.loading import resolve_config
from featcache.storage.layout import Shapes

if TYPE_CHECKING:
    from featcache.backbone.spec import BackboneSpec

STRIDE = 32  # pixels per patch token of ConvNeXts and ResNets


def expected_shapes(spec: BackboneSpec) -> Shapes:
    """Return the shapes that a cache of this backbone will have, or nearly.

    Channels of tokens that are not projected are taken to be as wide as the embedding.

    Raises:
        BackboneError: There is no such backbone.
    """
    config: dict[str, Any] = resolve_config(spec)
    vision, text = config["vision_cfg"], config["text_cfg"]
    size, width = vision.get("image_size", 224), int(config["embed_dim"])
    side = int(size[0] if isinstance(size, (list, tuple)) else size)
    shapes = Shapes(
        num_tokens=(side // _stride(vision) // spec.token_pool) ** 2,
        token_dim=width,
        pooled_dim=width,
        context_length=int(text.get("context_length", 77)),
        text_dim=int(text.get("width", width)),
    )
    return shapes.without_tokens() if spec.tokens == "none" else shapes


def _stride(vision: dict[str, Any]) -> int:
    """Return the pixels between two patch tokens."""
    if "patch_size" in vision and not isinstance(vision.get("layers"), list):
        return int(vision["patch_size"])
    named = re.search(r"patch(\d+)", str(vision.get("timm_model_name", "")))
    return int(named[1]) if named else STRIDE
