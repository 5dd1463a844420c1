"""Convolutional networks: a deep plain one, a ResNet, and a U-Net with every kind of layer."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from xavier.frameworks.torch.zoo import _examples

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


class PlainNet(nn.Module):
    """3x3 convolutions, a ReLU after each; no normalization, no skip."""

    def __init__(
        self, *, depth: int, width: int, in_channels: int, classes: int, padding_mode: PaddingMode
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        before = in_channels
        for at in range(depth):
            stage = 3 * at // depth
            starts = at > 0 and stage > 3 * (at - 1) // depth
            self.layers.append(
                nn.Conv2d(
                    before,
                    width * 2**stage,
                    3,
                    stride=2 if starts else 1,
                    padding=1,
                    padding_mode=padding_mode,
                )
            )
            before = width * 2**stage
        self.head = nn.Linear(before, classes)
        self.in_channels = in_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, (batch, classes), for pictures, (batch, channels, height, width)."""
        for layer in self.layers:
            x = torch.relu(layer(x))
        return self.head(x.mean(dim=(2, 3)))

    def example_input(self, batch: int = 2, *, seed: int = 0) -> torch.Tensor:
        """Return pictures of 16 x 16 standard normal pixels."""
        return _examples.normal(batch, self.in_channels, 16, 16, seed=seed)


def plain_relu_cnn(
    depth: int = 30,
    width: int = 16,
    *,
    in_channels: int = 3,
    classes: int = 10,
    padding_mode: PaddingMode = "reflect",
) -> PlainNet:
    """Build a plain ReLU network of 30 convolutions, for which He's rule was made.

    The convolutions stand in three stages, each with half the resolution and twice the
    channels of the one before; a mean over all pixels and a dense head follow.

    Args:
        depth: Convolutions.
        width: Channels of the first stage.
        in_channels: Channels of a picture.
        classes: Outputs of the head.
        padding_mode: As `nn.Conv2d` takes it. Reflected borders, unlike zeros, leave the
            variance what it is, which at 30 layers on small pictures is most of the signal.

    Reference:
        He et al., "Delving Deep into Rectifiers", 2015, section 2.2.
    """
    return PlainNet(
        depth=depth,
        width=width,
        in_channels=in_channels,
        classes=classes,
        padding_mode=padding_mode,
    )


class BasicUnit(nn.Module):
    """Two 3x3 convolutions with batch normalization, and a skip around them."""

    def __init__(self, before: int, after: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample = nn.Sequential()
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the stream after this unit's write and a ReLU."""
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.downsample(x) + self.bn2(self.conv2(y)))


class ResNet18(nn.Module):
    """A stem, four stages of two units, a mean over all pixels, and a head."""

    def __init__(self, *, width: int, in_channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(width, width, stride=1)
        self.layer2 = _stage(width, 2 * width, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, stride=2)
        self.layer4 = _stage(4 * width, 8 * width, stride=2)
        self.fc = nn.Linear(8 * width, classes)
        self.in_channels = in_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, (batch, classes), for pictures, (batch, channels, height, width)."""
        x = self.pool(torch.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))

    def example_input(self, batch: int = 2, *, seed: int = 0) -> torch.Tensor:
        """Return pictures of 64 x 64 standard normal pixels."""
        return _examples.normal(batch, self.in_channels, 64, 64, seed=seed)


def _stage(before: int, after: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(BasicUnit(before, after, stride=stride), BasicUnit(after, after, stride=1))


def resnet18(width: int = 16, *, in_channels: int = 3, classes: int = 10) -> ResNet18:
    """Build the residual network of 18 layers.

    With `width=64, classes=1000` it is the paper's, of 11,689,512 parameters.

    Args:
        width: Channels of the first stage; the others have two, four and eight times as many.
        in_channels: Channels of a picture.
        classes: Outputs of the head.

    Reference:
        He et al., "Deep Residual Learning for Image Recognition", 2015, table 1.
    """
    return ResNet18(width=width, in_channels=in_channels, classes=classes)


class SeparableUnit(nn.Module):
    """A depthwise convolution, one across the channels, normalization and SiLU."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(before, before, 3, padding=1, groups=before)
        self.pointwise = nn.Conv2d(before, after, 1)
        self.norm = nn.GroupNorm(4, after)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features of the same resolution."""
        return nn.functional.silu(self.norm(self.pointwise(self.depthwise(x))))


class GroupedUnit(nn.Module):
    """A convolution in groups of channels, normalization and SiLU."""

    def __init__(self, channels: int, *, groups: int) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(channels, channels, 3, padding=1, groups=groups)
        self.norm = nn.GroupNorm(4, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape."""
        return nn.functional.silu(self.norm(self.grouped(x)))


class UNet(nn.Module):
    """Two levels down, two levels up, and what was seen on the way down joined on the way up."""

    def __init__(self, *, width: int, in_channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        wide, widest = 2 * width, 4 * width
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1)
        self.encode1 = SeparableUnit(width, width)
        self.down1 = nn.Conv2d(width, wide, 4, stride=2, padding=1)
        self.encode2 = GroupedUnit(wide, groups=groups)
        self.down2 = nn.Conv2d(wide, widest, 2, stride=2, groups=groups)
        self.middle = SeparableUnit(widest, widest)
        self.up2 = nn.ConvTranspose2d(widest, wide, 4, stride=2, padding=1)
        self.decode2 = SeparableUnit(2 * wide, wide)
        self.up1 = nn.ConvTranspose2d(wide, width, 2, stride=2, groups=groups)
        self.decode1 = GroupedUnit(2 * width, groups=groups)
        self.head = nn.Conv2d(2 * width, out_channels, 1)
        self.in_channels = in_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a picture for pictures whose height and width are multiples of four."""
        fine = self.encode1(self.stem(x))
        coarse = self.encode2(self.down1(fine))
        y = self.up2(self.middle(self.down2(coarse)))
        y = self.up1(self.decode2(torch.cat([y, coarse], dim=1)))
        return self.head(self.decode1(torch.cat([y, fine], dim=1)))

    def example_input(self, batch: int = 2, *, seed: int = 0) -> torch.Tensor:
        """Return pictures of 16 x 16 standard normal pixels."""
        return _examples.normal(batch, self.in_channels, 16, 16, seed=seed)


def unet(width: int = 32, *, in_channels: int = 3, out_channels: int = 3, groups: int = 4) -> UNet:
    """Build a U-Net with depthwise, grouped, strided and transposed convolutions.

    Args:
        width: Channels at full resolution; a multiple of four and of `groups`.
        in_channels: Channels of the picture that goes in.
        out_channels: Channels of the picture that comes out.
        groups: Groups of the grouped convolutions.

    Reference:
        Ronneberger et al., "U-Net", 2015, figure 1.
    """
    return UNet(width=width, in_channels=in_channels, out_channels=out_channels, groups=groups)
