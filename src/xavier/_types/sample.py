"""What a monitor saw of one step of training."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any, get_args, get_type_hints

from xavier._errors import TargetError
from xavier._types import codec, text
from xavier._types.signal import OpSignal, Signal, Verdict, WeightSignal

_MEASURES = ("rms", "gradient_rms", "saturation", "dead")
_OF_WEIGHTS = ("rms", "gradient_rms", "update_ratio")


@dataclass(frozen=True, slots=True)
class ActivationSignal:
    """The values of the function that follows an op, on at most 8,192 sampled elements.

    Attributes:
        op: The index of the op among those of the signal.
        function: Its name, such as `tanh`.
        mean: Mean of the finite values.
        std: Standard deviation of them.
        p98: Their 98th percentile.
        low: The least of them, where the histogram begins.
        high: The largest, where it ends.
        counts: How many lie in each of its bins, which are of equal width.
    """

    op: int
    function: str
    mean: float
    std: float
    p98: float
    low: float
    high: float
    counts: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data; see `Check.to_dict` for numbers that are not finite."""
        return codec.plain(self)


@dataclass(frozen=True, slots=True)
class Sample:
    """The signal of one step of training, as the step itself sent it.

    Attributes:
        step: The number of the step, from 0.
        verdict: The first in order of precedence of those that hold; None if no op was seen.
        verdicts: All that hold.
        where: Path of the first op where it breaks; empty when healthy.
        evidence: The numbers behind the verdict, in one sentence.
        signal: As of a check, but that a weight's `gradient_rms` is what the optimizer was given,
            and its `update_ratio` the RMS of what the step really added over the weight's, on at
            most 8,192 sampled elements; None where no optimizer moved it.
        activations: What the functions after the ops gave.
        rank: Of the process, in distributed training.
    """

    step: int
    verdict: Verdict | None
    verdicts: tuple[Verdict, ...]
    where: str
    evidence: str
    signal: Signal
    activations: tuple[ActivationSignal, ...] = ()
    rank: int = 0

    def __str__(self) -> str:
        """Return the sample in one line: step, verdict, place and evidence, safe to print."""
        verdict = "no verdict" if self.verdict is None else self.verdict.value
        place = f" at {self.where}" if self.where else ""
        return text.printable(f"step {self.step}: {verdict}{place}: {self.evidence}")

    def to_dict(self) -> dict[str, Any]:
        """Return the sample as plain data that JSON can hold.

        Returns:
            `format` and `package`, the versions of what wrote it, and the fields; see
            `Check.to_dict` for numbers that are not finite.
        """
        head = {"format": codec.SAMPLE_FORMAT, "package": codec.package_version()}
        return {**head, **codec.plain(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Sample:
        """Return the sample that `to_dict` made `data` of.

        Raises:
            TargetError: If the format is another one, or the fields are not those of a sample.
        """
        told = data.get("format") if isinstance(data, Mapping) else None
        if told != codec.SAMPLE_FORMAT:
            raise TargetError(f"the format is {told!r}, expected {codec.SAMPLE_FORMAT!r}")
        try:
            return _sample(data)
        except (LookupError, TypeError, ValueError) as error:
            raise TargetError(f"a sample cannot be read: {error!r}") from error

    def scalars(self, *, prefix: str = "xavier") -> dict[str, float]:
        """Return every number that a chart over steps can show, by name.

        Args:
            prefix: What all names begin with.

        Returns:
            `healthy` (1 or 0, if there is a verdict), and for ops and weights names such as
            `xavier/rms/body.0.linear` and `xavier/update_ratio/body.0.weight`. Ops of one
            module that compute the same are numbered.
        """
        found: dict[str, float] = {}
        if self.verdict is not None:
            found["healthy"] = float(self.verdict is Verdict.HEALTHY)
        for name, op in _named(self.signal.ops):
            found |= _present(op, name, _MEASURES, "")
        for weight in self.signal.weights:
            found |= _present(weight, weight.name, _OF_WEIGHTS, "weight_")
        return {f"{prefix}/{name}": value for name, value in found.items()}


def _named(ops: tuple[OpSignal, ...]) -> Iterator[tuple[str, OpSignal]]:
    seen: Counter[str] = Counter()
    for op in ops:
        name = f"{op.path}.{op.op}" if op.path else op.op
        seen[name] += 1
        yield (name if seen[name] == 1 else f"{name}_{seen[name]}"), op


def _present(
    noun: OpSignal | WeightSignal, name: str, measures: tuple[str, ...], kind: str
) -> dict[str, float]:
    values = {measure: getattr(noun, measure) for measure in measures}
    return {
        f"{measure if measure == 'update_ratio' else kind + measure}/{name}": float(value)
        for measure, value in values.items()
        if value is not None
    }


def _sample(data: Mapping[str, Any]) -> Sample:
    told, verdict = data["signal"], data["verdict"]
    return Sample(
        step=int(data["step"]),
        verdict=None if verdict is None else Verdict(verdict),
        verdicts=tuple(Verdict(each) for each in data["verdicts"]),
        where=data["where"],
        evidence=data["evidence"],
        signal=Signal(
            ops=tuple(_noun(OpSignal, each) for each in told["ops"]),
            weights=tuple(_noun(WeightSignal, each) for each in told["weights"]),
            notes=tuple(told["notes"]),
        ),
        activations=tuple(_noun(ActivationSignal, each) for each in data["activations"]),
        rank=int(data["rank"]),
    )


def _noun(kind: type[Any], data: Mapping[str, Any]) -> Any:
    """Return a noun of its fields: lists were tuples, and texts for numbers numbers."""
    types = get_type_hints(kind)
    return kind(**{name: _value(value, types[name]) for name, value in data.items()})


def _value(value: Any, kind: Any) -> Any:
    kinds = get_args(kind) or (kind,)
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, Mapping):
        nouns = [each for each in kinds if isinstance(each, type) and is_dataclass(each)]
        return _noun(nouns[0], value)
    if isinstance(value, str) and float in kinds:
        return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[value]
    return value
