"""Networks of torchvision and timm that a network is measured beside, and whether they are the same network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from resdsl.net import Net
from resdsl.suggest import closest
from resdsl.weights.errors import WeightsError
from resdsl.weights.load import load_weights
from resdsl.weights.reference import siblings
from resdsl.weights.verify import TOLERANCE, relative_difference

AUXILIARY = ("googlenet", "inception_v3")
# Other libraries' words for a part of a name.
_WORDS = {"preact": "resnetv2", "v15": ""}


@dataclass(frozen=True, slots=True)
class Alike:
    """A network of another library, `make` with first weights, and how it compares: the same one, or in what not."""

    name: str
    make: Callable[[], nn.Module]
    parameters: int
    macs: int | None
    is_same: bool
    remark: str


def alike_networks(net: Net, named: tuple[str, ...] = ()) -> list[Alike]:
    """Those of this name and number of parameters, at most one a library; with `named`, such as `timm:resnet50`, those.

    The network must take (C, H, W) and give one number a class.

    Raises:
        WeightsError: a named library is missing or has no such network.
    """
    if named:
        return [_compared(net, name, _maker(net, name)) for name in named]
    found = []
    for candidates in (_of_torchvision(net), _of_timm(net)):
        alike = [_compared(net, name, make) for name, make in candidates]
        alike.sort(key=lambda one: not one.is_same)
        found += alike[:1]
    return found


def library_versions() -> dict[str, str]:
    """Of those that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for library in ("torchvision", "timm"):
        with suppress(PackageNotFoundError):
            found[library] = version(library)
    return found


def _maker(net: Net, name: str) -> Callable[[], nn.Module]:
    library, _, model = name.partition(":")
    if library not in {"torchvision", "timm"} or not model:
        raise WeightsError(f"{name!r} is not LIBRARY:MODEL with torchvision or timm")
    try:
        known = _known(library)
    except ImportError as error:
        raise WeightsError(f"{library} cannot be imported: {error}") from None
    if model not in known:
        guess = closest(model, known)
        raise WeightsError(
            f"{library} has no model {model!r}" + (f"; did you mean {library}:{guess}?" if guess else "")
        )
    return _make_torchvision(net, model) if library == "torchvision" else _make_timm(net, model)


def _known(library: str) -> list[str]:
    if library == "torchvision":
        from torchvision import models

        names: list[str] = models.list_models(module=models)
    else:
        import timm

        names = timm.list_models()
    return names


def _of_torchvision(net: Net) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """Of the same number of parameters, whatever their name."""
    from torchvision import models

    for name in models.list_models(module=models):
        published = {weights.meta["num_params"] for weights in models.get_model_weights(name)}
        if _with_thousand_classes(net) in published:
            make = _make_torchvision(net, name)
            if _on_meta(make) == _own_parameters(net):
                yield f"torchvision:{name}", make


def _of_timm(net: Net) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """Of the same name, but for underscores and other words for the same thing, and number of parameters."""
    try:
        names = _known("timm")
    except ImportError:
        return
    wanted = _plain_name(net.name)
    for name in names:
        if _plain_name(name) == wanted:
            make = _make_timm(net, name)
            if _on_meta(make) == _own_parameters(net):
                yield f"timm:{name}", make


def _plain_name(name: str) -> str:
    for word, other in _WORDS.items():
        name = name.replace(word, other)
    return name.replace("_", "")


def _make_torchvision(net: Net, name: str) -> Callable[[], nn.Module]:
    from torchvision import models

    options: dict[str, Any] = {"num_classes": net.output_shape[0]}
    if name in AUXILIARY:
        # Drawing their first weights takes minutes.
        options |= {"init_weights": False, "aux_logits": bool(net.auxiliary_weights)}

    def make() -> nn.Module:
        model: nn.Module = models.get_model(name, weights=None, **options)
        return model

    return make


def _make_timm(net: Net, name: str) -> Callable[[], nn.Module]:
    import timm

    def make() -> nn.Module:
        model: nn.Module = timm.create_model(
            name, pretrained=False, num_classes=net.output_shape[0], in_chans=net.input_shape[0]
        )
        return model

    return make


def _own_parameters(net: Net) -> int:
    with torch.device("meta"):
        return _count(net.to_torch(init="torch", auxiliary=bool(net.auxiliary_weights)))


def _with_thousand_classes(net: Net) -> int:
    """What the network would have for ImageNet: its last matrix has a row a class."""
    classes = net.output_shape[0]
    with torch.device("meta"):
        shapes = [tuple(parameter.shape) for parameter in net.to_torch(init="torch").parameters()]
    rows = [shape[1] for shape in shapes if len(shape) == 2 and shape[0] == classes]
    return net.parameters + ((rows[-1] + 1) * (1000 - int(str(classes))) if rows else 0)


def _on_meta(make: Callable[[], nn.Module]) -> int:
    with torch.device("meta"):
        return _count(make())


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _compared(net: Net, name: str, make: Callable[[], nn.Module]) -> Alike:
    """The other network beside ours: parameters, multiply-adds, and outputs with the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = _lively(make()).eval()
        parameters, ours = _count(theirs), _own_parameters(net)
        images = torch.randn(1, *(int(str(extent)) for extent in net.input_shape))
        try:
            output, macs = _run(theirs, images)
        except (RuntimeError, ValueError, AssertionError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            return Alike(name, make, parameters, None, False, f"cannot be run on such images: {reason}")
        differences = []
        if parameters != ours:
            differences.append(f"{parameters:,} parameters instead of {ours:,}")
        if macs != net.macs:
            differences.append(f"{macs:,} multiply-adds instead of {net.macs:,}")
        outputs = _difference_of_outputs(net, theirs, images, output)
    if outputs:
        differences.append(outputs)
    if not differences:
        return Alike(name, make, parameters, macs, True, "the same network: outputs are equal with the same weights")
    twin = _twin(net, parameters, macs)
    hint = f" (--network {twin} has theirs)" if twin else ""
    return Alike(name, make, parameters, macs, False, f"not the same network: {'; '.join(differences)}{hint}")


def _difference_of_outputs(net: Net, theirs: nn.Module, images: Tensor, output: Tensor) -> str:
    model = net.to_torch(auxiliary=bool(net.auxiliary_weights))
    try:
        load_weights(model, theirs.state_dict(), verify=False)  # the comparison follows
    except WeightsError:
        return "its weights do not fit"
    with torch.inference_mode():
        ours = model.eval()(images)
    ours = ours[0] if isinstance(ours, tuple) else ours
    return "" if relative_difference(ours, output) <= TOLERANCE else "other outputs with the same weights"


def _twin(net: Net, parameters: int, macs: int) -> str:
    """Another network of the same spec with these costs; "" where there is none."""
    costs = (parameters, macs)
    return next((other.name for other in siblings(net.network) if (other.parameters, other.macs) == costs), "")


def _run(model: nn.Module, images: Tensor) -> tuple[Tensor, int]:
    """Output, and multiply-adds of convolutions and linear layers."""
    counts: list[int] = []

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        places = output.shape[-2:].numel() if isinstance(layer, nn.Conv2d) else 1
        counts.append(weight.numel() * places)

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        with torch.inference_mode():
            output = model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return (output[0] if isinstance(output, tuple) else output), sum(counts)


def _lively(model: nn.Module) -> nn.Module:
    """Normalisations that do something: first weights may leave whole branches at 0, where nothing would show."""
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None and layer.running_var is not None:
                layer.running_mean.uniform_(-0.1, 0.1)
                layer.running_var.uniform_(0.8, 1.2)
                layer.weight.uniform_(0.3, 0.6)
                layer.bias.uniform_(-0.1, 0.1)
    return model
