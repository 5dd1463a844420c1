"""Where the backward pass starts: a loss, or a random cotangent at every output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as all of torch writes it

from xavier._errors import TraceError, UnknownNameError, a, said
from xavier.frameworks.torch._example import tensors_in

Loss = Callable[[Any, Any], Any] | str | None


def objective_of(loss: Loss, target: Any) -> Callable[[Any, Any], Any] | None:
    """Return the loss as a function of output and target, or None for a cotangent.

    Args:
        loss: A function, `"cross_entropy"`, `"mse"`, or None.
        target: What it compares with; with no loss its type chooses one.

    Returns:
        The function, or None if there is neither loss nor target.

    Raises:
        UnknownNameError: If a string names no loss.
        TraceError: If a named loss has no target.
    """
    if loss is None and target is not None:
        whole = isinstance(target, torch.Tensor) and not target.is_floating_point()
        loss = "cross_entropy" if whole else "mse"
    if loss is None or callable(loss):
        return loss
    named = {"cross_entropy": _cross_entropy, "mse": _mse}
    if not isinstance(loss, str) or loss not in named:
        raise UnknownNameError("loss", str(loss), named)
    if target is None:
        raise TraceError(
            f"the loss {loss!r} compares the output with a target, and none was given",
            hint="pass target=, or no loss at all",
        )
    if not isinstance(target, torch.Tensor):
        raise TraceError(
            f"the target is {a(type(target).__name__)}, expected a tensor for the loss {loss!r}",
            hint="pass a function of output and target for any other",
        )
    return named[loss]


def _first(output: Any) -> torch.Tensor:
    logits = getattr(output, "logits", None)
    if isinstance(logits, torch.Tensor):
        return logits
    found = next((t for t in tensors_in(output) if t.is_floating_point()), None)
    if found is None:
        raise ValueError("the output holds no floating tensor")
    return found


def _cross_entropy(output: Any, target: torch.Tensor) -> torch.Tensor:
    logits = _first(output)
    if logits.ndim == target.ndim + 1 and logits.shape[:-1] == target.shape:
        return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), target.reshape(-1))
    return F.cross_entropy(logits, target)


def _mse(output: Any, target: torch.Tensor) -> torch.Tensor:
    first = _first(output)
    if first.shape != target.shape:
        shapes = f"{tuple(first.shape)} and the target {tuple(target.shape)}"
        raise ValueError(f"the output has shape {shapes}, expected equal ones")
    return F.mse_loss(first, target)


def ends_of(
    output: Any,
    target: Any,
    objective: Callable[[Any, Any], Any] | None,
    *,
    seed: int,
) -> tuple[list[torch.Tensor], list[torch.Tensor | None]]:
    """Return the tensors that the backward pass starts from, and its cotangents.

    Args:
        output: What the model returned.
        target: What the loss compares it with.
        objective: The loss; None for a cotangent of unit variance at every floating output.
        seed: Of the cotangent.

    Returns:
        The ends and one cotangent each, None for a scalar loss.

    Raises:
        TraceError: If the loss raises or gives no scalar, or no output can be differentiated.
    """
    if objective is not None:
        value = _loss_value(objective, output, target)
        return [value], [None]
    ends = [t for t in tensors_in(output) if t.requires_grad and t.grad_fn is not None]
    if not ends:
        kind = type(output).__name__
        raise TraceError(
            f"the model's output ({kind}) holds no tensor that depends on a parameter",
            hint="return the tensors themselves, or pass loss=; is forward under no_grad?",
        )
    generator = torch.Generator().manual_seed(seed)
    return ends, [_cotangent(end, generator) for end in ends]


def _loss_value(objective: Callable[[Any, Any], Any], output: Any, target: Any) -> torch.Tensor:
    try:
        value = objective(output, target)
    except Exception as error:
        raise TraceError(
            f"the loss raised {said(error)}",
            hint="loss(output, target) gets the model's whole output",
        ) from error
    if not isinstance(value, torch.Tensor) or value.numel() != 1 or not value.requires_grad:
        shape = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
        raise TraceError(
            f"the loss returned {shape}, expected one number that depends on the parameters",
            hint="reduce it, for example with .mean()",
        )
    return value.reshape(())


def _cotangent(end: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    wide = torch.complex64 if end.is_complex() else torch.float32
    drawn = torch.randn(end.shape, generator=generator, dtype=wide, device="cpu")
    return drawn.to(device=end.device, dtype=end.dtype)
