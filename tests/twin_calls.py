"""The twins that draw, each with arguments of its own, for the tests of all of them."""

from __future__ import annotations

import torch

import xavier.torch as twins

RANDOM = {
    "uniform_": (-0.5, 2.0),
    "normal_": (1.0, 0.3),
    "trunc_normal_": (0.0, 1.0, -1.0, 2.5),
    "xavier_uniform_": (1.7,),
    "xavier_normal_": (1.7,),
    "kaiming_uniform_": (0.2, "fan_out"),
    "kaiming_normal_": (0.2, "fan_in", "relu"),
    "orthogonal_": (1.3,),
    "sparse_": (0.25, 0.4),
}


def call(function, tensor, /, **kwargs):
    return getattr(twins, function)(tensor, *RANDOM[function], **kwargs)


def bits(tensor):
    return tensor.detach().contiguous().view(torch.uint8).numpy().tobytes()
