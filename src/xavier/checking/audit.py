"""Look at the weights themselves: no data, no pass through the model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xavier import laws
from xavier._types.laws import Constant, TruncatedNormal
from xavier._types.plan import Assignment, Plan, Role
from xavier._types.signal import Finding, Severity
from xavier.checking import arrays
from xavier.checking.arrays import HUGE, TINY, Facts
from xavier.checking.cures import init_line

ALPHA = 1e-3  # of one false finding on a model whose weights have their laws, after Holm
_DUPLICATE = "duplicate"
_MATERIAL = 1.05  # a ratio of stds that matters, however surely it differs from 1


class Stored(Protocol):
    """A named array of a model, as a framework's folder yields them."""

    @property
    def name(self) -> str: ...  # noqa: D102 - what it is, its name says
    @property
    def kind(self) -> str: ...  # noqa: D102 - what it is, its name says
    @property
    def array(self) -> NDArray[Any]: ...  # noqa: D102 - what it is, its name says
    @property
    def frozen(self) -> bool: ...  # noqa: D102 - what it is, its name says


def audit(
    stored: Iterable[Stored],
    *,
    used: Iterable[str] = (),
    plan: Plan | None = None,
    severity: Severity = Severity.NOTE,
) -> tuple[Finding, ...]:
    """Return what is wrong with a model's weights by themselves.

    Args:
        stored: The model's arrays; each is looked at once and let go, and again where two
            look alike; of an iterator all are kept.
        used: Names of the weights that enter a contraction; only these must break symmetry.
        plan: What each region's law should be; without it no law is held against a weight.
        severity: Of a weight that is sound in itself and does not follow the plan.

    Returns:
        Findings in the model's order; those on standard deviations after Holm's correction
        over all regions, at a level of one in a thousand for the model.
    """
    stored = tuple(stored) if isinstance(stored, Iterator) else stored
    auditor = _Auditor(frozenset(used), plan, severity)
    for item in stored:
        auditor.look(item)
    if auditor.alike:
        auditor.compare(stored)
    return (*auditor.findings, *auditor.off_plan())


def unregistered(paths: Iterable[tuple[str, str]]) -> tuple[Finding, ...]:
    """Return findings on tensors that modules hold outside their parameters.

    Args:
        paths: Path and kind, `plain` or `stale`.

    Returns:
        One finding each.
    """
    return tuple(_unregistered(path, kind) for path, kind in paths)


def unwritten(buffers: Iterable[tuple[str, tuple[int, ...]]]) -> tuple[Finding, ...]:
    """Return findings on buffers that are zero and to which their owners give other values.

    Args:
        buffers: Name and shape.
    """
    return tuple(_unwritten(name, shape) for name, shape in buffers)


def _unwritten(name: str, shape: tuple[int, ...]) -> Finding:
    text = (
        f"{shape}: all elements of the buffer are zero, where its owner gives it other values: "
        "this looks like memory that was never written"
    )
    return Finding("uninitialized", Severity.WARNING, name, text, _rebuild(name))


def _unregistered(path: str, kind: str) -> Finding:
    owner, _, name = path.rpartition(".")
    module = f"model.{owner}" if owner else "model"
    if kind == "stale":
        return Finding(
            "parametrization-forgotten",
            Severity.ERROR,
            path,
            "is no longer computed from its parametrization's parameters: training them "
            "will not change it",
            f'torch.nn.utils.parametrizations.weight_norm({module}, "{name}")',
        )
    return Finding(
        "unregistered-weight",
        Severity.WARNING,
        path,
        "asks for a gradient and is neither parameter nor buffer: no optimizer, state dict "
        "or .to() reaches it",
        f"{module}.{name} = torch.nn.Parameter({module}.{name}.detach())",
    )


class _Auditor:
    """A walk over the arrays; keeps fingerprints and p-values, never an array."""

    def __init__(self, used: frozenset[str], plan: Plan | None, severity: Severity) -> None:
        self.findings: list[Finding] = []
        self.alike: set[str] = set()
        self._used = used
        self._severity = severity
        self._fingerprints: dict[tuple[object, ...], str] = {}
        self._tests: list[tuple[float, Finding]] = []
        self._planned: dict[str, list[Assignment]] = {}
        for assignment in plan.assignments if plan else ():
            self._planned.setdefault(assignment.name, []).append(assignment)

    def look(self, item: Stored) -> None:
        """Audit one array."""
        if not item.array.size:
            return
        if item.kind == "buffer":
            self._buffer(item)
            return
        facts = arrays.facts(item.array)
        found = (
            _nonfinite(item, facts) or _uninitialized(item, facts) or self._constant(item, facts)
        )
        if found is not None:
            self.findings.append(found)
            return
        if item.array.ndim > 1 and not facts.constant:
            self._copies(item)
            if item.kind == "constrained":
                return  # its size is the constraint's, not a draw's
            for assignment in self._planned.get(item.name, ()):
                self._against_law(item, facts, assignment)

    def _buffer(self, item: Stored) -> None:
        facts = arrays.facts(item.array)
        finding = _uninitialized(item, facts)
        if math.isnan(facts.largest):
            # Minus infinity is a mask's right; NaN is nobody's.
            bad = int(np.isnan(item.array).sum())
            text = f"{bad} of {item.array.size} elements of the buffer are NaN"
            finding = Finding("nonfinite", Severity.ERROR, item.name, text, _rebuild(item.name))
        if finding is not None:
            self.findings.append(finding)

    def _constant(self, item: Stored, facts: Facts) -> Finding | None:
        matrix = item.array.ndim > 1 and item.name in self._used
        if not matrix or item.array.shape[0] < 2 or not facts.constant:  # noqa: PLR2004 - one unit has no other to equal
            return None
        value = float(item.array.flat[0])
        if value == 0:
            text = f"{item.array.shape}: all elements are zero, so it passes no signal yet"
            return Finding("zero-weight", Severity.NOTE, item.name, text)
        severity = Severity.NOTE if item.frozen else Severity.ERROR
        code = "constant-frozen" if item.frozen else "constant"
        text = (
            f"{item.array.shape}: all elements are {value:.6g}, so that all units compute "
            "the same; expected a random law"
        )
        return Finding(code, severity, item.name, text, init_line(only=item.name))

    def _copies(self, item: Stored) -> None:
        if item.name not in self._used and item.name not in self._planned:
            return  # decay rates and the like may be the same in every layer
        parts = arrays.repeats(item.array)
        if parts > 1:
            text = (
                f"{item.array.shape}: its {parts} parts along axis 1 are equal to the bit, as "
                "shards are that were drawn with one seed; expected all to differ"
            )
            cure = init_line(only=item.name)
            self.findings.append(
                Finding("repeated-shards", Severity.WARNING, item.name, text, cure)
            )
        equal, first, second = (
            arrays.equal_rows(item.array) if item.name in self._used else (0, 0, 0)
        )
        if equal:
            text = (
                f"{item.array.shape}: {equal} output units have the weights of another one "
                f"(such as {first} and {second}); expected all to differ"
            )
            cure = init_line(only=item.name)
            self.findings.append(
                Finding("identical-units", Severity.WARNING, item.name, text, cure)
            )
        other = self._fingerprints.setdefault(arrays.fingerprint(item.array), item.name)
        if other != item.name:
            self.alike |= {other, item.name}
            self.findings.append(_duplicate(item, other))

    def compare(self, stored: Iterable[Stored]) -> None:
        """Look again at what looks alike, and say so only of what is equal to the bit."""
        firsts: dict[tuple[tuple[int, ...], bytes], str] = {}
        equal: dict[str, Finding] = {}
        for item in stored:
            if item.name in self.alike:
                key = item.array.shape, arrays.digest(item.array)
                other = firsts.setdefault(key, item.name)
                if other != item.name:
                    equal[item.name] = _duplicate(item, other)
        self.findings = [
            equal[each.path] if each.code == _DUPLICATE else each
            for each in self.findings
            if each.code != _DUPLICATE or each.path in equal
        ]

    def _against_law(self, item: Stored, facts: Facts, assignment: Assignment) -> None:
        array = _region(item.array, assignment)
        if array is None or isinstance(assignment.law, Constant):
            return
        expected = laws.std(assignment.law, assignment.shape)
        if not (expected > 0 and math.isfinite(expected)) or array.size < 2:  # noqa: PLR2004 - one number has no spread
            return
        actual = facts.std if array is item.array else arrays.std(array)
        ratio = actual / expected
        finding = self._off_plan_finding(item, assignment, actual, expected)
        near = 1 / _MATERIAL <= ratio <= _MATERIAL
        self._tests.append((1.0 if near else _chi_square_p(ratio**2, array.size), finding))
        if near and isinstance(assignment.law, TruncatedNormal):
            largest = facts.largest if array is item.array else float(np.abs(array).max())
            self._truncation(item, assignment, largest)

    def _off_plan_finding(
        self, item: Stored, assignment: Assignment, actual: float, expected: float
    ) -> Finding:
        part = f" {assignment.region}" if assignment.region.ranges else ""
        text = (
            f"{assignment.shape}{part}: std {actual:.4g}, {actual / expected:.3g} times the "
            f"{expected:.4g} of {assignment.rule}"
        )
        code = "std-off-recipe"
        if assignment.role is Role.RESIDUAL and actual > expected:
            code = "residual-unscaled"
            text += ", which counts the writes to the residual stream"
        return Finding(code, self._severity, item.name, text, init_line(only=item.name))

    def _truncation(self, item: Stored, assignment: Assignment, largest: float) -> None:
        bound = max(abs(edge) for edge in laws.support(assignment.law))
        if largest > bound * 1.01:
            text = (
                f"{assignment.shape}: largest element {largest:.4g}, beyond the bound "
                f"{bound:.4g} of {assignment.law}: the bounds cut nothing"
            )
            cure = init_line(only=item.name)
            self.findings.append(Finding("truncation-dead", self._severity, item.name, text, cure))

    def off_plan(self) -> Iterator[Finding]:
        """Yield the regions whose standard deviation differs, by Holm's correction."""
        order = sorted(range(len(self._tests)), key=lambda i: self._tests[i][0])
        rejected: set[int] = set()
        for rank, i in enumerate(order):
            if self._tests[i][0] > ALPHA / (len(order) - rank):
                break
            rejected.add(i)
        yield from (finding for i, (_, finding) in enumerate(self._tests) if i in rejected)


def _duplicate(item: Stored, other: str) -> Finding:
    text = f"{item.array.shape}: equals {other} to the bit without being tied to it"
    return Finding(_DUPLICATE, Severity.WARNING, item.name, text, init_line(only=item.name))


def _nonfinite(item: Stored, facts: Facts) -> Finding | None:
    if math.isfinite(facts.largest):
        return None
    nan, infinite = int(np.isnan(item.array).sum()), int(np.isinf(item.array).sum())
    text = f"{item.array.shape}: {nan} NaN and {infinite} infinite of {item.array.size} elements"
    cure = init_line(only=item.name)
    return Finding("nonfinite", Severity.ERROR, item.name, text, cure)


def _uninitialized(item: Stored, facts: Facts) -> Finding | None:
    odd = arrays.uninitialized(item.array, facts, mask=item.kind == "buffer")
    if odd is None:
        return None
    huge, tiny = odd
    text = (
        f"{item.array.shape}: {huge} elements beyond {HUGE:g} and {tiny} below {TINY:g} that "
        "are not zero: this looks like memory that was never written"
    )
    cure = _rebuild(item.name) if item.kind == "buffer" else init_line(only=item.name)
    return Finding("uninitialized", Severity.ERROR, item.name, text, cure)


def _rebuild(name: str) -> str:
    owner = name.rpartition(".")[0]
    return f"model.{owner}.reset_parameters()" if owner else "model.reset_parameters()"


def _region(array: NDArray[Any], assignment: Assignment) -> NDArray[Any] | None:
    region = assignment.region
    if region.axis is not None:
        if region.ranges[-1][1] > array.shape[region.axis]:
            return None
        along = np.moveaxis(array, region.axis, 0)
        parts = [along[start:stop] for start, stop in region.ranges]
        picked = parts[0] if len(parts) == 1 else np.concatenate(parts)
        array = np.moveaxis(picked, 0, region.axis)
    return array if array.shape == assignment.shape else None


def _chi_square_p(ratio: float, size: int) -> float:
    """Return the two-sided p-value of a ratio of sample variance to a law's, size elements.

    The chi-square law by the cube root of Wilson and Hilferty, 1931, good to three digits
    in the tails used here. It is the normal law's; lighter tails vary less.
    """
    degrees = size - 1
    spread = 2 / (9 * degrees)
    z = (ratio ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    return math.erfc(abs(z) / math.sqrt(2))
