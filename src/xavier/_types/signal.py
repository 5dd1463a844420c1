"""What was measured of a model, and what is concluded from it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from xavier._types import codec, signal_text
from xavier._types.theory import Theory

BINS: Final = 21  # of a histogram

if TYPE_CHECKING:
    from xavier._types.contrast import Contrast
    from xavier._types.cures import Cures


class Verdict(StrEnum):
    """How the signal fares, in order of precedence: the first that holds is the verdict."""

    BROKEN = "broken"  # something is not finite
    ASYMMETRIC = "asymmetric"  # units are copies of each other: symmetry was not broken
    DEAD = "dead"
    EXPLODING = "exploding"
    VANISHING = "vanishing"
    COLLAPSED = "collapsed"  # different inputs have become alike
    SATURATED = "saturated"
    HEALTHY = "healthy"


class Severity(StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Reach:
    """Which shares of a tensor's elements a dtype would lose, rounding to nearest.

    Attributes:
        underflow: The share that is not zero and would become it.
        overflow: The share that is finite and would become infinite.
    """

    underflow: float
    overflow: float


@dataclass(frozen=True, slots=True)
class Reaches:
    """What of a tensor's range the narrow dtypes hold, on at most 1,024 of its elements.

    Attributes:
        float16: From 6e-8 to 65,504.
        bfloat16: From 9e-41 to 3.4e38.
    """

    float16: Reach
    bfloat16: Reach

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return codec.plain(self)


@dataclass(frozen=True, slots=True)
class OpSignal:
    """The signal at one op that holds a weight, or decides what passes, forward and backward.

    Attributes:
        index: Its place in the order of execution, from 0.
        op: What it computes, such as `linear` or `conv2d`.
        path: The path of the module that ran it.
        weights: Canonical names of the parameters it reads; none of a softmax, a norm or a sum.
        shape: The shape of its output.
        mean: Mean of the output.
        std: Standard deviation of the output.
        rms: Root mean square of the output.
        gradient_rms: Of the loss's gradient with respect to the output; None if none came.
        activation: The elementwise function that follows, or empty.
        saturation: Share of elements where that function's derivative is below 0.05 of its
            largest, of a softmax the share of rows; None if no function follows.
        dead: Share of units whose activation is zero for every input; None as above.
        correlation: Mean cosine between the outputs of different inputs of the batch.
        nonfinite: How many output elements are NaN or infinite.
        silent: Whether what multiplies the data is zero everywhere: a weight, or what the model
            makes of several.
        step_gradients: RMS of the gradient at a recurrent layer's input, step by step (of more than
            64 steps at as many); None of any other op.
        rank: Effective rank of its output, inputs and positions by units; None unless it was asked
            for.
        jacobian_mean: Mean singular value of the layer's Jacobian, through the function
            that follows; None unless it was asked for.
        jacobian_rms: RMS singular value, as above.
        histogram: Shares of the output's elements in 21 equal bins from -4 to 4 times their RMS,
            the first and the last with all beyond; None unless it was asked for.
        gradient_histogram: Of the gradient's elements, likewise.
        range: What float16 and bfloat16 would lose of its output; None if it is not known.
        gradient_range: The same of the gradient with respect to it.
    """

    index: int
    op: str
    path: str
    weights: tuple[str, ...]
    shape: tuple[int, ...]
    mean: float
    std: float
    rms: float
    gradient_rms: float | None
    activation: str
    saturation: float | None
    dead: float | None
    correlation: float | None
    nonfinite: int
    silent: bool = False
    step_gradients: tuple[float, ...] | None = None
    rank: float | None = None
    jacobian_mean: float | None = None
    jacobian_rms: float | None = None
    histogram: tuple[float, ...] | None = None
    gradient_histogram: tuple[float, ...] | None = None
    range: Reaches | None = None
    gradient_range: Reaches | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data; see `Check.to_dict` for numbers that are not finite."""
        return codec.plain(self)


@dataclass(frozen=True, slots=True)
class WeightSignal:
    """One parameter: its own size, its gradient's, and the ratio of an update to it.

    Attributes:
        name: Its canonical name.
        shape: Its shape.
        rms: Root mean square of its elements.
        std: Standard deviation of its elements.
        gradient_rms: Of the loss's gradient with respect to it; None if none came.
        update_ratio: `gradient_rms / rms`, a step of gradient descent at learning rate 1.
        twins: Share of output units that are copies of another, in weight and gradient,
            and so must stay copies; None where that has no meaning.
        adam_ratio: The same of Adam's first step at learning rate 1, `g / (|g| + 1e-8)` per
            element: `1 / rms` where the gradient is far above 1e-8. Sampled.
        below_epsilon: Share of the gradient's elements that are not zero and below 1e-8, where
            Adam's own epsilon stops it from making up for their size.
        gradient_range: What float16 and bfloat16 would lose of the gradient.
    """

    name: str
    shape: tuple[int, ...]
    rms: float
    std: float
    gradient_rms: float | None
    update_ratio: float | None
    twins: float | None = None
    adam_ratio: float | None = None
    below_epsilon: float | None = None
    gradient_range: Reaches | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data; see `Check.to_dict` for numbers that are not finite."""
        return codec.plain(self)


LOOKUPS: Final = frozenset({"embedding", "embedding_bag", "lookup"})  # ops that pick rows
NONFINITE_EXAMPLE: Final = "the example itself holds numbers that are not finite"
NONFINITE_OUTPUT: Final = "the model's output holds NaN or infinity"


@dataclass(frozen=True, slots=True)
class Signal:
    """Everything that one forward and one backward pass showed."""

    ops: tuple[OpSignal, ...]
    weights: tuple[WeightSignal, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data; see `Check.to_dict` for numbers that are not finite."""
        return codec.plain(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth knowing, about a weight or an op.

    Attributes:
        code: Its name in the list of findings, such as `std-off-recipe`.
        severity: Error, warning or note.
        path: The parameter's or module's path.
        message: What is wrong, with the number and what was expected.
        cure: What mends it: a line that can be run, or a change to make; may be empty.
    """

    code: str
    severity: Severity
    path: str
    message: str
    cure: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data; see `Check.to_dict` for numbers that are not finite."""
        return codec.plain(self)


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of `xavier.check`.

    Attributes:
        verdict: The first in order of precedence of those that hold.
        verdicts: All that hold.
        where: Path of the first op where it breaks; empty when healthy.
        evidence: The numbers behind the verdict, in one sentence.
        cure: What mends it, as a runnable line or a named change; empty when healthy.
        findings: The audit of the weights.
        signal: What was measured.
        model_digest: The digest of the model's structure, as in a plan; empty if it is not known.
        theory: What the theory expects beside what was measured; None if it was not asked, or the
            model could not be traced.
        strain: How far the signal strays in all: 0 in nothing; at 1 as many of the calibration's
            starts trained as did not, see `docs/calibration.md`. None if it is not finite.
        cures: What `xavier.try_cures` tried; None if nothing was.
        contrast: What changed since a reference; None if it was held against none.
    """

    verdict: Verdict
    verdicts: tuple[Verdict, ...]
    where: str
    evidence: str
    cure: str
    findings: tuple[Finding, ...]
    signal: Signal
    model_digest: str = ""
    theory: Theory | None = None
    strain: float | None = None
    cures: Cures | None = None
    contrast: Contrast | None = None

    def exit_code(self, *, strict: bool = False) -> int:
        """Return what the command line exits with.

        Args:
            strict: Whether a warning counts too.

        Returns:
            0 if the verdict is healthy and no finding is an error, else 1.
        """
        grave = {Severity.ERROR, Severity.WARNING} if strict else {Severity.ERROR}
        found = any(finding.severity in grave for finding in self.findings)
        return int(found or self.verdict is not Verdict.HEALTHY)

    def to_dict(self) -> dict[str, Any]:
        """Return the check as plain data that JSON can hold.

        Returns:
            `format`, `package` and `stream` (the versions of what wrote it and of its bits), and
            the fields. A number that is
            NaN or infinite is the string `"nan"`, `"inf"` or `"-inf"`; None means that it was
            not measured, or has no meaning there.
        """
        head = {
            "format": codec.CHECK_FORMAT,
            "stream": codec.STREAM,
            "package": codec.package_version(),
        }
        theory = None if self.theory is None else self.theory.to_dict()
        return {**head, **codec.plain(self), "theory": theory}

    def to_json(self) -> str:
        """Return the check as JSON text, by the schema in `docs/schema/check.schema.json`."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    def __str__(self) -> str:
        """Return the check in short: verdict, place, evidence, cure, and findings."""
        return signal_text.short(self)

    def _repr_html_(self) -> str:
        return signal_text.html(self)
