"""Models of which one run uses a part: a mixture of experts, and parameters never reached."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from xavier.frameworks.torch.zoo import _examples


class StackedExperts(nn.Module):
    """Gated layers of all experts, their weights stacked along the first axis.

    Every expert works on every token; the gates choose afterwards, so that the result is that
    of a routed layer.
    """

    def __init__(self, experts: int, *, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_up = nn.Parameter(torch.empty(experts, width, 2 * hidden))
        self.down = nn.Parameter(torch.empty(experts, hidden, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw each expert as `nn.Linear` draws its weight, from U[±1/√fan_in]."""
        for weight in (self.gate_up, self.down):
            bound = 1 / math.sqrt(weight.shape[1])
            nn.init.uniform_(weight, -bound, bound)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return every expert's output, (experts, tokens, width), for (tokens, width)."""
        gate, up = torch.einsum("td,edh->eth", x, self.gate_up).chunk(2, dim=-1)
        return torch.bmm(functional.silu(gate) * up, self.down)


class RoutedBlock(nn.Module):
    """A router, and the experts that it chooses from, as a pre-norm residual branch."""

    def __init__(self, *, experts: int, chosen: int, width: int, hidden: int) -> None:
        super().__init__()
        self.chosen = chosen
        self.norm = nn.LayerNorm(width)
        self.router = nn.Linear(width, experts, bias=False)
        self.experts = StackedExperts(experts, width=width, hidden=hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the stream, (tokens, width), with this block's write."""
        y = self.norm(x)
        logits = self.router(y)
        best, where = logits.topk(self.chosen, dim=-1)
        gates = torch.zeros_like(logits).scatter(-1, where, torch.softmax(best, dim=-1))
        return x + (gates.t()[..., None] * self.experts(y)).sum(dim=0)


class MixtureOfExperts(nn.Module):
    """A token table, routed blocks, a norm, and a head."""

    def __init__(
        self,
        *,
        vocabulary: int,
        depth: int,
        width: int,
        hidden: int,
        experts: int,
        chosen: int,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(
            RoutedBlock(experts=experts, chosen=chosen, width=width, hidden=hidden)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.vocabulary = vocabulary

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return logits, (batch, length, vocabulary), for token numbers, (batch, length)."""
        x = self.tokens(ids).flatten(0, 1)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)).unflatten(0, ids.shape)

    def example_input(self, batch: int = 2, *, seed: int = 0) -> torch.Tensor:
        """Return rows of twelve token numbers."""
        return _examples.tokens(batch, 12, high=self.vocabulary, seed=seed)


def mixture_of_experts(
    vocabulary: int = 128,
    *,
    depth: int = 2,
    width: int = 64,
    hidden: int = 128,
    experts: int = 4,
    chosen: int = 2,
) -> MixtureOfExperts:
    """Build a language model of routed blocks with stacked expert weights.

    Args:
        vocabulary: Number of tokens.
        depth: Blocks.
        width: Channels of the residual stream.
        hidden: Units within an expert.
        experts: Experts in each block.
        chosen: How many of them work on a token.

    Reference:
        Shazeer et al., "Outrageously Large Neural Networks", 2017, section 2.1.
    """
    return MixtureOfExperts(
        vocabulary=vocabulary,
        depth=depth,
        width=width,
        hidden=hidden,
        experts=experts,
        chosen=chosen,
    )


class PartlyUsed(nn.Module):
    """A perceptron with one head for each domain, and a weight that no forward reads."""

    def __init__(self, *, width: int, in_features: int, out_features: int, domains: int) -> None:
        super().__init__()
        self.first = nn.Linear(in_features, width)
        self.second = nn.Linear(width, width)
        self.forgotten = nn.Parameter(torch.empty(width, width))
        self.heads = nn.ModuleList(nn.Linear(width, out_features) for _ in range(domains))
        self.in_features = in_features
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the unused weight to the identity."""
        nn.init.eye_(self.forgotten)

    def forward(self, x: torch.Tensor, domain: int = 0) -> torch.Tensor:
        """Return one domain's outputs, (batch, out_features), for (batch, in_features)."""
        x = torch.relu(self.second(torch.relu(self.first(x))))
        return self.heads[domain](x)

    def example_input(self, batch: int = 2, *, seed: int = 0) -> torch.Tensor:
        """Return standard normal rows, which go to the first domain's head alone."""
        return _examples.normal(batch, self.in_features, seed=seed)


def unused_parameter(
    width: int = 64, *, in_features: int = 64, out_features: int = 10, domains: int = 2
) -> PartlyUsed:
    """Build a model with a weight that nothing reads, and heads that one run does not reach.

    Args:
        width: Units of the hidden layers.
        in_features: Features of an input row.
        out_features: Outputs of each head.
        domains: Heads, of which one run uses one.
    """
    return PartlyUsed(
        width=width, in_features=in_features, out_features=out_features, domains=domains
    )
