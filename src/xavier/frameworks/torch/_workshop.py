"""What owners give their tensors, found without the weights that will be drawn.

The owners' initializers run on a double of the model, from the leaves to the root, as they do
when it is built: `reset_parameters`, then `_init_weights` of the model around. They run twice
over different contents: what comes out alike was made by them. The rest is looked for by
building its module again, or the one around it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import nn

from xavier._errors import said
from xavier.frameworks.torch._effective import seed_of
from xavier.frameworks.torch._mirror import Held, Mirror, seed_all, table_of
from xavier.frameworks.torch._rebuild import NotRebuilt, build_again
from xavier.frameworks.torch.names import paths

_RESETS: Final = ("reset_parameters", "_reset_parameters")
_HOOK: Final = "_init_weights"


@dataclass
class _Run:
    """The outcome of one run of the initializers."""

    values: dict[str, torch.Tensor] = field(default_factory=dict)
    failed: dict[nn.Module, str] = field(default_factory=dict)


class Workshop:
    """Makes the tensors that are wanted of a model, by their owners.

    Args:
        model: The model, some of it on the meta device.
        wanted: What is wanted, by name.
        seed: The seed of what owners draw at random.
        scope: The prefix of every name.
    """

    def __init__(
        self, model: nn.Module, wanted: Mapping[str, Held], *, seed: int, scope: str
    ) -> None:
        self._model, self._wanted = model, wanted
        self._seed, self._scope = seed, scope
        self._above: dict[nn.Module, tuple[nn.Module, ...]] = {}
        self._path: dict[nn.Module, str] = {}
        self._climb(model, ())
        for path, module in paths(model):
            self._path.setdefault(module, path)
        self._busy = {
            each for held in wanted.values() for each in (held.module, *self._above[held.module])
        }
        self._unbuilt: dict[nn.Module, str] = {}
        self.reasons: dict[str, str] = {}

    def _climb(self, module: nn.Module, above: tuple[nn.Module, ...]) -> None:
        if module in self._above:
            return
        self._above[module] = above
        for child in module._modules.values():
            if child is not None:
                self._climb(child, (module, *above))

    def make(self) -> dict[str, torch.Tensor]:
        """Return what could be made, by name; `reasons` tells why the rest could not."""
        first = self._run({name: _filled(held.tensor, 0) for name, held in self._wanted.items()})
        second = self._run({name: _filled(held.tensor, 1) for name, held in self._wanted.items()})
        made: dict[str, torch.Tensor] = {}
        for name, held in self._wanted.items():
            one, two = first.values.get(name), second.values.get(name)
            sound = not any(each in first.failed for each in self._line(held.module))
            if sound and one is not None and _same(one, two):
                made[name] = one
        made.update(self._corrections(made, first.failed))
        left = {name: held for name, held in self._wanted.items() if name not in made}
        return {**made, **self._made_again(left, first.failed)} if left else made

    def _corrections(
        self, made: Mapping[str, torch.Tensor], failed: Mapping[nn.Module, str]
    ) -> dict[str, torch.Tensor]:
        """Return what the constructors around give otherwise than the owners' initializers.

        A model may write to its parts after they were made. What follows from the seed stays
        as the owner draws it: under its own name, whatever stands before it in the model.
        """
        once = self._from_the_top(failed, turn=0)
        other = {name for name, value in once.items() if not _same(made.get(name), value)}
        if not other:
            return {}
        twice = self._from_the_top(failed, turn=1) if other & made.keys() else once
        return {
            name: once[name]
            for name in other
            if name not in made or _same(twice.get(name), once[name])
        }

    def _from_the_top(
        self, failed: Mapping[nn.Module, str], *, turn: int
    ) -> dict[str, torch.Tensor]:
        """Return what building the outermost module that can be built gives, tensor by tensor."""
        found: dict[str, torch.Tensor] = {}
        built: set[nn.Module] = set()
        for name, held in self._wanted.items():
            if name in found:
                continue
            for module in reversed(self._line(held.module)):
                values = self._again(module, self._wanted, self._unbuilt, turn=turn)
                if values is not None:
                    found.update(values)
                    built.add(module)
                if values is not None or module in failed:
                    break
        return self._finished(found, built)

    def _finished(
        self, found: Mapping[str, torch.Tensor], built: set[nn.Module]
    ) -> dict[str, torch.Tensor]:
        """Return built tensors after the initializers of the modules around have run on them."""
        inside = {each for module in built for each in module.modules()}
        if self._model in built or not found:
            return dict(found)
        run = self._run(found, finished=inside)
        return {name: run.values[name] for name in found if name in run.values}

    def _line(self, module: nn.Module) -> tuple[nn.Module, ...]:
        return (module, *self._above[module])

    def _made_again(
        self, left: Mapping[str, Held], failed: Mapping[nn.Module, str]
    ) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {}
        built: set[nn.Module] = set()
        faults: dict[nn.Module, str] = {}
        for name, held in left.items():
            if name in found:
                continue
            line = self._line(held.module)
            bad = [at for at, each in enumerate(line) if each in failed]
            for module in line[bad[-1] if bad else 0 :]:
                values = self._again(module, left, faults, full=True)
                if values is not None:
                    found.update(values)
                    built.add(module)
                    break
            else:
                first = line[bad[-1] if bad else 0]
                self.reasons[name] = failed.get(first) or faults[first]
        return self._finished(found, built)

    def _again(
        self,
        module: nn.Module,
        left: Mapping[str, Held],
        faults: dict[nn.Module, str],
        *,
        turn: int = 0,
        full: bool = False,
    ) -> dict[str, torch.Tensor] | None:
        """Return what building a module again gives of what is left, or None."""
        if module in faults:
            return None
        within = {each: path for path, each in module.named_modules()}
        wanted, names = {}, {}
        for name, held in left.items():
            if held.module in within:
                path = within[held.module]
                inner = f"{path}.{held.key}" if path else held.key
                wanted[inner], names[inner] = held.tensor, name
        seed_all(seed_of(self._seed, f"{self._scope}{self._path[module]}#build{turn or ''}"))
        try:
            values = build_again(module, Mirror().of(module), wanted, full=full)
        except NotRebuilt as error:
            faults[module] = str(error)
            return None
        return {names[inner]: value for inner, value in values.items()}

    def _run(
        self,
        contents: Mapping[str, torch.Tensor],
        *,
        finished: set[nn.Module] | frozenset[nn.Module] = frozenset(),
    ) -> _Run:
        """Run the initializers of modules that are not finished, over given contents."""
        run = _Run()
        mirror = Mirror([(self._wanted[name].tensor, value) for name, value in contents.items()])
        mirror.of(self._model)
        for module, call, what in self._calls(mirror, finished):
            seed_all(seed_of(self._seed, f"{self._scope}{self._path[module]}#{what}"))
            try:
                call()
            except Exception as error:
                run.failed[module] = f"{what}() raised {said(error)}"
        for name in contents:
            held = self._wanted[name]
            value: Any = table_of(mirror.of(held.module), held.table).get(held.key)
            if _fits(value, held.tensor):
                run.values[name] = value.detach().to(held.tensor.dtype)
        return run

    def _calls(
        self, mirror: Mirror, finished: set[nn.Module] | frozenset[nn.Module]
    ) -> Iterator[tuple[nn.Module, Callable[[], object], str]]:
        order = [each for each in reversed(list(self._above)) if each in self._busy]
        for module in order:
            if module in finished:
                continue
            double = mirror.of(module)
            for name in (*_RESETS, _HOOK):
                call = getattr(double, name, None)
                if callable(call) and _takes(call, 0):
                    yield module, call, name
                    break
        for module in order:
            owner = next((each for each in self._line(module) if _initializes(each)), None)
            if owner is None or owner in finished:
                continue
            call = getattr(mirror.of(owner), _HOOK)
            double = mirror.of(module)
            yield module, lambda call=call, double=double: call(double), _HOOK


def _initializes(module: nn.Module) -> bool:
    call = getattr(module, _HOOK, None)
    return callable(call) and _takes(call, 1)


def _takes(call: Callable[..., Any], count: int) -> bool:
    """Return whether a method can be called with that many arguments, and with no fewer."""
    try:
        signature = inspect.signature(call)
        signature.bind(*(object() for _ in range(count)))
    except (TypeError, ValueError):
        return False
    if count == 0:
        return True
    try:
        signature.bind()
    except TypeError:
        return True
    return False


def _filled(tensor: torch.Tensor, turn: int) -> torch.Tensor:
    content = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    if tensor.dtype == torch.bool:
        return content.fill_(bool(turn))
    return content.fill_((0.5, 2.25)[turn] if tensor.is_floating_point() else 1 + turn)


def _fits(value: Any, tensor: torch.Tensor) -> bool:
    if not isinstance(value, torch.Tensor) or value.device.type == "meta":
        return False
    alike = value.is_floating_point() == tensor.is_floating_point()
    return value.shape == tensor.shape and alike


def _identical(one: torch.Tensor, two: torch.Tensor) -> bool:
    """Compare bits: a NaN that an owner writes is a value like any other."""
    if one.numel() == 0:
        return True
    left, right = (each.contiguous().reshape(-1).view(torch.uint8) for each in (one, two))
    return bool(torch.equal(left, right))


def _same(one: torch.Tensor | None, two: torch.Tensor | None) -> bool:
    return one is not None and two is not None and _identical(one, two)
