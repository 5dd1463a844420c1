"""What `check` makes of models that do odd things: a measure, or one clear sentence.

Whatever happens, the model and the process are afterwards as they were, to the bit. What the
example, the parameters and the outputs may be is in `test_bad_inputs`.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import xavier
from bad_models import mlp, nothing_changes, quietly, rows
from xavier import TraceError, Verdict

X = rows(8, 6)


class Body(nn.Module):
    """Three dense layers, a table, and a function for how they are used."""

    def __init__(self, forward):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 4)
        self.table = nn.Embedding(16, 16)
        self.how = forward

    def forward(self, x):
        return self.how(self, x)


def with_batch_norm():
    torch.manual_seed(0)
    layers = nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 4)
    return nn.Sequential(*layers)


def checked(model, example=X, **given):
    with nothing_changes(model):
        return xavier.check(model, example, **given)


def used(found):
    return [op.weights[0] for op in found.signal.ops]


def refused(match, model, example=X, **given):
    with nothing_changes(model), pytest.raises(TraceError, match=match) as caught:
        xavier.check(model, example, **given)
    assert "\n" not in caught.value.message
    assert caught.value.hint


def plainly(forward):
    """Return the signal's numbers for a way of using the layers, without their places."""
    signal = checked(Body(forward)).signal
    return [(op.rms, op.gradient_rms) for op in signal.ops]


# Parts that have no derivative.


def test_an_index_that_is_chosen_by_size_cuts_the_gradient_and_is_told():
    found = checked(Body(lambda m, x: m.c(m.table(m.b(m.a(x)).argmax(-1)))))
    assert used(found) == ["a.weight", "b.weight", "table.weight", "c.weight"]
    told = [note.split(":")[0] for note in found.signal.notes if "no gradient reaches" in note]
    assert told == ["a.weight", "b.weight"]


@pytest.mark.parametrize("how", [torch.round, torch.sign])
def test_a_staircase_is_dead_where_it_stands(how):
    found = checked(Body(lambda m, x: m.c(how(m.b(m.a(x))))))
    assert (found.verdict, found.where) == (Verdict.DEAD, "b")
    assert "exactly zero" in found.evidence


def test_what_is_detached_is_measured_forward_and_named():
    found = checked(Body(lambda m, x: m.c(m.b(m.a(x)).detach().tanh())))
    assert [op.gradient_rms is None for op in found.signal.ops] == [True, True, False]
    assert sum("no gradient reaches it" in note for note in found.signal.notes) == 2


# Work in place.


def test_work_in_place_is_measured_as_work_out_of_place_is():
    def inside(m, x):
        h = m.b(m.a(x).relu_())
        h[:, 0] = 0.0
        return m.c(h.tanh_())

    def outside(m, x):
        h = m.b(m.a(x).relu())
        return m.c(torch.cat((torch.zeros_like(h[:, :1]), h[:, 1:]), 1).tanh())

    torch.testing.assert_close(plainly(inside), plainly(outside), rtol=1e-5, atol=0.0)


def test_an_input_that_is_overwritten_is_a_copy():
    example = X.clone()
    checked(Body(lambda m, x: m.c(m.b(m.a(x.mul_(2))))), example)
    assert torch.equal(example, X)


def test_a_value_that_the_backward_needs_and_is_overwritten_is_refused():
    def forward(m, x):
        h = m.a(x).tanh()
        kept = m.b(h)
        h.mul_(2)
        return m.c(kept)

    refused(r"the backward pass raised RuntimeError: .*modified by an inplace", Body(forward))


# Layers that run twice, or in another form.


def test_a_checkpointed_part_is_measured_once():
    plain = plainly(lambda m, x: m.c(m.b(m.a(x)).tanh()))
    twice = plainly(
        lambda m, x: m.c(checkpoint(lambda h: m.b(h).tanh(), m.a(x), use_reentrant=False))
    )
    assert twice == plain


def test_a_checkpoint_that_enters_autograd_anew_is_refused():
    model = Body(lambda m, x: m.c(checkpoint(lambda h: m.b(h).tanh(), m.a(x), use_reentrant=True)))
    refused(r"the backward pass raised RuntimeError: .*use_reentrant", model)


def test_a_compiled_part_is_measured_as_it_was_before():
    model = mlp()
    expected = checked(nn.Sequential(model, nn.Linear(4, 2)).eval()).signal.ops[:2]
    compiled = nn.Sequential(quietly(torch.compile, model), nn.Linear(4, 2))
    found = checked(compiled).signal.ops[:2]
    assert [op.rms for op in found] == [op.rms for op in expected]


# Modes.


def test_dropout_and_batch_norm_are_measured_in_the_mode_that_the_model_is_in():
    training, resting = with_batch_norm().train(), with_batch_norm().eval()
    with torch.no_grad():
        for model in (training, resting):
            model[1].running_var.fill_(1e-4)  # so that at rest everything is a hundred times larger
    trained, rested = (checked(each).signal.ops[1].rms for each in (training, resting))
    assert rested > 20 * trained
    assert (training.training, resting.training) == (True, False)


def test_one_input_is_too_few_for_a_batch_norm_that_trains():
    refused(r"raised ValueError .*more than 1 value per channel", with_batch_norm(), rows(1, 6))
    one = checked(with_batch_norm().eval(), rows(1, 6))
    assert all(op.correlation is None for op in one.signal.ops)


# Inputs.


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0])
def test_equal_inputs_are_no_collapse(value):
    assert checked(mlp(), torch.full((8, 6), value)).verdict is Verdict.HEALTHY


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_input_that_is_not_finite_is_at_fault_and_not_the_model(value):
    found = checked(mlp(), torch.full((8, 6), value))
    assert (found.verdict, found.where) == (Verdict.BROKEN, "0")
    assert "the example itself" in found.signal.notes[0]
    assert "example" in found.cure


def test_an_input_beyond_all_bounds_saturates():
    found = checked(mlp(), torch.full((8, 6), 1e30))
    assert found.verdict is Verdict.DEAD
    assert Verdict.SATURATED in found.verdicts


# Losses.


def test_weights_that_the_loss_does_not_depend_on_are_named():
    model = Body(lambda m, x: (m.b(m.a(x)), m.c(m.a(x))))
    found = checked(model, target=rows(8, 16), loss=lambda out, goal: (out[0] - goal).pow(2).mean())
    graded = {weight.name: weight.gradient_rms for weight in found.signal.weights}
    assert graded["c.weight"] is None
    assert graded["a.weight"] > 0
    assert any(note.startswith("c.weight: no gradient reaches it") for note in found.signal.notes)


def test_a_loss_that_depends_on_no_weight_is_refused():
    given = {"target": X, "loss": lambda _, goal: goal.mean()}
    refused(r"expected one number that depends on the parameters", mlp(), **given)


# Precisions.


def test_mixed_precision_is_measured():
    def forward(m, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return m.c(m.b(m.a(x)).tanh())

    mixed, whole = plainly(forward), plainly(lambda m, x: m.c(m.b(m.a(x)).tanh()))
    for one, other in zip(mixed, whole, strict=True):
        assert one == pytest.approx(other, rel=2**-5)  # a few roundings to 8 bits


def test_a_body_of_another_dtype_than_its_head_is_measured():
    model = Body(lambda m, x: m.c(m.b(m.a(x).bfloat16()).float()))
    model.b.bfloat16()
    found = checked(model)
    assert found.verdict is Verdict.HEALTHY
    assert used(found) == ["a.weight", "b.weight", "c.weight"]


# Size.


def test_a_weight_that_is_called_a_thousand_times_is_measured_at_each():
    def forward(m, x):
        h = m.a(x)
        for _ in range(1000):
            h = m.b(h)
        return m.c(h)

    found = checked(Body(forward))
    assert used(found).count("b.weight") == 1000
    assert found.verdict is Verdict.VANISHING  # torch's own draw shrinks a state at every step


def _raise(error):
    raise error


class Full(torch.autograd.Function):
    """Has no memory left for its backward pass."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise torch.OutOfMemoryError("out of memory: tried to allocate 20 GiB")


@pytest.mark.parametrize(
    ("forward", "match"),
    [
        (lambda m, x: m.a(x).new_empty(1 << 55), r"raised RuntimeError .*can't allocate memory"),
        (lambda m, x: _raise(MemoryError()), r"raised MemoryError .*: no message"),
        (
            lambda m, x: _raise(torch.OutOfMemoryError("CUDA out of memory")),
            r"raised OutOfMemoryError .*: CUDA out of memory",
        ),
        (lambda m, x: Full.apply(m.a(x)), r"the backward pass raised OutOfMemoryError"),
    ],
    ids=["allocator", "python", "device", "backward"],
)
def test_where_memory_ends_fewer_inputs_are_asked_for(forward, match):
    refused(rf"{match}(.|\n)*\nHint: give fewer inputs", Body(forward))
