"""What a pickle would import, read from its instructions without carrying any of them out."""

import io
import pickletools
from collections.abc import Iterator

# What torch.save writes for tensors, storages and ordered dicts.
_OF_WEIGHTS = ("torch", "torch._", "torch.storage", "torch.nn.parameter", "collections")
_STRINGS = ("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING")
_MOST_PICKLES = 8


def foreign_names(data: bytes) -> list[str]:
    """Full names, such as `builtins.eval`, that a pickle (or several in a row) wants beside tensors, in order."""
    names = dict.fromkeys(_imported(data))
    return [name for name in names if not _is_of_weights(name)]


def _imported(data: bytes) -> Iterator[str]:
    stream = io.BytesIO(data)
    for _ in range(_MOST_PICKLES):
        # The last strings on the stack, and those put aside in the memo, name what STACK_GLOBAL takes.
        strings: list[str] = []
        memo: dict[object, str] = {}
        try:
            for code, argument, _place in pickletools.genops(stream):
                match code.name:
                    case "GLOBAL" | "INST":
                        yield str(argument).replace(" ", ".", 1).replace("__builtin__.", "builtins.")
                    case "STACK_GLOBAL" if len(strings) >= 2:
                        yield ".".join(strings[-2:])
                    case "MEMOIZE" if strings:
                        memo[len(memo)] = strings[-1]
                    case "MEMOIZE":
                        memo[len(memo)] = ""
                    case "PUT" | "BINPUT" | "LONG_BINPUT" if strings:
                        memo[argument] = strings[-1]
                    case "GET" | "BINGET" | "LONG_BINGET":
                        strings.append(memo.get(argument, ""))
                    case name if name in _STRINGS:
                        strings.append(str(argument))
        except Exception:  # noqa: BLE001 - the pickle is damaged; what was found so far is what can be told
            return


def _is_of_weights(name: str) -> bool:
    module = name.rpartition(".")[0]
    return module in _OF_WEIGHTS or module.startswith("torch._")
