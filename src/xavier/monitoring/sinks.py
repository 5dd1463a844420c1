"""Where samples go: files, loggers, functions, lists."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from logging import Logger
from pathlib import Path
from typing import Any

from xavier._errors import TargetError, a
from xavier._types.sample import Sample
from xavier.monitoring.files import JsonLines, require_samples

Sink = Callable[[Sample], object]


def sinks_of(to: Any) -> tuple[Sink, ...]:
    """Return what writes a sample to `to`.

    Args:
        to: A path, for JSON lines; a list, to append to; an object with `add_scalar` (a
            SummaryWriter of TensorBoard), `log_metrics` (a logger of Lightning) or `log` (a run of
            W&B); a function of a sample; or a tuple of these.

    Raises:
        TargetError: If it is none of these, or a file that holds something else.
    """
    if isinstance(to, tuple):
        return tuple(sink for each in to for sink in sinks_of(each))
    if isinstance(to, str | os.PathLike):
        path = Path(to)
        require_samples(path)
        return (JsonLines(path.absolute()),)
    if isinstance(to, list):
        return (_Kept(to),)
    for name, kind in _KINDS.items():
        if callable(getattr(to, name, None)) and not isinstance(to, Logger):
            return (kind(to),)
    if callable(to):
        return (to,)
    raise TargetError(
        f"samples cannot be written to {a(type(to).__name__)}, expected a path, a list, a "
        "function, or an object with add_scalar, log_metrics or log",
        hint="such as to='signal.jsonl', or a SummaryWriter of torch.utils.tensorboard",
    )


@dataclass(frozen=True, slots=True)
class _Kept:
    # The list's own method would still append to the old list in a copy of a monitor.
    samples: list[Sample]

    def __call__(self, sample: Sample) -> None:
        self.samples.append(sample)


@dataclass(frozen=True, slots=True)
class _TensorBoard:
    writer: Any

    def __call__(self, sample: Sample) -> None:
        for name, value in sample.scalars().items():
            self.writer.add_scalar(name, value, sample.step)
        flush = getattr(self.writer, "flush", None)
        if flush is not None:
            flush()


@dataclass(frozen=True, slots=True)
class _Metrics:
    logger: Any

    def __call__(self, sample: Sample) -> None:
        self.logger.log_metrics(sample.scalars(), step=sample.step)


@dataclass(frozen=True, slots=True)
class _Run:
    run: Any

    def __call__(self, sample: Sample) -> None:
        self.run.log(sample.scalars(), step=sample.step)


_KINDS: dict[str, Callable[[Any], Sink]] = {
    "add_scalar": _TensorBoard,
    "log_metrics": _Metrics,
    "log": _Run,
}
