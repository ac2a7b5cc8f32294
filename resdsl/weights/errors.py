"""What goes wrong with a file of weights."""

from collections.abc import Iterable


class WeightsError(ValueError):
    """A checkpoint cannot be read, or does not fit; the message is one clear sentence for the user.

    Messages quote names from files, which may hold anything: what a terminal would obey is replaced.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(sign if sign.isprintable() else "\ufffd" for sign in message))


class MismatchError(WeightsError):
    """A checkpoint does not fit a network: a heading, then a line for each of the first tensors that do not fit."""

    def __init__(self, heading: str, lines: Iterable[str]) -> None:
        super().__init__(heading)
        rest = [str(WeightsError(line)) for line in lines]
        self.args = ("\n".join([str(self), *(f"  {line}" for line in rest)]),)
