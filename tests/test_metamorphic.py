"""A plan depends on the architecture, never on the example's free sizes."""

from __future__ import annotations

import pytest
import torch

import xavier
from xavier import zoo


def laws(model, example):
    return [(row.name, row.region, row.law) for row in xavier.plan(model, example).assignments]


@pytest.mark.parametrize("name", zoo.names())
def test_doubling_the_batch_changes_no_law(name):
    model = getattr(zoo, name)()
    assert laws(model, model.example_input(batch=2)) == laws(model, model.example_input(batch=4))


@pytest.mark.parametrize("name", ["gpt", "llama", "lstm", "mixture_of_experts", "mamba_block"])
def test_doubling_the_sequence_changes_no_law(name):
    model = getattr(zoo, name)()
    short = model.example_input(batch=2)
    half = short[:, : short.shape[1] // 2]
    assert laws(model, half) == laws(model, short)


@pytest.mark.parametrize("name", ["plain_relu_cnn", "resnet18", "unet"])
def test_doubling_the_picture_changes_no_law(name):
    model = getattr(zoo, name)()
    small = model.example_input(batch=2)
    large = torch.nn.functional.interpolate(small, scale_factor=2)
    assert laws(model, large) == laws(model, small)
