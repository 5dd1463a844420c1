"""What one process of several does in `test_sharded.py`.

It is called with the scenario, its rank, the number of processes, and a file through which they
meet. Each process checks its own part, and ends with a traceback if it is wrong.
"""

from __future__ import annotations

import os
import sys
import warnings

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)
from torch.distributed.tensor.placement_types import _StridedShard

import xavier
from torch_plans import plan_of, row
from xavier import laws
from xavier._errors import PlanError, TraceError, WriteError
from xavier.frameworks.torch.write import write

WIDTH, HIDDEN = 24, 37  # 37 rows are cut unevenly


class Block(nn.Module):
    """A residual branch of two matrices, and a parameter and buffer that are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH, bias=False)
        self.scale = nn.Parameter(torch.empty(WIDTH))
        self.register_buffer("steps", torch.empty(3))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        with torch.no_grad():
            self.scale.copy_(torch.linspace(0.5, 1.5, WIDTH))
            self.steps.copy_(torch.arange(3.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.scale * self.down(torch.relu(self.up(self.norm(x))))


def build(*, meta: bool = False) -> nn.Module:
    with torch.device("meta" if meta else "cpu"):
        return nn.Sequential(Block(), Block(), nn.Linear(WIDTH, 5))


def batch() -> torch.Tensor:
    return torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(0))


def drawn(**settings: object) -> tuple[nn.Module, xavier.Plan]:
    model = build()
    return model, xavier.init_(model, batch(), seed=7, scope="whole.", **settings)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def assert_equal(model: nn.Module, expected: nn.Module, *, exact: bool = True) -> None:
    theirs = dict(expected.state_dict())
    assert model.state_dict().keys() == theirs.keys()
    for name, held in model.state_dict().items():
        full = whole(held)
        if exact:
            assert torch.equal(full, theirs[name]), name
        else:
            torch.testing.assert_close(full, theirs[name], rtol=1e-5, atol=1e-6)


def quietly_init(model: nn.Module, **settings: object) -> xavier.Plan:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xavier.XavierWarning)  # the same bits, on purpose
        return xavier.init_(model, batch(), seed=7, scope="whole.", **settings)


def fsdp(world: int) -> None:
    """FSDP2 over all processes, real and from meta; the model runs afterwards."""
    expected, plan = drawn()
    mesh = init_device_mesh("cpu", (world,))
    for meta in (False, True):
        model = build(meta=meta)
        for each in model:
            fully_shard(each, mesh=mesh)
        fully_shard(model, mesh=mesh)
        found = quietly_init(model)
        for one, two in zip(found, plan, strict=True):
            assert one == two, (meta, one, two)
        assert found.digest == plan.digest
        assert_equal(model, expected)
        held = model[0].up.weight.to_local()
        assert held.numel() <= -(-HIDDEN // world) * WIDTH
        torch.testing.assert_close(model(batch()), expected(batch()))
        model(batch()).sum().backward()


def hybrid(world: int) -> None:
    """Replicas of shards: HSDP."""
    expected, _ = drawn()
    mesh = init_device_mesh("cpu", (2, world // 2), mesh_dim_names=("replicate", "shard"))
    model = build(meta=True)
    for each in model:
        fully_shard(each, mesh=mesh)
    quietly_init(model)
    assert_equal(model, expected)


def tensor_parallel(world: int) -> None:
    """Tensor parallelism with FSDP2 over it, which places `_StridedShard`."""
    expected, _ = drawn()
    mesh = init_device_mesh("cpu", (2, world // 2), mesh_dim_names=("dp", "tp"))
    model = build(meta=True)
    for each in model[:2]:
        parallelize_module(each, mesh["tp"], {"up": ColwiseParallel(), "down": RowwiseParallel()})
        fully_shard(each, mesh=mesh["dp"])
    placements = model[0].up.weight.placements
    assert any(isinstance(each, _StridedShard) for each in placements), placements
    quietly_init(model)
    assert_equal(model, expected)


def every_placement(world: int) -> None:
    """Any elementwise law, any axis, twice the same axis, and several dtypes."""
    mesh = init_device_mesh("cpu", (2, world // 2))
    shape = (7, 12, 9)  # the strided cut takes even parts alone
    placements = [
        (Shard(0), Replicate()), (Replicate(), Shard(1)), (Shard(2), Shard(0)),
        (Shard(0), Shard(0)), (_StridedShard(1, split_factor=world // 2), Shard(1)),
        (Replicate(), Replicate()),
    ]  # fmt: skip
    for law in (
        laws.Uniform(-1.0, 2.0), laws.Normal(0.5, 2.0), laws.TruncatedNormal(0.0, 1.0),
        laws.Sparse(0.5, 1.0), laws.Constant(3.0),
    ):  # fmt: skip
        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
            plain = nn.Module()
            plain.weight = nn.Parameter(torch.empty(shape, dtype=dtype))
            write(plain, plan_of(plain, law), seed=3, scope="plain.")
            for held in placements:
                model = nn.Module()
                empty = torch.zeros(shape, dtype=dtype)
                model.weight = nn.Parameter(distribute_tensor(empty, mesh, held))
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", xavier.XavierWarning)
                    write(model, plan_of(model, law), seed=3, scope="plain.")
                expected = distribute_tensor(plain.weight.detach(), mesh, held).to_local()
                assert torch.equal(model.weight.to_local(), expected), (law, dtype, held)


def orthogonal(world: int) -> None:
    """A law of whole matrices is equal to rounding, region by region."""
    mesh = init_device_mesh("cpu", (world,))
    law = laws.Orthogonal(1.5)
    for held in (Shard(0), Shard(1)):
        plain, model = nn.Linear(18, 30, bias=False), nn.Linear(18, 30, bias=False)
        regions = [xavier.Region(0, ((0, 10),)), xavier.Region(0, ((10, 30),))]
        rows = [row("weight", (30, 18), law, region) for region in regions]
        write(plain, plan_of(plain, rows=rows), seed=3, scope=f"{held}.")
        model.weight = nn.Parameter(distribute_tensor(model.weight.detach(), mesh, [held]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", xavier.XavierWarning)
            write(model, plan_of(model, rows=rows), seed=3, scope=f"{held}.")
        torch.testing.assert_close(model.weight.full_tensor(), plain.weight, rtol=1e-6, atol=1e-6)


def partial(world: int) -> None:
    """A parameter whose shards are addends is refused, untouched."""
    mesh = init_device_mesh("cpu", (world,))
    model = nn.Linear(4, 4, bias=False)
    local = torch.full((4, 4), 2.0)
    model.weight = nn.Parameter(DTensor.from_local(local, mesh, [Partial()], run_check=False))
    with pytest.raises(WriteError, match=r"placed P.* cannot be drawn, expected Shard or Repl"):
        write(model, plan_of(model), seed=0)
    assert bool((local == 2).all())


def disagreement(world: int) -> None:
    """A process with another seed or plan is found before anything is drawn, by all."""
    mesh: DeviceMesh = init_device_mesh("cpu", (world,))
    for other in ({"seed": 8}, {"recipe": "he"}, {"scope": "other."}):
        model = build()
        for each in model:
            fully_shard(each, mesh=mesh)
        before = {name: held.to_local().clone() for name, held in model.named_parameters()}
        settings: dict[str, object] = {"seed": 7, "recipe": "auto", "scope": "whole."}
        if dist.get_rank() == world - 1:
            settings |= other
        told = f"the processes disagree about the {next(iter(other))}: "
        with pytest.raises(PlanError, match=told):
            xavier.init_(model, batch(), **settings)
        after = {name: held.to_local() for name, held in model.named_parameters()}
        assert all(torch.equal(before[name], after[name]) for name in before)


def disagreement_on_a_mesh(world: int) -> None:
    """One process of four with another seed: all raise, whatever axis they share with it."""
    mesh = init_device_mesh("cpu", (2, world // 2), mesh_dim_names=("replicate", "shard"))
    for other in (8, None):
        model = build(meta=True)
        for each in model:
            fully_shard(each, mesh=mesh)
        seed = other if dist.get_rank() == 0 else 7
        told = f"the processes disagree about the seed: {'none' if other is None else other} in pro"
        with pytest.raises(PlanError, match=told):
            xavier.init_(model, batch(), seed=seed)
        assert all(each.is_meta for each in model.parameters())


def shared_seed(world: int) -> None:
    """Without a seed all processes take the first one's."""
    torch.manual_seed(dist.get_rank())
    mesh = init_device_mesh("cpu", (world,))
    model = build()
    for each in model:
        fully_shard(each, mesh=mesh)
    plan = xavier.init_(model, batch(), scope="shared.")
    seeds: list[object] = [None] * world
    dist.all_gather_object(seeds, plan.seed)
    assert len(set(seeds)) == 1


def checked(world: int) -> None:
    """A check says that it wants whole weights, and leaves the shards alone."""
    mesh = init_device_mesh("cpu", (world,))
    model = build()
    for each in model:
        fully_shard(each, mesh=mesh)
    plan = quietly_init(model)
    with pytest.raises(TraceError, match=r"`0\.scale` .* is sharded") as caught:
        xavier.check(model, batch())
    assert "before it is sharded" in caught.value.hint
    assert quietly_init(model).digest == plan.digest


def monitored(world: int) -> None:
    """The first process samples by itself, and the training of all is the same to the bit."""
    mesh = init_device_mesh("cpu", (world,))
    for wrap in (_data_parallel, _fully_sharded, _tensor_parallel):
        found = []
        for watched in (True, False):
            model = wrap(drawn_quietly(), mesh)
            monitor = xavier.Monitor(model, every=2)
            found.append(_losses(model, monitor if watched else None))
            if watched:
                _assert_seen(monitor, [0, 2] if dist.get_rank() == 0 else [])
        assert found[0] == found[1], wrap.__name__


def drawn_quietly() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the same bits, on purpose
        return drawn()[0]


def _data_parallel(model: nn.Module, mesh: DeviceMesh) -> nn.Module:
    del mesh
    return nn.parallel.DistributedDataParallel(model)


def _fully_sharded(model: nn.Module, mesh: DeviceMesh) -> nn.Module:
    for each in model:
        fully_shard(each, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def _tensor_parallel(model: nn.Module, mesh: DeviceMesh) -> nn.Module:
    parts = {"up": ColwiseParallel(), "down": RowwiseParallel()}
    torch.manual_seed(0)
    for block in list(model)[:2]:  # 37 columns cannot be cut for a product
        block.up, block.down = nn.Linear(WIDTH, 36), nn.Linear(36, WIDTH, bias=False)
        parallelize_module(block, mesh, parts)
    return model


def _losses(model: nn.Module, monitor: xavier.Monitor | None) -> list[float]:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, foreach=False)
    found = []
    for _ in range(3):
        with monitor.step() if monitor else torch.enable_grad():
            loss = model(batch()).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        found.append(loss.item())
    return found


def _assert_seen(monitor: xavier.Monitor, steps: list[int]) -> None:
    assert [sample.step for sample in monitor.samples] == steps
    for sample in monitor.samples:
        assert [op.weights[0] for op in sample.signal.ops] == [
            "0.up.weight", "0.down.weight", "1.up.weight", "1.down.weight", "2.weight",
        ], sample.signal  # fmt: skip
        assert all(op.gradient_rms for op in sample.signal.ops), sample.signal.ops
        assert all(weight.gradient_rms for weight in sample.signal.weights)
        assert all(weight.update_ratio for weight in sample.signal.weights if weight.rms), (
            sample.signal.weights
        )


SCENARIOS = (
    fsdp, hybrid, tensor_parallel, every_placement, orthogonal, partial, disagreement, shared_seed,
    checked, disagreement_on_a_mesh, monitored,
)  # fmt: skip


def main() -> None:
    """Join the other processes and play a scenario."""
    scenario, rank, world, meeting = sys.argv[1:]
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=int(rank), world_size=int(world)
    )
    {each.__name__: each for each in SCENARIOS}[scenario](int(world))
    dist.barrier()
    sys.stdout.flush()
    os._exit(0)  # what gloo's threads do while the interpreter goes down is not under test


if __name__ == "__main__":
    main()
