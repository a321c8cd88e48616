"""The backbone that made a cache, loaded again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from featcache.backbone import BackboneSpec
from featcache.errors import FingerprintMismatchError
from featcache.storage.fingerprint import differences

if TYPE_CHECKING:
    from featcache.backbone import Backbone
    from featcache.storage.manifest import Manifest


def load_backbone_of(
    manifest: Manifest, *, device: str = "cpu", precision: Any = "auto", **changes: Any
) -> Backbone:
    """Load the backbone that made a cache, and make sure that it is the same.

    Args:
        manifest: The cache's.
        device: Where to run it.
        precision: As `featcache.backbone.load_backbone`.
        **changes: Fields of ``BackboneSpec`` that differ here, such as the path of ``pretrained``.

    Raises:
        FingerprintMismatchError: What was loaded is not what made the cache.
    """
    from featcache.backbone import load_backbone

    given = {name: value for name, value in changes.items() if value is not None}
    spec = BackboneSpec.from_dict({**manifest.backbone, **given})
    backbone = load_backbone(spec, device=device, precision=precision)
    found = list(differences(dict(manifest.fingerprint.backbone), backbone.identity))
    if found:
        lines = "\n".join(f"  {name}: {a!r} and {b!r}" for name, a, b in found)
        raise FingerprintMismatchError(
            f"this backbone is not the one that made the features:\n{lines}\n"
            "Give --pretrained, --model-config, --projection and --text-weights what was used."
        )
    return backbone
