"""Models to be trained with a monitor and without, and what must then be equal."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy, dropout, rrelu
from torch.utils.checkpoint import checkpoint

BATCH = 6


def perceptron(activation: type[nn.Module] = nn.Tanh, **settings) -> nn.Sequential:
    torch.manual_seed(0)
    body = [each for _ in range(3) for each in (nn.Linear(8, 8), activation(**settings))]
    return nn.Sequential(*body, nn.Linear(8, 3))


def batches(steps: int, shape: tuple[int, ...] = (8,)) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(BATCH, *shape, generator=generator),
            torch.randint(3, (BATCH,), generator=generator),
        )
        for _ in range(steps)
    ]


def losses(model, monitor=None, *, steps=5, shape=(8,), forward=None, optimizer=torch.optim.Adam):
    """Train, and return each step's loss and what the generators give afterwards."""
    torch.manual_seed(2)
    stepper = optimizer(model.parameters(), lr=1e-2)
    found = []
    for inputs, target in batches(steps, shape):
        with monitor.step() if monitor else torch.enable_grad():
            loss = cross_entropy((forward or model)(inputs), target)
            loss.backward()
            stepper.step()
            stepper.zero_grad()
        found.append(loss.item())
    return found, torch.rand(1).item()


def traces(model: nn.Module) -> list[object]:
    """Return what hooks and attributes of modules there are."""
    return [
        (name, sorted(module.__dict__), [len(module.__dict__[each]) for each in HOOKS])
        for name, module in model.named_modules()
    ]


HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
)


class Normed(nn.Module):
    """A convolution with running statistics, dropout and an activation that draws."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = rrelu(self.norm(self.convolution(x)), training=True)
        return self.head(dropout(x, 0.5).mean((2, 3)))


class Attentive(nn.Module):
    """A trained layer of attention behind one that is frozen in eval mode."""

    def __init__(self):
        super().__init__()
        kind = {"d_model": 8, "nhead": 2, "dim_feedforward": 16, "batch_first": True}
        self.frozen = nn.TransformerEncoderLayer(**kind).requires_grad_(requires_grad=False).eval()
        self.trained = nn.TransformerEncoderLayer(**kind)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.trained(self.frozen(x)).mean(1))


class Checkpointed(nn.Module):
    """Its body is run again in the backward pass."""

    def __init__(self, *, reentrant: bool):
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.body = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3))
        self.reentrant = reentrant

    def forward(self, x):
        return checkpoint(self.body, self.first(x), use_reentrant=self.reentrant)


MODELS = {
    "perceptron": (perceptron, (8,)),
    "in place": (lambda: perceptron(nn.ReLU, inplace=True), (8,)),
    "random": (Normed, (1, 6, 6)),
    "attention": (Attentive, (4, 8)),
    "checkpointed": (lambda: Checkpointed(reentrant=False), (8,)),
    "checkpointed, reentrant": (lambda: Checkpointed(reentrant=True), (8,)),
    "recurrent": (lambda: nn.Sequential(nn.LSTM(8, 8, batch_first=True), Last()), (4, 8)),
}


class Last(nn.Module):
    """The last state's logits."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 3)

    def forward(self, outputs):
        return self.head(outputs[0][:, -1])
