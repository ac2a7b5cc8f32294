"""The other side of a benchmark: the same network of another library in a plain loop."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import nn

from resdsl.train.bench_subject import TRAINING, Job, Subject
from resdsl.train.optim import build_optimizer
from resdsl.train.seeding import seed_weights
from resdsl.train.turns import wait_for_device


@dataclass(frozen=True, slots=True)
class Other:
    """Another network to measure; `make` gives it with first weights."""

    name: str
    make: Callable[[], nn.Module]


def how_plain(device: torch.device) -> str:
    """In words, for a row."""
    if device.type == "cuda":
        return "torch.compile, bf16 autocast, channels_last"
    return "a plain loop without torch.compile, float32"


def plain_job(other: Other, subject: Subject, kind: str) -> Callable[[], Job]:
    """What makes the loop over one batch on the device: forward, loss, backward, the recipe's optimizer."""
    device, recipe = subject.device, subject.recipe
    on_gpu = device.type == "cuda"

    def precision() -> AbstractContextManager[object]:
        return torch.autocast("cuda", torch.bfloat16) if on_gpu else nullcontext()

    def make() -> Job:
        seed_weights(recipe.seed)
        layout = torch.channels_last if on_gpu else torch.preserve_format
        model = other.make().to(device, memory_format=layout)  # type: ignore[call-overload]
        images = torch.randn(recipe.batch, *subject.shape, device=device)
        images = images.to(memory_format=torch.channels_last) if on_gpu else images
        labels = subject.images.labels[: recipe.batch]
        optimizer = build_optimizer(model, recipe)
        forward = torch.compile(model) if on_gpu else model

        def train() -> None:
            optimizer.zero_grad(set_to_none=True)
            with precision():
                output = forward(images)
                heads = output if isinstance(output, tuple) else (output,)
                weights = (1.0, *subject.auxiliary_weights, *[0.3] * len(heads))
                smoothing = recipe.label_smoothing
                losses = [F.cross_entropy(head, labels, label_smoothing=smoothing) for head in heads]
            total = sum((weight * loss for weight, loss in zip(weights, losses, strict=False)), start=0 * losses[0])
            total.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

        @torch.inference_mode()
        def infer() -> None:
            with precision():
                forward(images)

        model.train(kind == TRAINING)
        step = train if kind == TRAINING else infer

        def work(batches: int) -> None:
            # As whoever measures a plain loop would set it; ours has what the runner sets.
            before = torch.backends.cudnn.benchmark
            torch.backends.cudnn.benchmark = True
            try:
                for _ in range(batches):
                    step()
                wait_for_device(device)
            finally:
                torch.backends.cudnn.benchmark = before

        return work

    return make
