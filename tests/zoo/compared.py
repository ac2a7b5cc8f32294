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
    ("resnet18.res", "plain18", "torchvision resnet18"),
    ("resnet34.res", "plain34", "torchvision resnet34"),
    *((f"resnet{depth}.res", f"resnet{depth}", f"torchvision resnet{depth}") for depth in (50, 101, 152)),
    *(
        ("resnet_options.res", f"resnet{depth}{stride}_{option}", f"torchvision resnet{depth}")
        for depth, strides in ((18, ("",)), (34, ("",)), (50, ("", "_v15")), (101, ("", "_v15")), (152, ("", "_v15")))
        for stride in strides
        for option in "AC"
    ),
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
# timm's has the stride of the paper, and the padding of Caffe's pool put right.
REPOOLED: list[Comparison] = [("se_resnet50.res", "se_resnet50_v1", "timm legacy_seresnet50")]
# Nets that no library has: a module written from the paper in the test.
WRITTEN = {
    "alexnet.res": ["alexnet_2012"],
    "googlenet.res": ["googlenet"],
    "highway.res": ["highway19", "highway32"],
    "mlp_shortcut.res": ["mlp_shortcut", "mlp_plain"],
    "cifar_resnets.res": ["resnet20", "plain20", "resnet20_B", "resnet20_C"],
    "cifar_preact_resnets.res": ["preact110", "preact164", "resnet164", "resnet110_one_layer", "preact110_one_layer"],
    "resnet110_shortcuts.res": [
        "resnet110", "plain110", "constant_scaling110", "frozen_gating110", "exclusive_gating110",
        "shortcut_gating110", "conv_shortcut110", "dropout_shortcut110",
    ],
    "resnet110_activations.res": [
        "resnet110", "bn_after_addition110", "relu_before_addition110", "relu_preactivation110",
        "full_preactivation110",
    ],
    "pyramidnet.res": [
        "pyramidnet110_48", "pyramidnet110_84", "pyramidnet110_270", "pyramidnet164_270", "pyramidnet272_200",
    ],
    "wide_resnet.res": ["wide_resnet28_10", "wide_resnet28_10_dropout", "wide_resnet40_4", "wide_resnet16_8"],
    "stochastic_depth110.res": ["stochastic_depth110"],
}  # fmt: skip
# Files of which every net's costs are computed once more by arithmetic.
BY_FORMULA = [
    "resnet18.res", "resnet34.res", "resnet50.res", "resnet101.res", "resnet152.res", "resnet_options.res",
    "cifar_resnets.res", "resnet110_cifar.res", "resnet20_digits.res", "cifar_preact_resnets.res", "preact_resnets.res",
    "resnet110_shortcuts.res", "resnet110_activations.res",
]  # fmt: skip

COMPARED: list[Comparison] = [
    *RESIDUAL,
    *((file, network, f"{peer}, changed") for file, network, peer in [*CHANGED, *REPOOLED]),
    *PREACTIVATION,
    *KERAS,
    *BEFORE,
    *AFTER,
    *((file, network, "a module written from the paper") for file, networks in WRITTEN.items() for network in networks),
]
