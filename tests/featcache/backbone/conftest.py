"""Tiny seeded models of each tower family, registered once with OpenCLIP."""

import json

import pytest

from featcache.backbone import Backbone, BackboneSpec, load_backbone

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}

CONFIGS = {
    "tiny-vit": {
        "embed_dim": 24,
        "vision_cfg": {
            "image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8,
        },
        "text_cfg": TEXT,
    },
    "tiny-vit-avg": {
        "embed_dim": 24,
        "vision_cfg": {
            "image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8,
            "pool_type": "avg", "final_ln_after_pool": True, "no_ln_pre": True,
        },
        "text_cfg": {**TEXT, "proj_bias": True, "no_causal_mask": True, "pool_type": "last"},
        "custom_text": True,
    },
    "tiny-convnext-mlp": {
        "embed_dim": 24,
        "vision_cfg": {
            "timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "mlp",
            "timm_drop_path": 0.1, "image_size": 96,
        },
        "text_cfg": TEXT,
    },
    "tiny-convnext-linear": {
        "embed_dim": 24,
        "vision_cfg": {
            "timm_model_name": "test_convnext", "timm_pool": "avg", "timm_proj": "linear",
            "image_size": 96,
        },
        "text_cfg": TEXT,
    },
    "tiny-convnext-fc": {
        "embed_dim": 24,
        "vision_cfg": {
            "timm_model_name": "test_convnext", "timm_pool": "avg", "timm_proj": "",
            "image_size": 96,
        },
        "text_cfg": TEXT,
    },
    "tiny-timm-vit": {
        "embed_dim": 24,
        "vision_cfg": {
            "timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "linear",
            "image_size": 160,
        },
        "text_cfg": TEXT,
    },
    "tiny-resnet": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32},
        "text_cfg": TEXT,
    },
}  # fmt: skip


@pytest.fixture(scope="session")
def config_file(tmp_path_factory):
    """Return a function: the JSON file of one of the tiny configs."""
    folder = tmp_path_factory.mktemp("configs")
    for name, config in CONFIGS.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    return lambda name: str(folder / f"{name}.json")


@pytest.fixture(scope="session")
def tiny(config_file):
    """Return a function: a tiny backbone, seeded unless told otherwise, built once per spec."""
    built: dict[BackboneSpec, Backbone] = {}

    def build(name: str, pretrained: str = "seed:0", **options: object) -> Backbone:
        spec = BackboneSpec(model_config=config_file(name), pretrained=pretrained, **options)
        if spec not in built:
            built[spec] = load_backbone(spec)
        return built[spec]

    return build
