"""Ops that work on each place by itself: linear layers, normalisations, activations, dropout, scaling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from resdsl.ops.convolutions import groups_fault, has_bias
from resdsl.ops.core import (
    MAX_FILTERS,
    Arg,
    Args,
    Inputs,
    OpSpec,
    Shape,
    ShapeFault,
    TorchCall,
    Weight,
    channels_of,
    require_map,
    require_vector,
    shape_text,
    undilatable,
    value_text,
)
from resdsl.sizes import Amount

# --- linear --------------------------------------------------------------------------------------------------------


def _linear_weights(args: Args, inputs: Inputs) -> tuple[Weight, ...]:
    matrix = Weight("weight", (args["features"], require_vector(inputs)))
    return (matrix, Weight("bias", (args["features"],))) if has_bias(args) else (matrix,)


def _linear_shape(args: Args, inputs: Inputs) -> Shape:
    require_vector(inputs)
    return (args["features"],)


def _linear_macs(args: Args, inputs: Inputs, output: Shape) -> int | Amount:
    return require_vector(inputs) * int(args["features"])


def _linear_torch(args: Args, inputs: Inputs) -> TorchCall:
    keywords = {} if has_bias(args) else {"bias": False}
    return TorchCall("module", "nn.Linear", (require_vector(inputs), args["features"]), keywords)


LINEAR = OpSpec(
    "linear",
    "linear",
    (Arg("features", "int", least=1, most=MAX_FILTERS), Arg("bias", "bias", True)),
    _linear_torch,
    "fully connected layer on a vector; has a bias unless `bias = false`",
    _linear_shape,
    _linear_weights,
    _linear_macs,
    window=None,
    label=lambda args: f"fc {args['features']}",
    has_weights_layer=True,
)

# --- normalisation -------------------------------------------------------------------------------------------------


def _affine(channels: int, args: Args) -> tuple[Weight, ...]:
    return (Weight("weight", (channels,)), Weight("bias", (channels,))) if args["affine"] else ()


def _bn_weights(args: Args, inputs: Inputs) -> tuple[Weight, ...]:
    channels = channels_of(inputs[0])
    statistics = (Weight("running_mean", (channels,), True), Weight("running_var", (channels,), True))
    return _affine(channels, args) + statistics


def _bn_torch(args: Args, inputs: Inputs) -> TorchCall:
    keywords: dict[str, Any] = {}
    if args["eps"] != 1e-5:
        keywords["eps"] = args["eps"]
    if args["momentum"] != 0.1:
        keywords["momentum"] = args["momentum"]
    if not args["affine"]:
        keywords["affine"] = False
    target = "nn.BatchNorm2d" if len(inputs[0]) == 3 else "nn.BatchNorm1d"
    return TorchCall("module", target, (channels_of(inputs[0]),), keywords)


_EPS = Arg("eps", "number", 1e-5, least=0)
_AFFINE = Arg("affine", "bool", True)
_GAIN = Arg("gain", "number", 1.0)

BN = OpSpec(
    "bn",
    "norm",
    (_EPS, Arg("momentum", "number", 0.1, least=0, most=1), _AFFINE, _GAIN),
    _bn_torch,
    "batch normalisation (Ioffe and Szegedy 2015); `momentum` weighs the new batch; `gain` is the initial scale",
    weights=_bn_weights,
)


def _group_norm_shape(args: Args, inputs: Inputs) -> Shape:
    channels = channels_of(inputs[0])
    if channels % args["groups"]:
        raise groups_fault(channels, channels, args["groups"])
    return inputs[0]


def _norm_keywords(args: Args, affine_word: str) -> dict[str, Any]:
    keywords: dict[str, Any] = {} if args["eps"] == 1e-5 else {"eps": args["eps"]}
    return keywords if args["affine"] else {**keywords, affine_word: False}


GROUP_NORM = OpSpec(
    "group_norm",
    "norm",
    (Arg("groups", "int", 32, least=1), _EPS, _AFFINE, _GAIN),
    lambda args, inputs: TorchCall(
        "module", "nn.GroupNorm", (args["groups"], channels_of(inputs[0])), _norm_keywords(args, "affine")
    ),
    "group normalisation (Wu and He 2018)",
    _group_norm_shape,
    lambda args, inputs: _affine(channels_of(inputs[0]), args),
)


def _layer_norm_shape(args: Args, inputs: Inputs) -> Shape:
    if not all(isinstance(extent, int) for extent in inputs[0]):
        hint = "write `group_norm(1)`, which has one weight a channel"
        raise ShapeFault("R0308", (hint,), step="layer_norm", shape=shape_text(inputs[0]))
    return inputs[0]


def _layer_norm_weights(args: Args, inputs: Inputs) -> tuple[Weight, ...]:
    shape = tuple(int(str(extent)) for extent in inputs[0])
    return (Weight("weight", shape), Weight("bias", shape)) if args["affine"] else ()


LAYER_NORM = OpSpec(
    "layer_norm",
    "norm",
    (_EPS, _AFFINE, _GAIN),
    lambda args, inputs: TorchCall(
        "module", "nn.LayerNorm", (tuple(inputs[0]),), _norm_keywords(args, "elementwise_affine")
    ),
    "layer normalisation over channels and places (Ba et al. 2016); the map size must be known",
    _layer_norm_shape,
    _layer_norm_weights,
    dilate=undilatable("has weights for every place of the map"),
)

# --- activations ---------------------------------------------------------------------------------------------------


def _activation(
    name: str,
    target: str,
    doc: str,
    args: tuple[Arg, ...] = (),
    arguments: Callable[[Args, Inputs], tuple[Any, ...]] = lambda args, inputs: (),
    has_inplace: bool | Callable[[Args], bool] = True,
    weights: Callable[[Args, Inputs], tuple[Weight, ...]] | None = None,
) -> OpSpec:
    def torch(given: Args, inputs: Inputs) -> TorchCall:
        may_overwrite = has_inplace(given) if callable(has_inplace) else has_inplace
        return TorchCall("module", target, arguments(given, inputs), None, may_overwrite)

    if weights is None:
        return OpSpec(name, "activation", args, torch, doc)
    return OpSpec(name, "activation", args, torch, doc, weights=weights)


ACTIVATIONS = (
    _activation("relu", "nn.ReLU", "max(x, 0)"),
    _activation("relu6", "nn.ReLU6", "min(max(x, 0), 6)"),
    _activation(
        "leaky_relu",
        "nn.LeakyReLU",
        "x where positive, else slope * x",
        (Arg("slope", "number", 0.01),),
        lambda args, inputs: (args["slope"],),
        has_inplace=lambda args: bool(args["slope"] >= 0),  # torch finds no gradient from a result that folds back
    ),
    _activation(
        "prelu",
        "nn.PReLU",
        "x where positive, else a learned slope a channel times x (He et al. 2015b)",
        arguments=lambda args, inputs: (channels_of(inputs[0]),),
        has_inplace=False,
        weights=lambda args, inputs: (Weight("weight", (channels_of(inputs[0]),)),),
    ),
    _activation(
        "elu", "nn.ELU", "x where positive, else alpha * (exp(x) - 1)", (Arg("alpha", "number", 1.0),),
        lambda args, inputs: (args["alpha"],),
        has_inplace=lambda args: bool(args["alpha"] >= 0),
    ),
    _activation("selu", "nn.SELU", "scaled ELU (Klambauer et al. 2017)"),
    _activation("silu", "nn.SiLU", "x * sigmoid(x), also called swish"),
    _activation("gelu", "nn.GELU", "x * Phi(x) (Hendrycks and Gimpel 2016)", has_inplace=False),
    _activation("mish", "nn.Mish", "x * tanh(softplus(x))"),
    _activation("hard_swish", "nn.Hardswish", "x * relu6(x + 3) / 6"),
    _activation("hard_sigmoid", "nn.Hardsigmoid", "relu6(x + 3) / 6"),
    _activation("softplus", "nn.Softplus", "log(1 + exp(x))", has_inplace=False),
    _activation("sigmoid", "nn.Sigmoid", "1 / (1 + exp(-x))", has_inplace=False),
    _activation("tanh", "nn.Tanh", "hyperbolic tangent", has_inplace=False),
)  # fmt: skip

SOFTMAX = OpSpec(
    "softmax",
    "activation",
    (),
    lambda args, inputs: TorchCall("module", "nn.Softmax", (), {"dim": 1}),
    "softmax over the channels; training needs none, its loss contains it",
)

# --- dropout and scaling -------------------------------------------------------------------------------------------

_DROP = Arg("drop", "number", 0.5, least=0, most=1)

DROPOUT = OpSpec(
    "dropout",
    "dropout",
    (_DROP,),
    lambda args, inputs: TorchCall("module", "nn.Dropout", (args["drop"],)),
    "sets a share of the values to zero in training",
)

CHANNEL_DROPOUT = OpSpec(
    "channel_dropout",
    "dropout",
    (_DROP,),
    lambda args, inputs: TorchCall("module", "nn.Dropout2d", (args["drop"],)),
    "sets a share of whole channels to zero in training",
    lambda args, inputs: require_map(inputs),
)

STOCHASTIC_DEPTH = OpSpec(
    "stochastic_depth",
    "dropout",
    (_DROP, Arg("per", "choice", "sample", choices=("sample", "batch"))),
    lambda args, inputs: TorchCall("module", "StochasticDepth", (args["drop"], args["per"])),
    "in training drops a whole branch with this probability and scales it up otherwise (Huang et al. 2016)",
)

LRN = OpSpec(
    "lrn",
    "norm",
    (
        Arg("size", "int", 5, least=1),
        Arg("alpha", "number", 1e-4),
        Arg("beta", "number", 0.75),
        Arg("k", "number", 1.0),
    ),
    lambda args, inputs: TorchCall(
        "module", "nn.LocalResponseNorm", (args["size"], args["alpha"], args["beta"], args["k"])
    ),
    "local response normalisation over neighbouring channels (Krizhevsky et al. 2012)",
    lambda args, inputs: require_map(inputs),
)

SCALE = OpSpec(
    "scale",
    "activation",
    (Arg("by", "number"),),
    lambda args, inputs: TorchCall("function", "torch.mul", (args["by"],)),
    "multiplies by a constant",
    label=lambda args: f"x {value_text(args['by'])}",
)

COMPLEMENT = OpSpec(
    "complement",
    "activation",
    (),
    lambda args, inputs: TorchCall("function", "torch.rsub", (1,)),
    "1 - x, the carry gate of a highway",
    label=lambda args: "1 - x",
)

IDENTITY = OpSpec(
    "identity",
    "identity",
    (),
    lambda args, inputs: TorchCall("module", "nn.Identity"),
    "passes its input on",
)

POINTWISE_OPS = (
    LINEAR,
    BN,
    GROUP_NORM,
    LAYER_NORM,
    *ACTIVATIONS,
    SOFTMAX,
    DROPOUT,
    CHANNEL_DROPOUT,
    STOCHASTIC_DEPTH,
    LRN,
    SCALE,
    COMPLEMENT,
    IDENTITY,
)
