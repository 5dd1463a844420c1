"""All models, by kind and by name."""

from __future__ import annotations

from benchmarks.transformers_models.decoders import DECODERS
from benchmarks.transformers_models.encoders import ENCODERS
from benchmarks.transformers_models.experts import EXPERTS
from benchmarks.transformers_models.hearing import HEARING
from benchmarks.transformers_models.making import Maker
from benchmarks.transformers_models.pairs import PAIRS
from benchmarks.transformers_models.recurrent import RECURRENT
from benchmarks.transformers_models.seeing import SEEING

KINDS: dict[str, dict[str, Maker]] = {
    "encoder": ENCODERS,
    "decoder": DECODERS,
    "mixture of experts": EXPERTS,
    "encoder and decoder": PAIRS,
    "vision": SEEING,
    "speech": HEARING,
    "state space or recurrence": RECURRENT,
}
MODELS: dict[str, Maker] = {name: make for kind in KINDS.values() for name, make in kind.items()}
