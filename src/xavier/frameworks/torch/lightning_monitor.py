"""A monitor as a callback of Lightning, under either of its names."""

from __future__ import annotations

import importlib
import sys
from typing import Any

__all__ = ["LightningMonitor"]


def _callback() -> Any:
    """Return the base of callbacks of the package that is in use, or else installed."""
    both = ("lightning.pytorch", "pytorch_lightning")
    name = next((each for each in both if each in sys.modules), None)
    if name is not None:
        return importlib.import_module(name).Callback
    try:
        from lightning.pytorch import Callback  # noqa: PLC0415 - one of two
    except ModuleNotFoundError as error:
        if error.name != "lightning":
            raise
        from pytorch_lightning import Callback  # noqa: PLC0415 - the older name of the same library
    return Callback


class LightningMonitor(_callback()):
    """Sample the signal while a Lightning trainer runs.

        monitor = xavier.Monitor(every=100, to="signal.jsonl")
        trainer = Trainer(callbacks=[xavier.torch.LightningMonitor(monitor)])

    A step is one of the trainer's `global_step`: with accumulated gradients it spans several
    batches, of which the first is observed.

    Args:
        monitor: The `xavier.Monitor`; it takes the trainer's module as its model.
    """

    def __init__(self, monitor: Any) -> None:
        super().__init__()
        self.monitor = monitor
        self._begun: int | None = None

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Take the module as the model."""
        self._begun = None
        self.monitor.attach(pl_module)
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        self.monitor.scale_by(scaler)

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Begin a step, unless the last one has not come to the optimizer yet."""
        del pl_module, batch, batch_idx
        if self._begun is None:
            self._begun = trainer.global_step
            self.monitor.begin(self._begun)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End the step if the optimizer has made one."""
        del pl_module, outputs, batch, batch_idx
        if trainer.global_step != self._begun:
            self._end()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """End a step that has lost its optimizer to the end of the epoch."""
        del trainer, pl_module
        self._end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Take everything off the model."""
        del trainer, pl_module, exception
        self._begun = None
        self.monitor.cancel()

    def _end(self) -> None:
        if self._begun is not None:
            self._begun = None
            self.monitor.end()
