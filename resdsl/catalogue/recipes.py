"""Words for mistakes in recipes and `train`."""

from __future__ import annotations

from resdsl.catalogue.entry import Entry

_NETWORK = "network tiny {\n  input 1 x 32 x 32\n  conv(3x3, 16) -> relu -> global_avg_pool -> linear(10)\n}\n\n"
_LINES = {
    "data": "data digits",
    "batch": "batch 64",
    "optimizer": "optimizer sgd(lr = 0.1)",
    "schedule": "schedule cosine",
    "epochs": "epochs 15",
}


def _recipe(*more: str, heading: str = "train", **changed: str) -> str:
    """A small network with a recipe: the usual lines, changed or (as an empty text) left out, and more."""
    lines = [line for line in {**_LINES, **changed}.values() if line]
    body = "".join(f"  {line}\n" for line in (*lines, *more))
    return f"{_NETWORK}{heading} {{\n{body}}}\n"


ENTRIES = (
    Entry(
        "R0701",
        "a recipe has no setting `{word}`",
        "",
        "The settings of a recipe: data, augment, mix, progressive_resizing, normalize, batch, optimizer, schedule, "
        "iterations, epochs, accumulate, clip, warmup, init, label_smoothing, ema, ema_warmup, evaluate and seed.",
        _recipe(batch="bach 64"),
        _recipe(),
        hints=("did you mean `{guess}`?", "the settings are {known}"),
    ),
    Entry(
        "R0702",
        "`{word}` is set twice",
        "the second time",
        "Each setting stands once in a recipe. Settings of `train` take the place of those of the recipe it names.",
        _recipe("batch 128"),
        _recipe(),
        related={"first": "the first time"},
    ),
    Entry(
        "R0703",
        "{message}",
        "",
        "A recipe needs data, an optimizer and a length (iterations or epochs); everything else has a "
        "default. Settings "
        "must also fit together: the learning rate changes while training lasts, and a warm-up has one end.",
        _recipe(optimizer=""),
        _recipe(),
    ),
    Entry(
        "R0704",
        "the value of `{word}` is not allowed",
        "{wanted}",
        "Each setting has its kind of value and its range.",
        _recipe(batch="batch 0"),
        _recipe(),
    ),
    Entry(
        "R0705",
        "`{word}` has no form `{name}`",
        "",
        "What may follow the setting is fixed: data sets, steps of augmentation, optimizers and schedules have names.",
        _recipe(optimizer="optimizer sdg(lr = 0.1)"),
        _recipe(),
        hints=("did you mean `{guess}`?", "known are {known}"),
    ),
    Entry(
        "R0706",
        "this end of the warm-up is not understood",
        "wanted is {wanted}",
        "A warm-up ends after a number of iterations, or once the training error is below a value.",
        _recipe("warmup(lr = 0.01) until loss < 2"),
        _recipe("warmup(lr = 0.01) until train_error < 80%"),
    ),
    Entry(
        "R0707",
        "there is no recipe `{name}`",
        "",
        "`train with NAME` takes a recipe that this file or a used file defines.",
        _recipe(heading="recipe usual") + "\ntrain tiny with usal\n",
        _recipe(heading="recipe usual") + "\ntrain tiny with usual\n",
        hints=("did you mean `{guess}`?",),
    ),
    Entry(
        "R0708",
        "the network `{network}` has two recipes",
        "the second one",
        "A network is trained by one recipe. `train` without names is for all networks of the file.",
        _recipe() + "\n" + _recipe().removeprefix(_NETWORK),
        _recipe(),
        related={"first": "the first one"},
    ),
    Entry(
        "R0709",
        "there is no network `{name}` to train",
        "",
        "`train NAME` names networks that this file or a used file defines.",
        _recipe(heading="train tinny"),
        _recipe(heading="train tiny"),
        hints=("did you mean `{guess}`?", "the networks here: {known}"),
    ),
    Entry(
        "R0710",
        "the file has no recipe",
        "",
        "`--recipe FILE` and `resdsl.load(..., recipe=FILE)` take the recipe of another file: its `train`, or its only "
        "`recipe`.",
        "",
        "",
    ),
    Entry(
        "R0711",
        "the file has several recipes, and none of them is for `{network}`",
        "the second one",
        "Of a file that has several recipes, the one for a network of the same name counts, or `train` without names. "
        "A file with `train with NAME` tells which of its recipes is meant.",
        "",
        "",
        hints=("write `train with NAME` without names of networks into it",),
    ),
)
