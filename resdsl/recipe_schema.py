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
   defaults need not be filled in. `recipe.recipe_faults(settings)` reports what is wrong between settings (a missing
   `data`, both `iterations` and `epochs`, ...), each fault with the word and the argument to underline.
5. Without faults, `recipe.build_recipe(settings)` gives the Recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

Value = int | float | bool | str | tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Call:
    """A word with its arguments, in the order of its form: sgd(lr = 0.1), pad(pixels = 4), flip."""

    name: str
    args: tuple[tuple[str, Value], ...] = ()

    def __getitem__(self, arg: str) -> Value:
        """The argument's value. Raises KeyError where the call does not hold it."""
        return dict(self.args)[arg]

    def integer(self, arg: str) -> int:
        """An argument of kind "int"."""
        value = self[arg]
        assert isinstance(value, int)
        return value

    def number(self, arg: str) -> float:
        """An argument of kind "float"."""
        value = self[arg]
        assert isinstance(value, int | float)
        return float(value)

    def integers(self, arg: str) -> tuple[int, ...]:
        """An argument of kind "ints"."""
        value = self[arg]
        assert isinstance(value, tuple)
        return value

    def with_args(self, **changes: Value) -> Call:
        """The same call with other values for some of its arguments."""
        return Call(self.name, tuple((name, changes.get(name, value)) for name, value in self.args))

    def to_text(self) -> str:
        """The call as the language writes it."""
        given = ", ".join(f"{name} = {value_text(value)}" for name, value in self.args if value is not None)
        return f"{self.name}({given})" if given else self.name


SettingValue = Value | Call | tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Arg:
    """One argument, or the value of a plain setting. `default` None without `required` means: may be left out."""

    name: str
    kind: str  # "int", "float" (an int will do), "bool", "choice", "ints"
    doc: str
    default: Value = None
    required: bool = False
    choices: tuple[str, ...] = ()
    least: float | None = None  # the smallest value allowed
    above: float | None = None  # values must be larger than this
    below: float | None = None  # values must be smaller than this
    most: float | None = None  # the largest value allowed


@dataclass(frozen=True, slots=True)
class Form:
    """One name that a setting accepts, with its arguments."""

    name: str
    doc: str
    args: tuple[Arg, ...] = ()

    def bind(self, given: Call) -> Call:
        """The call with every argument of the form present, defaults filled in, in the form's order."""
        known = dict(given.args)
        return Call(self.name, tuple((arg.name, known.get(arg.name, arg.default)) for arg in self.args))


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of a `train` block: what may follow the word, and what holds where the line is missing."""

    word: str
    shape: str  # "value", "call", "chain" or "self"; see the head of this file
    doc: str
    example: str
    value: Arg | None = None  # for shape "value"
    forms: tuple[Form, ...] = ()  # for the other shapes
    default: SettingValue = None
    required: bool = False

    def form(self, name: str) -> Form | None:
        """The form of that name, if the setting accepts it."""
        return next((form for form in self.forms if form.name == name), None)


def _data_forms() -> tuple[Form, ...]:
    validation = Arg("validation", "int", "training images set aside, the same ones for every seed", 0, least=0)
    return (
        Form(
            "digits",
            "scikit-learn's 1,797 handwritten digits, 8 x 8, upsampled; nothing to download",
            (
                Arg("size", "int", "height and width after upsampling, in pixels", 32, least=8, most=512),
                Arg("test", "int", "images of the test set, drawn evenly from the classes", 360, least=10, most=1700),
                validation,
            ),
        ),
        Form("cifar10", "CIFAR-10 (Krizhevsky 2009): 50,000 and 10,000 images, 32 x 32, ten classes", (validation,)),
        Form("folder", "a folder or tar of images, train/<class>/* and test/<class>/*", (validation,)),
    )


def _augment_forms() -> tuple[Form, ...]:
    pixels = Arg("pixels", "int", "width of the border", required=True, least=1, most=512)
    size = Arg("size", "int", "side of the square", required=True, least=1)
    p = Arg("p", "float", "probability", 0.5, least=0, most=1)
    return (
        Form("pad", "a border of zeros on every side, after normalisation", (pixels,)),
        Form("random_crop", "a square cut out at a uniformly random place", (size,)),
        Form("flip", "left and right swapped at random", (p,)),
    )


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
    steps = (
        Arg("at", "ints", "where the rate changes, rising", required=True, least=1),
        Arg("times", "float", "factor at each place", 0.1, above=0),
        Arg("unit", "choice", "what `at` counts", "iterations", choices=("iterations", "epochs")),
    )
    final = Arg("final", "float", "rate at the end", 0.0, least=0)
    return (
        Form("constant", "the base learning rate throughout"),
        Form("steps", "the rate is multiplied by `times` at each place of `at`", steps),
        Form("cosine", "half a cosine from the base rate down", (final,)),
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
    yield Setting("data", "call", "the images", "data cifar10(validation = 5k)", forms=_data_forms(), required=True)
    yield Setting(
        "augment",
        "chain",
        "random changes of each training image",
        "augment pad(4) -> random_crop(32) -> flip",
        forms=_augment_forms(),
        default=(),
    )
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
    warmup = "warmup(lr = 0.01) until train_error < 80%"
    yield Setting("warmup", "self", "another learning rate at the start", warmup, forms=(_warmup_form(),))


def _other_settings() -> Iterator[Setting]:
    init = "how weights start: He et al. 2015 by fan-in or fan-out, Glorot's, or PyTorch's own"
    yield _value("init he", Arg("init", "choice", init, "he", choices=("he", "he_fan_out", "xavier", "torch")))
    smoothing = "share of the target spread over all classes"
    yield _value("label_smoothing 0.1", Arg("label_smoothing", "float", smoothing, 0.0, least=0, below=1))
    ema = "decay of a moving average of the weights, used for evaluation; 0 for none"
    yield _value("ema 0.999", Arg("ema", "float", ema, 0.0, least=0, below=1))
    evaluate = "steps between evaluations; once an epoch where it is left out"
    yield _value("evaluate 500", Arg("evaluate", "int", evaluate, least=1))
    yield _value("seed 1", Arg("seed", "int", "of weights, order and augmentation", 1, least=0, below=2**63))


SCHEMA: dict[str, Setting] = {
    setting.word: setting for setting in (*_image_settings(), *_update_settings(), *_other_settings())
}

EXAMPLE = """\
train {
  data digits
  augment pad(2) -> random_crop(32)
  normalize mean_std
  batch 64
  optimizer sgd(lr = 0.1, momentum = 0.9, weight_decay = 5e-4)
  schedule cosine
  epochs 15
}
"""


def value_fault(arg: Arg, value: Value) -> str:
    """What is wrong with `value` for this argument, as one sentence without a full stop; "" where it fits."""
    if _is_kind(arg, value) and _is_in_range(arg, value):
        return ""
    return f"`{arg.name}` must be {_wanted(arg)}, not {value_text(value)}"


def value_text(value: Value) -> str:
    """A value as the language writes it."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() if value >= 1000 and value % 1000 == 0:
            return f"{value // 1000}k"
        case tuple():
            return f"[{', '.join(value_text(item) for item in value)}]"
        case _:
            return str(value)


LARGEST = 1.7e308  # beyond it an integer has no float; nan and infinity fail the comparison too

_KINDS: dict[str, Callable[[Value], bool]] = {
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST,
    "bool": lambda value: isinstance(value, bool),
    "choice": lambda value: isinstance(value, str),
    "ints": lambda value: isinstance(value, tuple) and len(value) > 0 and all(type(item) is int for item in value),
}


def _is_kind(arg: Arg, value: Value) -> bool:
    return _KINDS[arg.kind](value) and (not arg.choices or value in arg.choices)


def _is_in_range(arg: Arg, value: Value) -> bool:
    items = value if isinstance(value, tuple) else (value,)
    return all(
        (arg.least is None or item >= arg.least)
        and (arg.above is None or item > arg.above)
        and (arg.below is None or item < arg.below)
        and (arg.most is None or item <= arg.most)
        for item in items
        if isinstance(item, int | float)
    )


def _wanted(arg: Arg) -> str:
    if arg.choices:
        return "one of " + ", ".join(arg.choices)
    ints = "a list of integers such as [32k, 48k]"
    nouns = {"int": "an integer", "float": "a number", "bool": "true or false", "ints": ints}
    bounds = [
        f"{words} {bound:g}" if bound < 1e6 else f"{words} {bound}"
        for words, bound in (("at least", arg.least), ("above", arg.above), ("below", arg.below), ("at most", arg.most))
        if bound is not None
    ]
    return ", ".join(part for part in (nouns.get(arg.kind, arg.kind), " and ".join(bounds)) if part)
