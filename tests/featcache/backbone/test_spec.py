import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.backbone import DEMO_NAME, BackboneSpec
from featcache.backbone.spec import Projection
from featcache.errors import BackboneError


def test_the_default_is_convnext_large_at_320():
    spec = BackboneSpec()
    assert (spec.name, spec.pretrained) == ("convnext_large_d_320", "laion2b_s29b_b131k_ft_soup")
    assert (spec.projection, spec.token_pool, spec.seed) == ("clip", 1, None)


@given(
    projection=st.one_of(
        st.sampled_from(["clip", "none", "checkpoint:/a/b.pt"]),
        st.integers(0, 2**63 - 1).map("random:{}".format),
    ),
    token_pool=st.integers(1, 9),
    seed=st.integers(0, 2**63 - 1),
)
def test_a_spec_survives_its_dictionary(projection, token_pool, seed):
    spec = BackboneSpec(
        name=DEMO_NAME, pretrained=f"seed:{seed}", projection=projection, token_pool=token_pool
    )
    assert BackboneSpec.from_dict(spec.to_dict()) == spec
    assert spec.seed == seed


def test_a_config_names_the_model_unless_a_name_is_given():
    assert BackboneSpec(model_config="a/my-vit.json", pretrained="seed:1").name == "my-vit"
    assert BackboneSpec(model_config="a/b.json", name="c", pretrained="seed:1").name == "c"


def test_a_hub_model_brings_its_own_weights():
    assert BackboneSpec(name="hf-hub:laion/some-model").pretrained == ""
    with pytest.raises(BackboneError, match="brings its own weights"):
        BackboneSpec(name="hf-hub:laion/some-model", pretrained="openai")
    with pytest.raises(BackboneError, match="brings its own config"):
        BackboneSpec(name="hf-hub:laion/some-model", model_config="a.json")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "ViT-B-32"}, "--pretrained"),
        ({"model_config": "a.json"}, "--pretrained"),
        ({"pretrained": "seed:"}, "seed:"),
        ({"pretrained": "seed:-1"}, "seed:"),
        ({"pretrained": f"seed:{2**63}"}, "seed:"),
        ({"token_pool": 0}, "--token-pool"),
        ({"projection": "mlp"}, "unknown token projection"),
        ({"projection": "random"}, "unknown token projection"),
        ({"projection": "random:x"}, "unknown token projection"),
        ({"projection": "checkpoint:"}, "unknown token projection"),
        ({"projection": "clip:1"}, "unknown token projection"),
    ],
)
def test_a_senseless_spec_is_refused(fields, message):
    with pytest.raises(BackboneError, match=message):
        BackboneSpec(**fields)


def test_an_unknown_setting_is_refused():
    with pytest.raises(BackboneError, match="color"):
        BackboneSpec.from_dict({"name": "x", "pretrained": "seed:0", "color": 1})


def test_a_checkpoint_path_may_hold_colons():
    assert Projection.parse("checkpoint:C:/a:b.pt").file == "C:/a:b.pt"


def test_importing_the_package_does_not_import_torch():
    script = (
        "import sys, featcache.backbone as b; b.BackboneSpec(); "
        "assert not {'torch', 'open_clip', 'timm'} & set(sys.modules); "
        "b.load_backbone; assert 'torch' in sys.modules"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
