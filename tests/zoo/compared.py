"""What each net of specs/ is compared with: plain data, for the tests and for the table in specs/README.md."""

from __future__ import annotations

Comparison = tuple[str, str, str]
"""File, network, peer."""

RESIDUAL: list[Comparison] = [
    ("resnet18.res", "resnet18", "torchvision resnet18"),
    ("resnet34.res", "resnet34", "torchvision resnet34"),
    # torchvision's bottleneck nets are v1.5: they stride on the 3x3.
    ("resnet50.res", "resnet50_v15", "torchvision resnet50"),
    ("resnet101.res", "resnet101_v15", "torchvision resnet101"),
    ("resnet152.res", "resnet152_v15", "torchvision resnet152"),
]
# With another shortcut or another place of the stride put into torchvision's module.
CHANGED: list[Comparison] = [
    ("resnet_options.res", "resnet18_A", "torchvision resnet18"),
    ("resnet_options.res", "resnet18_C", "torchvision resnet18"),
    ("resnet_options.res", "resnet50_v15_A", "torchvision resnet50"),
    ("resnet_options.res", "resnet50_C", "torchvision resnet50"),
    ("resnet50.res", "resnet50", "torchvision resnet50"),
]
PREACTIVATION: list[Comparison] = [
    ("preact_resnets.res", "preact50", "timm resnetv2_50"),
    ("preact_resnets.res", "preact101", "timm resnetv2_101"),
    ("preact_resnets.res", "preact152", "timm resnetv2_152"),
]
KERAS: list[Comparison] = [
    ("keras_resnets.res", "keras_resnet50", "Keras ResNet50"),
    ("keras_resnets.res", "keras_resnet101", "Keras ResNet101"),
    ("keras_resnets.res", "keras_resnet152", "Keras ResNet152"),
    ("keras_resnets.res", "keras_resnet50v2", "Keras ResNet50V2"),
    ("keras_resnets.res", "keras_resnet101v2", "Keras ResNet101V2"),
    ("keras_resnets.res", "keras_resnet152v2", "Keras ResNet152V2"),
]
BEFORE: list[Comparison] = [
    ("alexnet.res", "alexnet", "torchvision alexnet"),
    ("vgg.res", "vgg11", "torchvision vgg11"),
    ("vgg.res", "vgg11_bn", "torchvision vgg11_bn"),
    ("vgg.res", "vgg13", "torchvision vgg13"),
    ("vgg.res", "vgg13_bn", "torchvision vgg13_bn"),
    ("vgg.res", "vgg16", "torchvision vgg16"),
    ("vgg.res", "vgg16_bn", "torchvision vgg16_bn"),
    ("vgg.res", "vgg19", "torchvision vgg19"),
    ("vgg.res", "vgg19_bn", "torchvision vgg19_bn"),
    ("googlenet.res", "googlenet_bn", "torchvision googlenet"),
]
AFTER: list[Comparison] = [
    ("resnext.res", "resnext50_32x4d", "torchvision resnext50_32x4d"),
    ("resnext.res", "resnext101_32x4d", "timm resnext101_32x4d"),
    ("resnext.res", "resnext101_32x8d", "torchvision resnext101_32x8d"),
    ("wide_resnet.res", "wide_resnet50_2", "torchvision wide_resnet50_2"),
    ("wide_resnet.res", "wide_resnet101_2", "torchvision wide_resnet101_2"),
    ("se_resnet50.res", "se_resnet50", "timm seresnet50"),
    ("resnet50_d.res", "resnet50_d", "timm resnet50d"),
    ("densenet121.res", "densenet121", "torchvision densenet121"),
]
# Nets that no library has: a module written from the paper in the test.
WRITTEN = {
    "alexnet.res": ["alexnet_2012"],
    "googlenet.res": ["googlenet"],
    "highway.res": ["highway19", "highway32"],
    "mlp_shortcut.res": ["mlp_shortcut"],
    "cifar_preact_resnets.res": ["preact110", "preact164", "resnet164", "resnet110_one_layer", "preact110_one_layer"],
    "resnet110_shortcuts.res": [
        "resnet110", "plain110", "constant_scaling110", "frozen_gating110", "exclusive_gating110",
        "shortcut_gating110", "conv_shortcut110", "dropout_shortcut110",
    ],
    "resnet110_activations.res": [
        "resnet110", "bn_after_addition110", "relu_before_addition110", "relu_preactivation110",
        "full_preactivation110",
    ],
    "pyramidnet.res": ["pyramidnet110_48", "pyramidnet164_270"],
    "stochastic_depth110.res": ["stochastic_depth110"],
}  # fmt: skip
# Files of which every net's costs are computed once more by arithmetic.
BY_FORMULA = [
    "resnet18.res", "resnet34.res", "resnet50.res", "resnet101.res", "resnet152.res", "resnet_options.res",
    "cifar_resnets.res", "resnet110_cifar.res", "cifar_preact_resnets.res", "preact_resnets.res",
    "resnet110_shortcuts.res", "resnet110_activations.res", "pyramidnet.res", "wide_resnet.res",
]  # fmt: skip

COMPARED: list[Comparison] = [
    *RESIDUAL,
    *((file, network, f"{peer}, changed") for file, network, peer in CHANGED),
    *PREACTIVATION,
    *KERAS,
    *BEFORE,
    *AFTER,
    *((file, network, "a module written from the paper") for file, networks in WRITTEN.items() for network in networks),
]
