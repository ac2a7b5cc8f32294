"""What a `train { ... }` block may say: SCHEMA, plain data that the front end checks a recipe against.

This file and recipe.py are the seam between the language and the trainer: the front end reads SCHEMA to check a block
and to suggest names, docs are made from it, the trainer reads a Recipe. Nothing heavy is imported here.

How a checker uses it, for each line `WORD ...` of the block:

1. `SCHEMA[WORD]` is its `Setting`; a WORD that is not a key is a mistake (suggest among the keys), and so is a WORD
   that comes twice. `setting.shape` says what follows the word:
   "value"  one value, described by `setting.value`:                 batch 128 / init he / seed 1
   "call"   one name with arguments, a `Form` of `setting.forms`:    optimizer sgd(lr = 0.1) / schedule constant
   "chain"  forms joined by `->`:                                    augment pad(4) -> random_crop(32) -> flip
   "self"   arguments right after the word, the one form being the word itself:  warmup(lr = 0.01, iterations = 400)
2. Arguments may be named or given by place, in the order of `form.args`. An argument with `required` must be there;
   parentheses may be left out where no argument is given. The clause `until train_error < 80%` after `warmup(...)`
   is the argument `until_train_error = 0.8`.
3. `value_fault(arg, value)` says what is wrong with an evaluated value ("" if nothing): wrong kind, or out of range.
   Values are int, float, bool, str (names such as `he`) or a tuple of int; `80%` is 0.8 and `64k` is 64000.
4. The settings so found go into a dict {WORD: value | Call | tuple of Call}; calls hold the arguments that were given,
   defaults may be missing. `recipe_checks.recipe_faults(settings)` reports what is wrong between settings (missing
   `data`, both `iterations` and `epochs`, ...), each fault with the word and the argument to underline.
5. Without faults, `recipe.build_recipe(settings)` gives the Recipe.
"""

from __future__ import annotations

from collections.abc import Iterator

from resdsl.recipe_augment import augment_forms, mix_forms
from resdsl.recipe_data import data_forms
from resdsl.recipe_types import MAX_SEED, Arg, Call, Form, Setting


def _optimizer_forms() -> tuple[Form, ...]:
    lr = Arg("lr", "float", "base learning rate", required=True, above=0)
    decay = Arg(
        "decay",
        "choice",
        "what weight decay acts on: all parameters, or weights only (no biases, no BN)",
        "all",
        choices=("all", "weights"),
    )
    sgd = (
        lr,
        Arg("momentum", "float", "share of the last update that is kept", 0.9, least=0, below=1),
        Arg("weight_decay", "float", "L2 penalty", 1e-4, least=0),
        Arg("nesterov", "bool", "Nesterov's form of momentum", False),
        decay,
    )
    adamw = (
        lr,
        Arg("weight_decay", "float", "decoupled decay", 0.01, least=0),
        Arg("beta1", "float", "decay of the mean of gradients", 0.9, least=0, below=1),
        Arg("beta2", "float", "decay of the mean of squared gradients", 0.999, least=0, below=1),
        decay,
    )
    return (
        Form("sgd", "stochastic gradient descent with momentum", sgd),
        Form("adamw", "Adam with decoupled weight decay (Loshchilov and Hutter 2017)", adamw),
    )


def _schedule_forms() -> tuple[Form, ...]:
    times = Arg("times", "float", "factor at each change", 0.1, above=0, below=1)
    steps = (
        Arg("at", "ints", "where the rate changes, rising", required=True, least=1),
        times,
        Arg("unit", "choice", "what `at` counts", "iterations", choices=("iterations", "epochs")),
    )
    plateau = (
        times,
        Arg("patience", "int", "evaluations in a row without a new best", 5, least=1),
        Arg("threshold", "float", "a new best is lower by more than this share of all images", 0.0, least=0, below=1),
    )
    final = Arg("final", "float", "rate at the end", 0.0, least=0)
    cycle = (
        Arg("rise", "float", "share of the run in which the rate rises", 0.3, above=0, below=1),
        Arg("start", "float", "the first rate, as a share of the base rate", 0.04, above=0, most=1),
        final,
    )
    power = Arg("power", "float", "power of the share of the run that is left", 2.0, above=0, most=100)
    return (
        Form("constant", "the base learning rate throughout"),
        Form("steps", "the rate is multiplied by `times` at each place of `at`", steps),
        Form(
            "plateau",
            "the rate is multiplied by `times` when the validation error, or without such a split the test error, "
            "no longer falls",
            plateau,
        ),
        Form("cosine", "half a cosine from the base rate down", (final,)),
        Form("linear", "a straight line from the base rate down", (final,)),
        Form("polynomial", "from the base rate down, with a power of what is left of the run", (power, final)),
        Form("one_cycle", "half a cosine up to the base rate and another one down (Smith and Topin 2017)", cycle),
    )


def _resizing_form() -> Form:
    return Form(
        "progressive_resizing",
        "smaller training images at first, resized behind `augment` and `mix`; tests have the full size throughout",
        (
            Arg("from", "int", "their shorter side at first, in pixels", required=True, least=1, most=4096),
            Arg("start", "float", "share of the run after which they begin to grow", 0.0, least=0, below=1),
            Arg("end", "float", "share of the run from which on they have the full size", 0.8, above=0, most=1),
            Arg("multiple", "int", "sizes in between are multiples of this", 32, least=1, most=4096),
        ),
    )


def _warmup_form() -> Form:
    ramp = "constant, or linear from `lr` to the schedule's rate"
    return Form(
        "warmup",
        "another learning rate at the start; then exactly what the schedule says",
        (
            Arg("lr", "float", "learning rate while warming up", required=True, above=0),
            Arg("iterations", "int", "length in steps", least=1),
            Arg("until_train_error", "float", "ends once the training error is below this", above=0, most=1),
            Arg("ramp", "choice", ramp, "constant", choices=("constant", "linear")),
        ),
    )


def _value(example: str, arg: Arg) -> Setting:
    return Setting(arg.name, "value", arg.doc, example, value=arg, default=arg.default)


def _image_settings() -> Iterator[Setting]:
    yield Setting("data", "call", "the images", "data cifar10(validation = 5k)", forms=data_forms(), required=True)
    yield Setting(
        "augment",
        "chain",
        "random changes of each training image",
        "augment pad(4) -> random_crop(32) -> flip",
        forms=augment_forms(),
        default=(),
    )
    mix = "images mixed with the one before them in the batch"
    yield Setting("mix", "call", mix, "mix mixup(alpha = 0.2)", forms=mix_forms())
    growing = "training images that are small at first and grow (Howard's fast.ai, FFCV)"
    example = "progressive_resizing(from = 160, start = 40%, end = 80%)"
    yield Setting("progressive_resizing", "self", growing, example, forms=(_resizing_form(),))
    normalize = (
        "pixels (0 to 1) to inputs: minus the mean image (He et al. 2015), or each channel to mean 0, deviation 1"
    )
    choices = ("per_pixel_mean", "mean_std", "none")
    yield _value("normalize mean_std", Arg("normalize", "choice", normalize, "per_pixel_mean", choices=choices))
    yield _value("batch 128", Arg("batch", "int", "images in one step", 128, least=1))


def _update_settings() -> Iterator[Setting]:
    sgd = "optimizer sgd(lr = 0.1, momentum = 0.9, weight_decay = 1e-4)"
    yield Setting("optimizer", "call", "how weights are updated", sgd, forms=_optimizer_forms(), required=True)
    yield Setting(
        "schedule",
        "call",
        "the learning rate's course",
        "schedule steps(at = [32k, 48k], times = 0.1)",
        forms=_schedule_forms(),
        default=Call("constant"),
    )
    yield _value("iterations 64k", Arg("iterations", "int", "length in steps", least=1))
    yield _value("epochs 20", Arg("epochs", "int", "length in passes over the training images", least=1))
    accumulate = "parts of a batch that are done one after the other, for less memory; their gradients are added up"
    yield _value("accumulate 4", Arg("accumulate", "int", accumulate, 1, least=1))
    clip = "longest gradient of all parameters together; a longer one is scaled down to it"
    yield _value("clip 1.0", Arg("clip", "float", clip, above=0))
    warmup = "warmup(lr = 0.01) until train_error < 80%"
    yield Setting("warmup", "self", "another learning rate at the start", warmup, forms=(_warmup_form(),))


def _other_settings() -> Iterator[Setting]:
    init = "how weights start: He et al. 2015 by fan-in or fan-out, Glorot's, or PyTorch's own"
    yield _value("init he", Arg("init", "choice", init, "he", choices=("he", "he_fan_out", "xavier", "torch")))
    smoothing = "share of the target spread over all classes"
    yield _value("label_smoothing 0.1", Arg("label_smoothing", "float", smoothing, 0.0, least=0, below=1))
    ema = "decay of a moving average of the weights, used for evaluation; 0 for none"
    yield _value("ema 0.999", Arg("ema", "float", ema, 0.0, least=0, below=1))
    ema_warmup = "whether the average begins with a decay of (1 + n) / (10 + n) after n steps, where that is less"
    yield _value("ema_warmup true", Arg("ema_warmup", "bool", ema_warmup, False))
    sync_bn = "with several processes: whether batch normalisation takes the statistics of all their images together"
    yield _value("sync_bn true", Arg("sync_bn", "bool", sync_bn, False))
    evaluate = "steps between evaluations; once an epoch where it is left out"
    yield _value("evaluate 500", Arg("evaluate", "int", evaluate, least=1))
    yield _value("seed 1", Arg("seed", "int", "of weights, order and augmentation", 1, least=0, most=MAX_SEED))


SCHEMA: dict[str, Setting] = {
    setting.word: setting for setting in (*_image_settings(), *_update_settings(), *_other_settings())
}
