"""Models of the transformers library for the closer tests; the benchmarks build many more."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.transformers_models.making import IDS, Maker  # noqa: E402 - found by the line above
from benchmarks.transformers_models.models import MODELS as ALL  # noqa: E402 - as above

__all__ = ["IDS", "MODELS"]

NAMES = (
    *("gpt2", "t5", "bart", "mixtral", "mamba", "rwkv", "llama", "gpt_neox", "phi", "falcon"),
    *("bert", "deberta", "vit", "convnext"),
)
MODELS: dict[str, Maker] = {name: ALL[name] for name in NAMES}
