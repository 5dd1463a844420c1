"""What cannot be traced: refused by name, noted in the plan, or told when the model raises."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer

from xavier._errors import TraceError, a, said
from xavier.frameworks.torch._example import arguments, copied, describe, hint_for
from xavier.frameworks.torch._meta_run import as_it_was
from xavier.frameworks.torch.names import Slot, buffers, canonical, slots

_HERE: Final = Path(__file__).parent
_NOTED: Final = 3  # names in a note
_DEEP: Final = 12  # parts of a path that a message shows in full
_ROUND: Final = 100  # frames
_QUANTIZED: Final = "torch.ao.nn.quantized"
# Where the model's own operators run: what is raised there is the model's error.
_STAGE: Final = ("trace.py", "_recorder.py", "_meta_run.py", "_untraceable.py")


def require_traceable(model: nn.Module) -> tuple[tuple[Slot, ...], tuple[Slot, ...]]:
    """Refuse by name what no stand-in can take the place of, before anything is touched.

    Args:
        model: The model.

    Returns:
        The parameters and the buffers, as `slots` and `buffers` give them.
    """
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            name = f"`{canonical(path)}`" if path else "the model"
            told = f"{name} is a scripted module, whose weights cannot be followed"
            raise TraceError(told, hint="plan the model before it is scripted or traced")
    parameters, held_buffers = slots(model), buffers(model)
    for kind, held in (("parameter", parameters), ("buffer", held_buffers)):
        for slot in held:
            tensor = slot.stored
            # A quantized parameter has a stand-in that is floating: its values are not read.
            quantized = not slot.lazy and tensor.is_quantized and kind == "buffer"
            if slot.lazy or (tensor.layout == torch.strided and not quantized):
                continue
            what = str(tensor.dtype if quantized else tensor.layout).removeprefix("torch.")
            raise TraceError(
                f"`{slot.name}` {slot.shape}: {a(what)} {kind} cannot be traced",
                hint="plan the dense, unquantized model",
            )
    return parameters, held_buffers


def initialized_copy(model: nn.Module, example: Any) -> nn.Module:
    """Return a copy that has run once, so that its lazy parameters have shapes."""
    with as_it_was(model), torch.no_grad(), torch.inference_mode(mode=False):
        try:
            double = copy.deepcopy(model, _blank_buffers(model)).eval()
        except Exception as error:
            raise TraceError(
                f"the model has lazy parameters and cannot be copied: {said(error)}",
                hint="run the model once on an example, then plan it",
            ) from error
        args, kwargs = arguments(copied(example))
        try:
            double(*args, **kwargs)
        except Exception as error:
            raise failed(error, "", example) from error
    return double


def _blank_buffers(model: nn.Module) -> dict[int, Any]:
    """Return the doubles of lazy buffers, which cannot be copied as lazy parameters can."""
    blank: Any = UninitializedBuffer
    return {
        id(held): blank(device=held.device, dtype=held.dtype)
        for held in model.buffers()
        if isinstance(held, UninitializedBuffer)
    }


def notes(model: nn.Module, lazy: Sequence[str]) -> Iterator[str]:
    """Yield what a plan has to say of a model's parts that it does not reach."""
    if not any(True for _ in model.parameters()):
        yield "the model has no parameters: there is nothing to draw"
    if lazy:
        yield (
            f"{_few(lazy)} had no shape before the first run; the model was run once on the "
            "example, as a copy, to see it"
        )
    packed = [
        canonical(path)
        for path, module in model.named_modules()
        if type(module).__module__.startswith(_QUANTIZED)
        and hasattr(module, "_packed_params")
        and not type(module).__name__.endswith("PackedParams")
    ]
    if packed:
        yield f"{_few(packed)}: the weights are quantized and packed; they stay as they are"


def _few(names: Sequence[str]) -> str:
    shown = [f"`{name}`" for name in names[:_NOTED]]
    more = [f"{len(names) - _NOTED} more"] if len(names) > _NOTED else []
    return ", ".join(shown + more)


def failed(error: Exception, path: str, example: Any) -> TraceError:
    """Return the error for a forward that raised, with the place and what may be wrong."""
    where = f"in `{_shortened(path)}`" if path else "in `forward`"
    if _is_ours(error):
        return TraceError(
            f"the trace could not follow the model {where}: {said(error)}",
            hint="plan it without an example, and report this: it is no fault of the model's",
        )
    text = str(error).lower()
    if "does not require grad" in text:
        hint = "it takes gradients in its forward, and a trace has none: plan without an example"
    elif "meta" in text.split():
        hint = "it reads values, and a trace has none: plan without an example"
    else:
        hint = hint_for(error, example)
    return TraceError(
        f"the model raised {type(error).__name__} {where} on {describe(example)}: "
        + " ".join(str(error).split()),
        hint=hint,
    )


def _shortened(path: str) -> str:
    parts = path.split(".")
    return path if len(parts) <= _DEEP else ".".join([*parts[:2], "…", *parts[-2:]])


def _is_ours(error: BaseException) -> bool:
    """Tell whether an error comes from following the model, and not from the model."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    # Where Python's recursion ended says nothing: what it went round in does.
    last = frames[-_ROUND:] if isinstance(error, RecursionError) else frames[-1:]
    files = [Path(frame.f_code.co_filename) for frame in last]
    ours = [each for each in files if each.parent == _HERE and each.name not in _STAGE]
    return len(ours) > len(files) / 2
