"""Tensors that hold weights and nothing else, followed from the parameters to where they are used.

An operator that only moves elements, or multiplies them by one constant, hands on where each is
stored. After any other the axes are lost; the operator is remembered, so that the signal's graph
can take it up where such a tensor enters an elementwise op (Mamba's `-exp(A_log)`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch

from xavier._types.flow import OpKind
from xavier.frameworks.torch._calls import Call, Key, is_tensor, key_of
from xavier.frameworks.torch._op_kinds import kind_of
from xavier.frameworks.torch._shadows import Shadows
from xavier.frameworks.torch._trees import map_tensors
from xavier.frameworks.torch._weight_maps import AddressSpace, LostAxesError, WeightMap

_ARITHMETIC = (OpKind.MULTIPLY, OpKind.ADD)
_COPIES = ("clone", "contiguous", "_to_copy", "detach", "alias", "lift_fresh")


@dataclass(frozen=True)
class Lost:
    """A tensor computed from weights: from whose, by which call, and what was done in all."""

    names: tuple[str, ...]
    call: Call
    done: tuple[str, ...] = ()


class FollowedWeights:
    """The tensors of a run that hold weights alone."""

    def __init__(self, shadows: Shadows) -> None:
        self.space = AddressSpace()
        self._shadows = shadows
        self._maps: dict[Key, WeightMap] = {}
        self._lost: dict[Key, Lost] = {}
        self._layers: set[str] = set()

    def add(self, name: str, tensor: torch.Tensor, *, layer: bool = False) -> None:
        """Register a meta tensor as parameter `name`; `layer` if it is the weight of a layer."""
        self._shadows.keep(tensor)
        self._maps[key_of(tensor)] = self.space.add(name, tensor.shape)
        if layer:
            self._layers.add(name)

    def is_layer(self, tensor: torch.Tensor) -> bool:
        """Tell whether a tensor holds the weights of layers, whose type says that they multiply."""
        return self.map_of(tensor) is not None and self._layers.issuperset(self.names(tensor))

    def map_of(self, tensor: torch.Tensor) -> WeightMap | None:
        """Return where a tensor's elements are stored, if that is known."""
        return self._maps.get(key_of(tensor))

    def lost(self, tensor: torch.Tensor) -> Lost | None:
        """Return what is known of weights that something was done to."""
        return self._lost.get(key_of(tensor))

    def __contains__(self, tensor: torch.Tensor) -> bool:
        """Tell whether a tensor holds weights and nothing else."""
        key = key_of(tensor)
        return key in self._maps or key in self._lost

    def any(self, tensors: Iterable[torch.Tensor]) -> bool:
        """Tell whether one of the tensors holds weights and nothing else."""
        return any(each in self for each in tensors)

    def names(self, tensor: torch.Tensor) -> tuple[str, ...]:
        """Return the parameters whose elements a tensor holds, or was computed from."""
        found = self.map_of(tensor)
        if found is not None:
            return self.space.names(found)
        lost = self.lost(tensor)
        return lost.names if lost is not None else ()

    def follow(self, call: Call) -> None:
        """Take note of an op on weights alone."""
        if not self.any(call.tensors) or call.mutated:
            return  # what is written in place lies where it lay
        try:
            maps = self._moved(call)
        except (LostAxesError, RuntimeError, TypeError):
            maps = None
        followed = maps is not None and len(maps) == len(call.outs)
        if not followed or self._is_masked(call) or any(map(self.lost, call.tensors)):
            lost = self._computed(call)
            self._lost.update((key_of(each), lost) for each in call.outs)
        if followed and maps is not None:
            self._maps.update(zip(map(key_of, call.outs), maps, strict=True))

    def _computed(self, call: Call) -> Lost:
        names = dict.fromkeys(name for each in call.tensors for name in self.names(each))
        before = [lost.done for each in call.tensors if (lost := self.lost(each)) is not None]
        done = dict.fromkeys(step for steps in before for step in steps)
        if kind_of(call.func) is not OpKind.MOVE or not done:
            done[call.name.lstrip("_")] = None
        return Lost(tuple(names), call, tuple(done))

    def _is_masked(self, call: Call) -> bool:
        """Tell whether a call multiplies weights by numbers that are not all alike."""
        others = [each for each in call.tensors if each not in self]
        return kind_of(call.func) in _ARITHMETIC and any(
            self._shadows.known(each) and not _is_uniform(self._shadows.of(each)) for each in others
        )

    def _moved(self, call: Call) -> list[WeightMap] | None:
        mapped = [each for each in call.tensors if self.map_of(each) is not None]
        kind = kind_of(call.func)
        if kind in _ARITHMETIC or call.name in ("div", "neg", "pow"):
            return self._scaled(call, mapped)
        if kind is not OpKind.MOVE or any(
            self.lost(each) and self.map_of(each) is None for each in call.tensors
        ):
            return None
        first = self._maps[key_of(mapped[0])]
        if call.name in _COPIES:
            return [first]
        if len(mapped) == 1:
            move = lambda tensor: call.again(mapped[0], tensor, self.real_if_known)  # noqa: E731 - a formula in a line
            if len(call.outs) == 1 and not isinstance(probe := move(mapped[0]), list | tuple):
                del probe
                return [first.moved(move)]
            return [first.moved(lambda t, at=at: move(t)[at]) for at in range(len(call.outs))]
        addresses = {key_of(each): self._maps[key_of(each)].explicit() for each in mapped}
        swap = lambda each: addresses.get(key_of(each), each)  # noqa: E731 - a formula in a line
        args, kwargs = map_tensors(swap, (call.args, call.placeless))
        out = call.func(*args, **kwargs)
        outs = [out] if is_tensor(out) else list(out)
        return [WeightMap(each, first.scale) for each in outs]

    def real_if_known(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a meta tensor's values where they are known, else itself."""
        return self._shadows.of(tensor) if self._shadows.known(tensor) else tensor

    def _scaled(self, call: Call, mapped: list[torch.Tensor]) -> list[WeightMap] | None:
        if len(mapped) != 1 or call.outs[0].shape != mapped[0].shape:
            return None
        factor = -1.0 if call.name == "neg" else self._factor(call, mapped[0])
        first = self._maps[key_of(mapped[0])]
        return None if not factor else [replace(first, scale=first.scale * factor)]

    def _factor(self, call: Call, weight: torch.Tensor) -> float | None:
        """Return the number that an op multiplies a weight by, if that is all it does."""
        is_left = call.args[0] is weight
        other: Any = call.args[1] if is_left else call.args[0]
        if is_tensor(other):
            if other in self or not self._shadows.known(other):
                return None
            other = self._shadows.of(other)
            if other.numel() == 0 or other.is_complex():
                return None
            uniform = _is_uniform(other)
            if not uniform and call.name != "mul":
                return None
            # A mask counts as the number that gives the weights the same second moment.
            other = other.reshape(-1)[0] if uniform else other.double().square().mean().sqrt()
        number = float(other)
        if call.name == "mul":
            return number
        if call.name == "div":
            return 1 / number if is_left and number and "rounding_mode" not in call.kwargs else None
        if call.name == "pow":
            return 1.0 if is_left and number == 1 else None
        if number != 0:
            return None
        return 1.0 if call.name == "add" or (call.name == "sub" and is_left) else None


def _is_uniform(values: torch.Tensor) -> bool:
    return bool((values == values.reshape(-1)[0]).all()) if values.numel() else True
