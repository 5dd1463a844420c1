"""A monitor as a callback of the Trainer of transformers."""

from __future__ import annotations

from typing import Any

from transformers.trainer_callback import TrainerCallback

__all__ = ["TrainerMonitor"]


class TrainerMonitor(TrainerCallback):
    """Sample the signal while a Trainer of transformers runs.

        monitor = xavier.Monitor(every=100, to="signal.jsonl")
        trainer = Trainer(model, arguments, callbacks=[xavier.torch.TrainerMonitor(monitor)])

    A step is one of the trainer's `global_step`: with accumulated gradients it spans several
    batches, of which the first is observed.

    Args:
        monitor: The `xavier.Monitor`; it takes the trainer's model.
    """

    def __init__(self, monitor: Any) -> None:
        self.monitor = monitor

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take the trainer's model."""
        del args, state, control
        self.monitor.attach(kwargs["model"])

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin a step."""
        del args, control, kwargs
        self.monitor.begin(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End it: the optimizer has made its step."""
        del args, state, control, kwargs
        self.monitor.end()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take everything off the model."""
        del args, state, control, kwargs
        self.monitor.cancel()
