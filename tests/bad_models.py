"""Models and examples that no one should have to think of, and all that a call may change."""

from __future__ import annotations

import contextlib
import random
import warnings
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as module_globals
from torch.nn.parameter import is_lazy


def rows(*shape: int) -> torch.Tensor:
    return torch.randn(*(shape or (3, 6)), generator=torch.Generator().manual_seed(0))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4))


def quietly(make: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """Build what the framework itself warns of."""
    with warnings.catch_warnings(action="ignore"):
        return make(*args, **named)


class Calls(nn.Module):
    """A linear layer, and a function for what becomes of its output."""

    def __init__(self, then: Callable[[Any, torch.Tensor], Any] = lambda _, y: y) -> None:
        super().__init__()
        self.a = nn.Linear(6, 5)
        self.then = then

    def forward(self, x: Any) -> Any:
        return self.then(self, self.a(x))


class Raises(Calls):
    """Changes whatever it can reach, then raises."""

    def __init__(self, error: BaseException | None = None) -> None:
        super().__init__()
        self.error = error or ValueError("not\ntoday \x1b[31m")
        self.norm, self.drop = nn.BatchNorm1d(5), nn.Dropout()
        self.log: list[int] = []
        self.cache: dict[str, list[int]] = {"seen": []}
        self.generator = torch.Generator()

    def forward(self, x: Any) -> Any:
        self.train()
        self.norm(self.drop(self.a(x)))
        self.extra = 3
        self.log.append(1)
        self.cache["seen"].append(2)
        self.register_forward_hook(lambda *_: None)
        torch.randn(2, generator=self.generator)
        random.random()
        np.random.rand()
        torch.manual_seed(3)
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True)
        raise self.error


class Writes(nn.Module):
    """Puts other parameters in the place of its own as it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 5)

    def forward(self, x: Any) -> Any:
        self.a.weight = nn.Parameter(self.a.weight.detach() * 2)
        self.register_buffer("late", torch.ones(2))
        return self.a(x)


class WritesInPlace(nn.Module):
    """Writes to its own parameters as it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 5)

    def forward(self, x: Any) -> Any:
        with torch.no_grad():
            self.a.weight.mul_(2)
        self.a.bias.data += 1
        return self.a(x)


class TakesGradients(nn.Module):
    """Differentiates in its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 5)

    def forward(self, x: Any) -> Any:
        x = x.clone().requires_grad_()
        return torch.autograd.grad(self.a(x).tanh().sum(), x, create_graph=True)[0]


class Holds(nn.Module):
    """A linear layer, and tensors of any kind beside it."""

    def __init__(
        self,
        then: Callable[[Any, torch.Tensor], Any],
        *,
        parameters: Mapping[str, torch.Tensor] = {},
        buffers: Mapping[str, torch.Tensor] = {},
    ) -> None:
        super().__init__()
        self.a = nn.Linear(6, 5)
        self.then = then
        for name, value in parameters.items():
            trains = value.is_floating_point() or value.is_complex()
            setattr(self, name, nn.Parameter(value, requires_grad=trains))
        for name, value in buffers.items():
            self.register_buffer(name, value)

    def forward(self, x: Any) -> Any:
        return self.then(self, self.a(x))


def with_nan() -> nn.Module:
    model = mlp()
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    return model


def with_overlap() -> nn.Module:
    class Overlap(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            base = torch.randn(50)
            self.a = nn.Parameter(base[:30].view(5, 6))
            self.b = nn.Parameter(base[20:45].view(5, 5))

        def forward(self, x: Any) -> Any:
            return x @ self.a.T @ self.b.T

    return Overlap()


def frozen() -> nn.Module:
    model = mlp()
    model[0].weight.requires_grad_(False)
    model[2].weight.grad = torch.ones(4, 5)
    return model


def half_on_meta() -> nn.Module:
    model = mlp()
    model[2].to("meta")
    return model


def unowned_on_meta() -> nn.Module:
    class Unowned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(6, 5, device="meta")
            self.k = nn.Parameter(torch.empty(5, device="meta"))

        def forward(self, x: Any) -> Any:
            return self.a(x) * self.k

    return Unowned()


def in_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return mlp()


def empty_parameters() -> nn.Module:
    held = {"none": torch.zeros(0, 5), "scalar": torch.tensor(2.0), "nothing": torch.empty(0)}
    return Holds(lambda m, y: torch.cat([y, m.none]) * m.scalar, parameters=held)


def integers() -> nn.Module:
    held = {"i": torch.ones(5, 5, dtype=torch.long), "b": torch.ones(5, dtype=torch.bool)}
    return Holds(lambda m, y: y @ m.i.float() * m.b, parameters=held)


def quantized_parameter() -> nn.Module:
    value = torch.quantize_per_tensor(rows(5, 5), 0.1, 0, torch.qint8)
    return Holds(lambda m, y: y @ m.q.dequantize(), parameters={"q": value})


def quantized_buffer() -> nn.Module:
    value = torch.quantize_per_tensor(rows(5, 5), 0.1, 0, torch.qint8)
    return Holds(lambda m, y: y @ m.q.dequantize(), buffers={"q": value})


def quantized_dynamically() -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(mlp(), {nn.Linear}, dtype=torch.qint8)


def sparse_parameter() -> nn.Module:
    return Holds(lambda m, y: (m.s @ y.T).T, parameters={"s": torch.eye(5).to_sparse()})


def sparse_buffer(layout: str = "coo") -> nn.Module:
    value = torch.eye(5).to_sparse() if layout == "coo" else torch.eye(5).to_sparse_csr()
    return Holds(lambda m, y: (m.s @ y.T).T, buffers={"s": value})


def of_float8() -> nn.Module:
    class Eight(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(6, 5)
            small = self.a.weight.detach().to(torch.float8_e4m3fn)
            self.a.weight = nn.Parameter(small, requires_grad=False)

        def forward(self, x: Any) -> Any:
            return nn.functional.linear(x, self.a.weight.float(), self.a.bias)

    return Eight()


def of_complex() -> nn.Module:
    wide = {"dtype": torch.complex64}
    return nn.Sequential(nn.Linear(6, 5, **wide), nn.Tanh(), nn.Linear(5, 4, **wide))


def twice() -> nn.Module:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(6, 6)
            self.b = self.a
            self.all = nn.ModuleList([self.a, self.a])

        def forward(self, x: Any) -> Any:
            return self.all[1](self.b(self.a(x)))

    return Twice()


class Nested(nn.Module):
    """A layer in a layer in a layer."""

    def __init__(self, inner: nn.Module | None) -> None:
        super().__init__()
        self.layer, self.inner = nn.Linear(4, 4), inner

    def forward(self, x: Any) -> Any:
        x = self.layer(x)
        return x if self.inner is None else self.inner(x)


def nested(depth: int) -> nn.Module:
    model: nn.Module | None = None
    for _ in range(depth):
        model = Nested(model)
    assert model is not None
    return model


def oddly_named(name: str = "ev\x1b[31mil\nname") -> nn.Module:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module(name, nn.Linear(6, 5))

        def forward(self, x: Any) -> Any:
            return self._modules[name](x)

    return Odd()


class TakesTwo(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 5)

    def forward(self, x: Any, mask: Any = None) -> Any:
        return self.a(x) if mask is None else self.a(x) * mask[:, None]


class Batch(UserDict):
    """A mapping that is no dict, as tokenizers return."""


@dataclass
class Output:
    logits: torch.Tensor
    cache: Any = None


def bits(tensor: torch.Tensor) -> Any:
    """Return what a tensor holds, as far as it holds anything."""
    kind = (type(tensor).__name__, tensor.dtype)
    if is_lazy(tensor):
        return kind
    tensor = tensor.detach()
    kind = (*kind, tuple(tensor.shape), tensor.layout)
    if tensor.is_meta:
        return kind
    if tensor.layout != torch.strided:
        return (*kind, tensor.to_dense().numpy().tobytes())
    if tensor.is_quantized:
        return (*kind, tensor.int_repr().numpy().tobytes())
    storage = tensor.untyped_storage()
    return (*kind, tensor.stride(), storage.data_ptr(), bytes(storage.tolist()))


def state_of(model: Any) -> dict[str, Any]:
    """Return all that a call may not change, in comparable form."""
    return {**_process(), **(_model(model) if isinstance(model, nn.Module) else {})}


def _model(model: nn.Module) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for path, module in model.named_modules():
        state[f"{path} training"] = module.training
        if not isinstance(module, torch.jit.ScriptModule):
            state[f"{path} attributes"] = _plain(vars(module))
    for kind in ("parameters", "buffers"):
        for name, tensor in getattr(model, f"named_{kind}")(remove_duplicate=False):
            scripted = isinstance(model, torch.jit.ScriptModule)
            state[f"{kind} {name}"] = (scripted or id(tensor), bits(tensor), tensor.requires_grad)
            if not is_lazy(tensor) and tensor.is_leaf and tensor.grad is not None:
                state[f"gradient {name}"] = (id(tensor.grad), bits(tensor.grad))
    return state


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return [(key, _plain(item)) for key, item in value.items()]
    if type(value) in (list, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, torch.Generator):
        return value.get_state().tolist()
    return id(value)


def _process() -> dict[str, Any]:
    return {
        "python": random.getstate(),
        "numpy": str(np.random.get_state()),
        "torch": torch.get_rng_state().tolist(),
        "grad": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "hooks": [
            (key, list(value))
            for key, value in sorted(vars(module_globals).items())
            if key.startswith("_global_") and isinstance(value, dict)
        ],
    }


@contextlib.contextmanager
def nothing_changes(model: Any) -> Iterator[None]:
    """Fail unless the model and the process are afterwards as they were, to the bit."""
    before = state_of(model)
    try:
        yield
    finally:
        after = state_of(model)
        assert [key for key in {**before, **after} if before.get(key) != after.get(key)] == []
