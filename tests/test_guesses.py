"""Branches that depend on weights: guessed, and taken the other way where a model raises."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import xavier
from bad_models import nothing_changes, rows
from xavier import TraceError
from xavier.frameworks.torch import trace as tracing


class Guarded(nn.Module):
    """Raises unless each of many sums of outputs is on the side that is asked for."""

    def __init__(self, *sides):
        super().__init__()
        self.sides = sides
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x):
        h = self.a(x).tanh()
        for at, side in enumerate(self.sides):
            if bool((h[:, at].sum() > 0) != side):
                raise ValueError(f"guard {at} is on the wrong side")
        return self.b(h)


class Drawn(nn.Module):
    """Returns a distribution's log density, whose parameters are checked to be positive."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 16), nn.Linear(16, 3)

    def forward(self, x):
        one, other, scale = nn.functional.softplus(self.b(self.a(x).tanh())).unbind(-1)
        return torch.distributions.StudentT(1 + one, other, 0.1 + scale).log_prob(x[:, 0])


@pytest.mark.parametrize("sides", [(True,) * 4, (False,) * 4, (True, False, False, True)])
def test_a_guard_that_raises_is_passed_on_its_other_side(sides):
    model = Guarded(*sides)
    with nothing_changes(model):
        plan = xavier.plan(model, rows())
    assert {row.fed_by for row in plan["b.weight"]} == {"tanh"}
    assert any("it was guessed" in note for note in plan.notes)


def test_a_distribution_that_checks_its_parameters_is_traced():
    plan = xavier.plan(Drawn(), rows())
    assert not [each for each in plan.kept if each.kind == "parameter"]


class Hopeless(Guarded):
    def forward(self, x):
        h = self.a(x)
        side = "above" if bool(h.sum() > 0) else "below"
        raise ValueError(f"not {side}")


def test_a_model_that_raises_on_both_sides_is_refused_with_its_first_error():
    model = Hopeless()
    with nothing_changes(model), pytest.raises(TraceError, match=r"not (above|below)") as caught:
        xavier.plan(model, rows())
    first = str(caught.value)
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(TraceError) as again:
        xavier.plan(model, rows())
    assert str(again.value) == first


def test_guards_beyond_a_number_are_left_as_they_are(monkeypatch):
    runs = []
    monkeypatch.setattr(tracing, "_TURNS", 2)
    monkeypatch.setattr(
        Guarded, "forward", lambda self, x: runs.append(1) or _forever(self.a(x)), raising=True
    )
    with pytest.raises(TraceError, match="again"):
        xavier.plan(Guarded(), rows())
    assert len(runs) == 3


def _forever(h):
    for at in range(8):
        if bool(h[:, at].sum() > 0) == (at % 2 == 0):
            continue
        raise ValueError("again")
    raise ValueError("again")
