"""What the tests of the command line share: models to name, and ways to call it."""

from __future__ import annotations

from click.testing import CliRunner

from xavier.cli import main

MODELS = '''
import torch
from torch import nn


class Net(nn.Module):
    """A small net with an example of its own."""

    def __init__(self, depth=3, width=16):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.head = nn.Linear(width, 4)

    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.head(x)

    def example_input(self):
        return torch.randn(8, 16, generator=torch.Generator().manual_seed(1))


def net(depth=3, width=16):
    return Net(depth, width)


def silent(depth=3):
    made = Net(depth)
    made.example_input = None
    return made


def tiny_weights():
    made = Net(depth=40)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(1e-3)
    return made


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(32, 8)
        self.head = nn.Linear(8, 32, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens, mask=None):
        x = self.table(tokens)
        return self.head(x if mask is None else x * mask[..., None])


def raising():
    raise ValueError("out of\\nluck")


class Prints(Net):
    def forward(self, x):
        print("running")
        return super().forward(x)


def prints():
    print("building")
    return Prints()


def warns():
    import warnings

    warnings.warn("beware \\x1b[31m")
    return Net()


def colours():
    raise ValueError("red \\x1b[31m, bell \\x07")


def ends():
    raise SystemExit(0)


class Ends(Net):
    def forward(self, x):
        raise SystemExit(0)


def interrupted():
    raise KeyboardInterrupt


async def waits():
    return Net()


def empty():
    return nn.Sequential()


def no_model():
    return {"a": 1}


def nothing():
    return None


class Raises(nn.Linear):
    def forward(self, x):
        raise RuntimeError("not today")


def raises():
    return Raises(16, 4)


ready = Net()
number = 3
'''


def run(*arguments: str):
    """Call the command line in this process."""
    return CliRunner().invoke(main, list(arguments))


def refused(*arguments: str, code: int = 2) -> str:
    """Return the error of a call that must fail in one line, with at most one hint."""
    result = run(*arguments)
    lines = result.stderr.splitlines()
    assert result.exit_code == code, result.output
    errors = [line for line in lines if line.startswith("Error: ")]
    assert len(errors) == 1, result.output
    assert lines[lines.index(errors[0]) :] in ([errors[0]], [errors[0], lines[-1]])
    assert lines[-1].startswith(("Error: ", "Hint: "))
    assert "Traceback" not in result.output
    return "\n".join(lines[lines.index(errors[0]) :])
