"""Quick answers for meta tensors are the framework's own, and none is given where it may differ."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from xavier.frameworks.torch._meta_kernels import quick_answer
from xavier.frameworks.torch._trees import tensors_of

ATEN = torch.ops.aten


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def norm(*shape: int) -> tuple[Any, ...]:
    row = (meta(shape[1]),) * 4
    return (meta(*shape), *row, False, 0.1, 1e-5)


ANSWERED = [
    (ATEN.addmm.default, (meta(5), meta(3, 4), meta(4, 5))),
    (ATEN.addmm.default, (meta(5), meta(3, 4), meta(5, 4).t())),
    (ATEN.native_layer_norm.default, (meta(2, 3, 4), [4], meta(4), meta(4), 1e-5)),
    (ATEN.native_layer_norm.default, (meta(2, 3, 4), [3, 4], None, None, 1e-5)),
    (ATEN.native_batch_norm.default, norm(2, 3)),
    (ATEN.native_batch_norm.default, norm(2, 3, 4, 5)),
    (ATEN.gelu.default, (meta(2, 3, dtype=torch.float64),)),
    (ATEN._safe_softmax.default, (meta(2, 3, 4), -1)),
    (ATEN.add.Tensor, (meta(2, 3), meta(2, 3))),
    (ATEN.mul.Tensor, (meta(2, 3), 0.5)),
    (ATEN.mul.Scalar, (meta(2, 3), 2)),
]

ASKED = [
    (ATEN.addmm.default, (meta(3, 5), meta(3, 4), meta(4, 5))),
    (ATEN.addmm.default, (meta(5), meta(3, 4), meta(5, 5))),
    (ATEN.native_layer_norm.default, (meta(2, 3, 4), [3], meta(3), meta(3), 1e-5)),
    (ATEN.native_layer_norm.default, (meta(3, 2).t(), [3], None, None, 1e-5)),
    (ATEN.native_batch_norm.default, (*norm(2, 3)[:5], True, 0.1, 1e-5)),
    (ATEN.native_batch_norm.default, (meta(2, 4), *norm(2, 3)[1:])),
    (ATEN.gelu.default, (meta(2, 3, dtype=torch.bfloat16),)),
    (ATEN._safe_softmax.default, (meta(2, 3, 4), 3)),
    (ATEN.add.Tensor, (meta(2, 3), meta(3))),
    (ATEN.add.Tensor, (meta(2, 3), meta(2, 3, dtype=torch.float64))),
    (ATEN.add.Tensor, (meta(2, 3), meta(3, 2).t())),
    (ATEN.mul.Tensor, (meta(2, 3), 1j)),
    (ATEN.add_.Tensor, (meta(2, 3), meta(2, 3))),
    (ATEN.relu_.default, (meta(2, 3),)),
    (ATEN.relu.default, (meta(2, 3),)),
]


def form(tree: Any) -> list[tuple[Any, ...]]:
    return [
        (each.shape, each.stride(), each.dtype, each.device.type, each.storage_offset())
        for each in tensors_of(tree)
    ]


@pytest.mark.parametrize(("func", "args"), ANSWERED)
def test_the_answer_is_the_frameworks_own(func: Any, args: tuple[Any, ...]) -> None:
    found = quick_answer(func, args, {})
    assert form(found) == form(func(*args))
    given = {each.untyped_storage()._cdata for each in tensors_of(args)}
    made = [each.untyped_storage()._cdata for each in tensors_of(found)]
    assert len({*made}) == len(made)
    assert not given & {*made}


@pytest.mark.parametrize(("func", "args"), ASKED)
def test_the_framework_is_asked_where_it_may_answer_otherwise(
    func: Any, args: tuple[Any, ...]
) -> None:
    assert quick_answer(func, args, {}) is None


def test_a_keyword_is_for_the_framework() -> None:
    args = meta(5), meta(3, 4), meta(4, 5)
    assert quick_answer(ATEN.addmm.default, args, {"alpha": 2}) is None
