"""What a forward pass needs, counted on tensors without content: any size costs nothing here."""

from __future__ import annotations

import weakref
from collections import Counter
from typing import Any

import pytest
import torch
from open_clip.model import QuickGELU
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import VisionTransformer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from featcache.backbone.towers import make_tower
from featcache.images.preprocess import MOST_PIXELS

GIB = 1 << 30


class Peak(TorchDispatchMode):
    """Counts the bytes of all tensors that are alive, and remembers the most."""

    def __init__(self) -> None:
        super().__init__()
        self.users: Counter[int] = Counter()  # tensors on each storage
        self.now = self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if not self.users[key]:
                    self.now += size
                    self.most = max(self.most, self.now)
                self.users[key] += 1
                weakref.finalize(tensor, self._gone, key, size)
        return out

    def _gone(self, key: int, size: int) -> None:
        self.users[key] -= 1
        if not self.users[key]:
            self.now -= size


def resnet50() -> ModifiedResNet:
    return ModifiedResNet(layers=[3, 4, 6, 3], output_dim=1024, heads=32, image_size=224, width=64)


def vit_b_16() -> VisionTransformer:
    """Two of its twelve layers: one is gone when the next begins."""
    return VisionTransformer(
        image_size=224, patch_size=16, width=768, layers=2, heads=12, mlp_ratio=4,
        output_dim=512, act_layer=QuickGELU,
    )  # fmt: skip


def needed(make: Any, height: int, width: int, positions: Any = "none") -> int:
    """Bytes of weights, images and everything in between, at the worst moment."""
    with torch.device("meta"), torch.inference_mode():
        visual = make().eval()
        tower = make_tower(visual, "tower", positions)
        weights = sum(p.numel() * p.element_size() for p in visual.parameters())
        images = torch.zeros(1, 3, height, width)
        with Peak() as peak:
            _, pooled = tower(images)
    assert pooled.shape[0] == 1
    return weights + images.numel() * images.element_size() + peak.most


@pytest.mark.parametrize("make", [resnet50, vit_b_16])
@pytest.mark.parametrize("positions", ["none", "interpolated"])
def test_twelve_megapixels_fit_a_card_of_eight_gigabytes(make: Any, positions: Any):
    # 2 GiB are left to the driver, the libraries' workspace and the pixels before `normalize`.
    assert needed(make, 3000, 4000, positions) < 6 * GIB


def test_memory_grows_with_pixels_and_no_faster():
    small, large = needed(resnet50, 1024, 1024), needed(resnet50, 2048, 2048)
    assert small < large < 4.1 * small


def test_the_largest_image_fits_a_machine_of_24_gigabytes():
    assert needed(resnet50, 4096, MOST_PIXELS // 4096) < 12 * GIB
