"""Running a model on meta tensors, and leaving it exactly as it was."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.modules import module as hooks
from torch.nn.utils.parametrize import ParametrizationList
from torch.overrides import TorchFunctionMode

from xavier.frameworks.torch._randomness import DROPOUTS, PAIRS
from xavier.frameworks.torch._restore import containers, process_state, quiet_about_hooks
from xavier.frameworks.torch._shadows import Shadows, storage_of


class MetaParameters:
    """Meta twins of a model's parameters, one for each, sharing storage where they do."""

    def __init__(self, shadows: Shadows) -> None:
        self._shadows = shadows
        self._bases: dict[int, torch.Tensor] = {}
        self._twins: dict[int, nn.Parameter] = {}
        self._originals: list[Any] = []

    def of(self, parameter: torch.Tensor) -> nn.Parameter:
        """Return the twin of a parameter."""
        twin = self._twins.get(id(parameter))
        if twin is None:
            twin = nn.Parameter(self._view(parameter), requires_grad=False)
            self._twins[id(parameter)] = twin
            self._originals.append(parameter)  # an id must not be used twice
            self._shadows.keep(twin)
        return twin

    def _view(self, parameter: torch.Tensor) -> torch.Tensor:
        if type(parameter) not in (nn.Parameter, torch.Tensor) or parameter.is_quantized:
            dtype = parameter.dtype if not parameter.is_quantized else torch.float32
            return torch.empty(parameter.shape, dtype=dtype, device="meta")
        storage = storage_of(parameter)
        key = hash((storage, parameter.dtype))
        if key not in self._bases:
            count = parameter.untyped_storage().nbytes() // max(parameter.element_size(), 1)
            self._bases[key] = torch.empty(count, dtype=parameter.dtype, device="meta")
        return self._bases[key].as_strided(
            parameter.shape, parameter.stride(), parameter.storage_offset()
        )


@contextmanager
def as_it_was(model: nn.Module) -> Iterator[None]:
    """Put back what the model's modules hold, their hooks and modes, and the process's state.

    Their tensors are not guarded: a run on stand-ins writes to none of them. See
    `xavier.frameworks.torch._restore.unchanged` for what belongs to the process.
    """
    seen: set[int] = set()
    with ExitStack() as stack:
        for undo in process_state():
            stack.callback(undo)
        fast = torch.backends.mha.get_fastpath_enabled()
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        for module in model.modules():
            for undo in containers(module.__dict__, _pass, seen):
                stack.callback(undo)
        yield


def _pass(_: torch.Tensor) -> None:
    pass


def swap_in(
    model: nn.Module,
    twins: MetaParameters,
    shadows: Shadows,
    made: Mapping[int, torch.Tensor],
) -> None:
    """Replace parameters by their meta twins, and buffers by meta tensors with shadows.

    Args:
        model: The model.
        twins: Of its parameters.
        shadows: What is known of values.
        made: What owners give to buffers that are on the meta device, by identity.
    """
    for each in model.modules():
        each.training = False
        for table in (each._forward_pre_hooks, each._forward_hooks):
            for key in [key for key, hook in table.items() if _redistributes(hook)]:
                del table[key]
        for name, parameter in each._parameters.items():
            if parameter is not None:
                each._parameters[name] = twins.of(parameter)
        for name, buffer in each._buffers.items():
            if buffer is not None:
                each._buffers[name] = shadows.enter(made.get(id(buffer), buffer))
    torch.backends.mha.set_fastpath_enabled(False)


def _redistributes(hook: Any) -> bool:
    """Tell whether a hook gathers or moves shards, which meta twins do not have."""
    hook = getattr(hook, "func", hook)
    owner = getattr(hook, "__self__", None)
    home = type(owner).__module__ if owner is not None else getattr(hook, "__module__", "")
    return str(home).startswith("torch.distributed.")


def remove_weight_hook(module: nn.Module, attribute: str, leaf: torch.Tensor) -> None:
    """Replace an old-style weight norm or spectral norm hook by its result."""
    module._forward_pre_hooks = OrderedDict(
        (key, hook)
        for key, hook in module._forward_pre_hooks.items()
        if getattr(hook, "name", None) != attribute
    )
    module.__dict__[attribute] = leaf


@contextmanager
def following_modules(
    paths: dict[nn.Module, str],
    stack: list[str],
    on_parametrization: Callable[[nn.Module, bool], torch.Tensor | None],
) -> Iterator[None]:
    """Keep the running module's path on top of `stack`.

    `on_parametrization(module, entering)` is called around a parametrization; what it returns on
    leaving takes the place of the parametrization's result.
    """

    def enter(module: nn.Module, _: Any) -> None:
        if isinstance(module, ParametrizationList):
            on_parametrization(module, True)  # noqa: FBT003 - whether it enters
        stack.append(paths.get(module, stack[-1]))

    def leave(module: nn.Module, _: Any, __: Any) -> Any:
        stack.pop()
        if isinstance(module, ParametrizationList):
            return on_parametrization(module, False)  # noqa: FBT003 - whether it enters
        return None

    with ExitStack() as stackwise:
        stackwise.enter_context(quiet_about_hooks())
        stackwise.callback(hooks.register_module_forward_pre_hook(enter).remove)
        stackwise.callback(hooks.register_module_forward_hook(leave).remove)
        yield


class RealReads(TorchFunctionMode):
    """Lets Python read the values of meta tensors where they are known; skips dropouts.

    Args:
        shown: Gives the values for a text, guessed where they are unknown.
        handed_over: Gives the values for code outside the framework, told what asks for them and
            whether it asks for their address.
    """

    _SHOWN = frozenset({torch.Tensor.__format__, torch.Tensor.__repr__})
    _HANDED_OVER: ClassVar[dict[Any, tuple[str, bool]]] = {  # by name, and whether by address
        torch.Tensor.tolist: (".tolist()", False),
        torch.Tensor.numpy: (".numpy()", False),
        torch.Tensor.__array__: (".numpy()", False),
        torch.Tensor.data_ptr: (".data_ptr()", True),
        torch.Tensor.__dlpack__: (".__dlpack__()", True),
        torch.Tensor.__dlpack_device__: (".__dlpack__()", True),
        torch.to_dlpack: ("torch.to_dlpack", True),
    }

    def __init__(
        self,
        shown: Callable[[torch.Tensor], torch.Tensor],
        handed_over: Callable[..., torch.Tensor],
    ) -> None:
        super().__init__()
        self._shown = shown
        self._handed_over = handed_over

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in DROPOUTS:  # as in evaluation, however it is spelled
            same = args[0] if args else kwargs["input"]
            return (same, torch.ones_like(same, dtype=torch.bool)) if func in PAIRS else same
        if func in self._SHOWN and args[0].device.type == "meta":
            real = self._shown(args[0])
        elif func in self._HANDED_OVER and args[0].device.type == "meta":
            asked, address = self._HANDED_OVER[func]
            real = self._handed_over(args[0], asked, address=address)
        else:
            return func(*args, **kwargs)
        # What reads a tensor makes views of it; the recorder would turn these into meta tensors.
        with torch._C._DisableTorchDispatch():
            return func(real, *args[1:], **kwargs)
