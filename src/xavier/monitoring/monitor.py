"""The monitor: which steps are watched, what is concluded, and where it goes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xavier._errors import (
    FaultWarning,
    MonitorWarning,
    TargetError,
    TraceError,
    UnknownNameError,
    said,
)
from xavier._types.sample import ActivationSignal, Sample
from xavier._types.signal import Signal, Verdict
from xavier.checking.serving import file_for
from xavier.checking.verdict import healthy_evidence, judge
from xavier.monitoring.sinks import sinks_of


class Monitor:
    """Sample the signal of a training loop every so many steps, from the steps themselves.

        monitor = xavier.Monitor(model, every=100, to="signal.jsonl")
        for inputs, target in data:
            with monitor.step():
                loss = criterion(model(inputs), target)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()

    In a sampled step the first forward pass, its backward pass and the optimizer's step are watched
    as they run: nothing is run once more, drawn, or changed, and the losses are the same to the
    bit. In the others nothing is on the model. Use `xavier.check` before training: its bounds
    were derived for a network at its start, and what they say later is a hint.

    Args:
        model: The model, wrapped or not; may be given later, to `attach`.
        every: How many steps from one sample to the next, at least 1.
        to: A path, for JSON lines; a list; an object with `add_scalar` (TensorBoard),
            `log_metrics` (Lightning) or `log` (W&B); a function of a sample; or a tuple of
            these. None keeps the samples in `samples`.
        on_fault: `"warn"` warns, with a `FaultWarning`, when the verdict turns unhealthy.
        scaler: What scales the loss in mixed precision: an object with `get_scale()`.
        all_ranks: Whether each process of a distributed training samples, not only the first.

    Attributes:
        samples: The samples, if they go nowhere else.
        last: The latest sample, or None.

    Raises:
        TargetError: If `every` is no positive integer, or `to` cannot be written to.
        UnknownNameError: If `on_fault` is another word.
        TraceError: If the model is none of a framework that is loaded.

    Example:
        >>> import torch, xavier
        >>> model = torch.nn.Linear(4, 2)
        >>> monitor = xavier.Monitor(model, every=2)
        >>> for _ in range(3):
        ...     with monitor.step():
        ...         model(torch.ones(3, 4)).sum().backward()
        >>> [sample.step for sample in monitor.samples]
        [0, 2]

    Reference:
        Glorot and Bengio 2010, sections 3 and 4.2, figures 2 to 4.
    """

    def __init__(
        self,
        model: Any = None,
        *,
        every: int = 100,
        to: Any = None,
        on_fault: str | None = None,
        scaler: Any = None,
        all_ranks: bool = False,
    ) -> None:
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise TargetError(f"every is {every!r}, expected a positive number of steps")
        if on_fault not in (None, "warn"):
            raise UnknownNameError("on_fault", str(on_fault), ["warn"])
        self.samples: list[Sample] = []
        self.last: Sample | None = None
        self._every = every
        self._sinks = sinks_of(self.samples if to is None else to)
        self._warns = on_fault == "warn"
        self._scaler = scaler
        self._all_ranks = all_ranks
        self._model: Any = None
        self._next = 0
        self._sampled: int | None = None
        self._watch: Any = None
        self._watching: Any = None
        if model is not None:
            self.attach(model)

    def attach(self, model: Any) -> None:
        """Take a model to watch, in place of the one before.

        Raises:
            TraceError: If it is no model of a framework that is loaded.
        """
        self.cancel()
        self._watching = file_for(model, "watch")
        if model is not self._model:
            self._model, self._next, self._sampled = model, 0, None

    def scale_by(self, scaler: Any) -> None:
        """Take another object that scales the loss; None leaves the one there is."""
        self._scaler = self._scaler if scaler is None else scaler

    @contextmanager
    def step(self, number: int | None = None) -> Iterator[None]:
        """Run the block as one step of training, and sample it if its turn has come.

        If the block raises, everything is taken off the model, and there is no sample.

        Args:
            number: The step's, from 0; None counts on.

        Raises:
            TraceError: If there is no model yet.
        """
        self.begin(number)
        try:
            yield
        except BaseException:
            self.cancel()
            raise
        self.end()

    def begin(self, number: int | None = None) -> bool:
        """Begin a step, and tell whether it is sampled; `end` or `cancel` must follow.

        A step is sampled if it is the first of a model, if since the last sample a multiple of
        `every` has come, or if its number is less than that of the last sample: a new run.

        Args:
            number: As in `step`.

        Raises:
            TraceError: If there is no model yet.
        """
        if self._watch is not None:
            self.cancel()
        number = self._next if number is None else number
        self._next = number + 1
        if not self._is_due(number):
            return False
        if self._model is None:
            raise TraceError(
                "the monitor has no model", hint="xavier.Monitor(model), or monitor.attach(model)"
            )
        if self._watching.rank() and not self._all_ranks:
            return False
        self._sampled = number
        scale = 1.0 if self._scaler is None else float(self._scaler.get_scale())
        self._watch = self._watching.Watch(self._model, loss_scale=scale)
        self._watch.begin()
        return True

    def _is_due(self, number: int) -> bool:
        last, every = self._sampled, self._every
        return last is None or number < last or number // every != last // every

    def end(self) -> Sample | None:
        """End a step: conclude from what was seen, write it, and return it; None if not sampled."""
        if self._watch is None or self._sampled is None:
            return None
        watch, self._watch = self._watch, None
        signal, activations = watch.end()
        sample = _concluded(self._sampled, signal, activations, self._watching.rank())
        before, self.last = self.last, sample
        self._write(sample)
        if self._warns and _is_ill(sample) and not _is_ill(before):
            warnings.warn(str(sample), FaultWarning, stacklevel=2)
        return sample

    def cancel(self) -> None:
        """Give up the step that was begun, and take everything off the model."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _write(self, sample: Sample) -> None:
        for sink in self._sinks:
            try:
                sink(sample)
            except OSError as error:
                told = f"step {sample.step} could not be written: {said(error)}"
                warnings.warn(told, MonitorWarning, stacklevel=3)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the step that is being watched: a copy or a file begins with the next."""
        return {**self.__dict__, "_watch": None, "_watching": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._watching = None if self._model is None else file_for(self._model, "watch")


def _concluded(
    step: int, signal: Signal, activations: tuple[ActivationSignal, ...], rank: int
) -> Sample:
    faults = judge(signal) if signal.ops else ()
    if faults:
        verdicts = tuple(fault.verdict for fault in faults)
        where, evidence = faults[0].where, faults[0].evidence
    else:
        verdicts = (Verdict.HEALTHY,) if signal.ops else ()
        where, evidence = "", healthy_evidence(signal) if signal.ops else "no op was seen"
    return Sample(
        step=step,
        verdict=verdicts[0] if verdicts else None,
        verdicts=verdicts,
        where=where,
        evidence=evidence,
        signal=signal,
        activations=activations,
        rank=rank,
    )


def _is_ill(sample: Sample | None) -> bool:
    return sample is not None and sample.verdict not in (None, Verdict.HEALTHY)
