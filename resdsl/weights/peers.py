"""Networks of other libraries with a checkpoint in them: what a transfer is verified against."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from resdsl.suggest import closest
from resdsl.weights.checkpoint import Checkpoint
from resdsl.weights.errors import WeightsError

LIBRARIES = ("torchvision", "timm", "keras")


@dataclass(frozen=True, slots=True)
class Peer:
    """A network of another library.

    `run` takes images (N, C, H, W) and the name of a layer of the checkpoint, or None, and gives what that layer reads
    or the output, before a softmax. `channels` are those of its input.
    """

    name: str
    channels: int
    run: Callable[[Tensor, str | None], Tensor]


@dataclass(frozen=True, slots=True)
class Request:
    """What a peer is built for: the checkpoint, the classes and input channels it has, and (H, W) for its input."""

    checkpoint: Checkpoint
    classes: int | None
    channels: int
    size: tuple[int, int]


def named_peer(name: str, request: Request) -> Peer:
    """The peer called `torchvision:resnet50`, `timm:resnetv2_50` or `keras:ResNet50`, with the checkpoint in it.

    Raises:
        WeightsError: the library is missing, has no such model, or the checkpoint does not fit it.
    """
    library, _, model = name.partition(":")
    makers = {"torchvision": _torchvision, "timm": _timm, "keras": _keras}
    if library not in makers or not model:
        raise WeightsError(f"verify: {name!r} is not LIBRARY:MODEL with one of {', '.join(LIBRARIES)}")
    try:
        return makers[library](model, request)
    except ImportError as error:
        raise WeightsError(f"verify: {library} cannot be imported: {error}") from None


def _unknown_model(library: str, name: str, known: Iterable[str]) -> WeightsError:
    guess = closest(name, known)
    hint = f"; did you mean {library}:{guess}?" if guess else ""
    return WeightsError(f"verify: {library} has no model {name!r}{hint}")


def torchvision_peer(request: Request) -> Peer | None:
    """The model of torchvision whose state dict has exactly the names and shapes of the checkpoint, if there is one."""
    if request.checkpoint.format == "keras":
        return None
    wanted = {name: tuple(tensor.shape) for name, tensor in _state(request.checkpoint).items()}
    for name in _torchvision_names(wanted, request.classes):
        with torch.device("meta"):
            model = _torchvision_model(name, request.classes)
        if _shapes(model) == wanted:
            return _torchvision(name, request)
    return None


def _torchvision_names(wanted: Mapping[str, tuple[int, ...]], classes: int | None) -> Iterator[str]:
    """Models whose published number of parameters is about the checkpoint's, apart from classes and auxiliary heads."""
    from torchvision import models

    modules = {name.partition(".")[0] for name in wanted}
    trained = {name: shape for name, shape in wanted.items() if "running_" not in name}
    count = sum(torch.Size(shape).numel() for shape in trained.values())
    last = next((shape for name, shape in reversed(trained.items()) if len(shape) == 2), (0, 0))
    if classes is not None:
        count += (last[1] + 1) * (1000 - classes)
    has_extra_heads = any("aux" in name.lower() for name in modules)
    for name in models.list_models(module=models):
        published = {weights.meta["num_params"] for weights in models.get_model_weights(name)}
        if count in published or (has_extra_heads and any(number < count for number in published)):
            yield name


def _torchvision_model(name: str, classes: int | None) -> nn.Module:
    from torchvision import models

    keywords: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if name in ("googlenet", "inception_v3"):
        # Drawing their first weights takes minutes, and these are replaced.
        keywords["init_weights"] = False
    model: nn.Module = models.get_model(name, weights=None, **keywords)
    return model


def _torchvision(name: str, request: Request) -> Peer:
    from torchvision import models

    if name not in models.list_models(module=models):
        raise _unknown_model("torchvision", name, models.list_models(module=models))
    with torch.device("meta"):
        model = _torchvision_model(name, request.classes)
    model.load_state_dict(_state(request.checkpoint), strict=False, assign=True)
    # What the checkpoint does not fill is drawn, which takes most of the time.
    if any(_is_empty(key, value) for key, value in (*model.named_parameters(), *model.named_buffers())):
        model = _torchvision_model(name, request.classes)
    return _torch_peer(f"torchvision:{name}", model, request)


def _is_empty(name: str, tensor: Tensor) -> bool:
    return tensor.is_meta and not name.endswith("num_batches_tracked")


def _timm(name: str, request: Request) -> Peer:
    import timm

    if name not in timm.list_models():
        raise _unknown_model("timm", name, timm.list_models())
    keywords: dict[str, Any] = {} if request.classes is None else {"num_classes": request.classes}
    model = timm.create_model(name, pretrained=False, in_chans=request.channels, **keywords)
    return _torch_peer(f"timm:{name}", model, request)


def _torch_peer(name: str, model: nn.Module, request: Request) -> Peer:
    state = _state(request.checkpoint)
    theirs = _shapes(model)
    ours = {key: tuple(tensor.shape) for key, tensor in state.items()}
    for key in [*theirs, *ours]:
        if theirs.get(key) != ours.get(key):
            raise WeightsError(f"verify: the file is not of {name}: {key} is missing on one side or has another shape")
    model.load_state_dict(state, strict=False)
    model.eval()

    def run(images: Tensor, layer: str | None) -> Tensor:
        if layer is None:
            output = model(images)
            return output if isinstance(output, Tensor) else next(iter(output))
        return read_by(model, model.get_submodule(layer), images)

    return Peer(name, request.channels, run)


def read_by(model: nn.Module, layer: nn.Module, images: Tensor) -> Tensor:
    """What a layer of a module reads while the module works on images."""
    read: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].detach().clone()))
    try:
        model(images)
    finally:
        hook.remove()
    return read[0]


def _state(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The tensors under their names in the module, without what a training program put before them."""
    state = {}
    for layer in checkpoint.layers:
        for role, full in layer.names.items():
            last = full.rpartition(".")[2]
            state[f"{layer.name}.{last}" if layer.name else last] = layer.tensors[role]
    return state


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    state = model.state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def _keras(name: str, request: Request) -> Peer:
    import keras
    import numpy as np

    make = getattr(keras.applications, name, None)
    if not callable(make) or not name[:1].isupper():
        known = [each for each in dir(keras.applications) if each[:1].isupper()]
        raise _unknown_model("keras", name, known)
    built: dict[tuple[int, int], Any] = {}

    def model_for(size: tuple[int, int]) -> Any:
        if size not in built:
            built[size] = _keras_model(keras, make, name, request, size)
        return built[size]

    def run(images: Tensor, layer: str | None) -> Tensor:
        model = model_for((images.shape[2], images.shape[3]))
        if layer is not None:
            model = keras.Model(model.inputs, model.get_layer(layer).input)
        output = model(images.permute(0, 2, 3, 1).contiguous().numpy())
        result = torch.as_tensor(np.array(keras.ops.convert_to_numpy(output)))
        return result.permute(0, 3, 1, 2) if result.dim() == 4 else result

    model_for(request.size)
    return Peer(f"keras:{name}", request.channels, run)


def _keras_model(keras: Any, make: Any, name: str, request: Request, size: tuple[int, int]) -> Any:
    """The application with the checkpoint's weights, without the softmax at its end."""
    keywords: dict[str, Any] = {"weights": None, "input_shape": (*size, request.channels)}
    if request.classes is None:
        keywords |= {"include_top": False, "pooling": "avg"}
    else:
        keywords |= {"classes": request.classes, "classifier_activation": None}
    try:
        model = make(**keywords)
        with warnings.catch_warnings():
            # Of Keras itself: it also looks for weights in its own bookkeeping of layers.
            warnings.filterwarnings("ignore", "Skipping nested container")
            model.load_weights(request.checkpoint.path)
    except Exception as error:
        raise WeightsError(f"verify: the file is not of keras:{name}: {str(error).splitlines()[0]}") from error
    return model
