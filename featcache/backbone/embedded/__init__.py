"""`drawn-scenes-clip`: a small CLIP, trained from scratch on drawn scenes, shipped with its recipe.

It is neither OpenAI's CLIP nor one of LAION's: it has seen colored solids and nothing else. The
demo and the miniatures of data sets run on it without any download.

`facts` says what is true of a scene, `captions` puts facts into words, `queries` are the prompts
that order images, `pool` draws scenes ahead, `losses` and `train` are the training, `card`
measures what came of it. `CARD.md` is the model card.
"""

from pathlib import Path

NAME = "drawn-scenes-clip"
CONFIG = Path(__file__).parent / f"{NAME}.json"
WEIGHTS = Path(__file__).parent / f"{NAME}.safetensors"
CARD = Path(__file__).parent / "CARD.md"
