"""Vision models of torchvision: at their published sizes, and tiny ones of the same structure."""

from __future__ import annotations

from functools import partial
from typing import Any

import torchvision.models as tv
from torch import nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.efficientnet import EfficientNet, MBConvConfig
from torchvision.models.mobilenetv2 import MobileNetV2
from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.models.vision_transformer import VisionTransformer

TINY_SIZE = 32
TINY_CLASSES = 10


class NarrowResNet(ResNet):
    """ResNet with an eighth of the channels behind the stem."""

    def __init__(self, block: type[BasicBlock | Bottleneck], layers: list[int]) -> None:
        super().__init__(block, layers)
        self.fc = nn.Linear(64 * block.expansion, TINY_CLASSES)

    def _make_layer(self, block: Any, planes: int, *args: Any, **kwargs: Any) -> nn.Sequential:
        return super()._make_layer(block, planes // 8, *args, **kwargs)


def tiny_resnet18() -> nn.Module:
    return NarrowResNet(BasicBlock, [1, 1, 1, 1])


def tiny_resnet50() -> nn.Module:
    return NarrowResNet(Bottleneck, [1, 2, 1, 1])


def tiny_mobilenet_v2() -> nn.Module:
    # Rows are expansion, channels, repeats, stride.
    setting = [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 2, 2]]
    return MobileNetV2(TINY_CLASSES, width_mult=0.5, inverted_residual_setting=setting)


def tiny_mobilenet_v3_large() -> nn.Module:
    block = partial(InvertedResidualConfig, width_mult=0.5)
    setting = [
        block(16, 3, 16, 16, False, "RE", 1, 1),
        block(16, 3, 64, 24, False, "RE", 2, 1),
        block(24, 5, 72, 24, True, "RE", 1, 1),
        block(24, 3, 96, 40, True, "HS", 2, 1),
        block(40, 5, 120, 40, True, "HS", 1, 1),
    ]
    return MobileNetV3(setting, last_channel=64, num_classes=TINY_CLASSES)


def tiny_efficientnet_b0() -> nn.Module:
    block = partial(MBConvConfig, width_mult=0.5, depth_mult=1.0)
    setting = [block(1, 3, 1, 32, 16, 1), block(6, 3, 2, 16, 24, 2), block(6, 5, 2, 24, 40, 2)]
    return EfficientNet(setting, dropout=0.2, num_classes=TINY_CLASSES)


def tiny_vit_b_16() -> nn.Module:
    return VisionTransformer(
        image_size=TINY_SIZE,
        patch_size=8,
        num_layers=2,
        num_heads=2,
        hidden_dim=32,
        mlp_dim=64,
        num_classes=TINY_CLASSES,
    )


def tiny_convnext() -> nn.Module:
    setting = [CNBlockConfig(16, 32, 1), CNBlockConfig(32, 48, 2), CNBlockConfig(48, None, 1)]
    return ConvNeXt(setting, num_classes=TINY_CLASSES)


FULL = {
    "resnet18": tv.resnet18,
    "resnet50": tv.resnet50,
    "mobilenet_v2": tv.mobilenet_v2,
    "mobilenet_v3_large": tv.mobilenet_v3_large,
    "efficientnet_b0": tv.efficientnet_b0,
    "vit_b_16": tv.vit_b_16,
    "convnext_tiny": tv.convnext_tiny,
}
TINY = {
    "tiny_resnet18": tiny_resnet18,
    "tiny_resnet50": tiny_resnet50,
    "tiny_mobilenet_v2": tiny_mobilenet_v2,
    "tiny_mobilenet_v3_large": tiny_mobilenet_v3_large,
    "tiny_efficientnet_b0": tiny_efficientnet_b0,
    "tiny_vit_b_16": tiny_vit_b_16,
    "tiny_convnext": tiny_convnext,
}
