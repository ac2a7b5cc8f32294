"""Random specs that parse but mean nothing, in the oddest layouts that the grammar allows."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

Make = Callable[[], list[str]]
SEPARATOR = "\n"
_GOES_ON_AFTER = set("{ -> = == != <= >= < > + - * / // % , else".split())
_GOES_ON_BEFORE = set("{ } -> else".split())
_COMMENTS = (
    "#",
    "# a comment",
    "#no blank",
    '# with { } ( ; -> and "',
    "#   trailing blanks   ",
    "# \N{GREEK SMALL LETTER BETA}",
)
_NAMES = ("basic", "conv", "bn", "relu", "n", "stride", "channels", "a_rather_long_name_for_a_block", "B", "x2")
_NUMBERS = ("0", "1", "64k", "1e-4", "80%", "21_797_672", "0.1", "0.27M")


class RandomText:
    """Draws tokens from the constructs of the grammar, then puts them down untidily."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def text(self) -> str:
        tokens: list[str] = []
        for number in range(self.random.randint(0, 4)):
            tokens += [SEPARATOR] * bool(number) + self.definition()
        return self.spaced(tokens)

    # --- layout ---

    def spaced(self, tokens: list[str]) -> str:
        out = [self.break_() if self.chance(0.3) else ""]
        depth = 0
        for index, token in enumerate(tokens):
            following = tokens[index + 1] if index + 1 < len(tokens) else SEPARATOR
            depth += (token in {"(", "["}) - (token in {")", "]"})
            if token == SEPARATOR:
                out.append(self.random.choice(["; ", ";", self.break_(), self.break_() + ";" + self.break_()]))
                continue
            out.append(token)
            may_break = depth > 0 or token in _GOES_ON_AFTER or following in _GOES_ON_BEFORE
            if may_break and self.chance(0.15):
                out.append(self.break_())
            elif self.must_part(token, following) or self.chance(0.4):
                out.append(self.random.choice([" ", " ", "  ", "\t"]))
        out.append(self.random.choice(["", "\n", " # the end", self.break_()]))
        return "".join(out)

    def break_(self) -> str:
        lines = []
        for _ in range(self.random.choice([1, 1, 1, 2, 4])):
            comment = self.random.choice(_COMMENTS) if self.chance(0.3) else ""
            lines.append(self.random.choice(["", " ", "     ", "\t"]) + comment)
        return self.random.choice(["\n", "\n", "\r\n"]).join([*lines, self.random.choice(["", "  ", "     "])])

    @staticmethod
    def must_part(token: str, following: str) -> bool:
        def is_word(char: str) -> bool:
            return char.isalnum() or char in "_."

        return (is_word(token[-1]) and is_word(following[0])) or "%" in (token, following) or token[-1] == "%"

    # --- tokens ---

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def name(self) -> str:
        return self.random.choice(_NAMES)

    def some(self, make: Make, least: int, most: int, joint: str) -> list[str]:
        tokens: list[str] = []
        for number in range(self.random.randint(least, most)):
            tokens += [joint] * bool(number) + make()
        return tokens

    def definition(self) -> list[str]:
        match self.random.randint(0, 8):
            case 0:
                return ["use", '"families/re#net{.res"']
            case 1:
                return ["network", self.name(), *self.parameters(), "=", self.name(), *self.arguments(0.5)]
            case 2:
                settings = self.braces(self.setting)
                return ["recipe", self.name(), *self.parameters(), *settings]
            case 3:
                base = ["with", self.name(), *self.arguments(0.5)] if self.chance(0.5) else []
                return ["train", *self.some(lambda: [self.name()], 0, 2, ","), *base, *self.braces(self.setting)]
            case _:
                return [
                    self.random.choice(["network", "block", "shortcut"]),
                    self.name(),
                    *self.parameters(),
                    *self.body(0),
                ]

    def parameters(self) -> list[str]:
        if self.chance(0.5):
            return []
        items = self.some(lambda: [self.name(), *(["=", *self.expr(0)] if self.chance(0.5) else [])], 0, 4, ",")
        return ["(", *items, *([","] if items and self.chance(0.2) else []), ")"]

    def arguments(self, probability: float = 1.0) -> list[str]:
        if not self.chance(probability):
            return []
        items = self.some(lambda: [*([self.name(), "="] if self.chance(0.5) else []), *self.expr(0)], 0, 4, ",")
        return ["(", *items, *([","] if items and self.chance(0.2) else []), ")"]

    def braces(self, make: Make) -> list[str]:
        return ["{", *self.some(make, 0, 3, SEPARATOR), "}"]

    def body(self, depth: int) -> list[str]:
        return self.braces(lambda: self.statement(depth + 1))

    def statement(self, depth: int) -> list[str]:
        match self.random.randint(0, 15) if depth < 4 else 0:
            case 1:
                return ["input", *self.some(lambda: self.expr(0), 1, 3, "x")]
            case 2 | 3:
                return ["rules", *self.braces(self.rule)]
            case 4:
                return [self.random.choice(["stem", "head"]), *self.body(depth)]
            case 5 | 6 | 7:
                attributes = self.some(self.attribute, 0, 2, ",")
                return ["stage", self.name(), *([","] if attributes else []), *attributes, *self.body(depth)]
            case 8:
                when = ["when", *self.expr(0)] if self.chance(0.3) else []
                return ["expect", *when, *self.braces(self.claim)]
            case 9:
                return [*self.random.choice([["same", "shape"], ["shape", "changes"]]), "->", *self.chain(depth)]
            case 10:
                return self.condition(depth)
            case 11:
                return ["published", *self.braces(lambda: [self.name(), *self.expr(0)])]
            case 12:
                return ["require", *self.expr(0), *([",", '"as it is"'] if self.chance(0.4) else [])]
            case _:
                return self.chain(depth)

    def condition(self, depth: int) -> list[str]:
        tokens = ["if", *self.expr(0), *self.body(depth)]
        if self.chance(0.6):
            tokens += ["else", *(self.condition(depth) if self.chance(0.4) else self.body(depth))]
        return tokens

    def chain(self, depth: int) -> list[str]:
        return self.some(lambda: self.step(depth), 1, self.random.choice([2, 3, 8]), "->")

    def step(self, depth: int) -> list[str]:
        match self.random.randint(0, 10) if depth < 4 else 0:
            case 1:
                count = self.random.choice([["3"], ["n"], ["(", *self.expr(0), ")"], ["n", "[", *self.expr(0), "]"]])
                body = self.body(depth) if self.chance(0.4) else [self.name(), *self.arguments(0.5)]
                return [*count, "x", *body]
            case 2:
                word = self.random.choice(["residual", "preactivation"])
                return [word, *self.arguments(0.2), *self.body(depth)]
            case 3:
                tokens = [self.random.choice(["concat", "add", "multiply"]), "{"]
                for number in range(self.random.randint(1, 3)):
                    tokens += [SEPARATOR] * bool(number) + ["branch", *([self.name()] if self.chance(0.3) else [])]
                    tokens += self.body(depth)
                return [*tokens, "}"]
            case 4:
                return ["gated", "by", *self.body(depth), *self.body(depth)]
            case 5:
                return ["auxiliary", self.name(), *self.arguments(0.5), *self.body(depth)]
            case _:
                label = ["as", self.name()] if self.chance(0.2) else []
                callee = self.random.choice([self.name(), "nn.GELU", "add"])
                arguments = self.arguments(0.5)
                return [callee, *(arguments or (["(", ")"] if callee == "add" else [])), *label]

    def attribute(self) -> list[str]:
        match self.random.randint(0, 2):
            case 0:
                change = [self.random.choice(["same", "halve"]), "map"]
                return change + (["at", "end"] if self.chance(0.3) else [])
            case 1:
                return [*(["override"] if self.chance(0.3) else []), "filters", *self.expr(0)]
            case _:
                return ["shortcut", *self.expr(0)]

    def rule(self) -> list[str]:
        match self.random.randint(0, 4):
            case 0:
                return ["default", self.name(), *self.arguments()]
            case 1:
                return ["shortcut", "->", *self.expr(0)]
            case 2:
                return ["output", "stride", *self.expr(0)]
            case _:
                growth = [self.random.choice(["same", "double"]), "filters"] if self.chance(0.6) else self.expr(0)
                return [self.random.choice(["same", "halve"]), "map", "->", *growth]

    def claim(self) -> list[str]:
        if self.chance(0.3):
            return ["output", *(["of", self.name()] if self.chance(0.5) else []), "is", *self.expr(0), "x", "7"]
        return [self.name(), *self.expr(0), *(["within", "1%"] if self.chance(0.3) else [])]

    def setting(self) -> list[str]:
        until = ["until", *self.expr(0)] if self.chance(0.2) else []
        if self.chance(0.4):
            return [self.name(), *self.arguments(0.6), *until]
        return [self.name(), *self.some(self.setting_item, 1, self.random.choice([1, 6]), "->"), *until]

    def setting_item(self) -> list[str]:
        return self.random.choice(
            [["128"], ["true"], ["[", "32k", ",", "48k", "]"], [self.name(), *self.arguments(0.5)]]
        )

    def expr(self, depth: int) -> list[str]:
        match self.random.randint(0, 12) if depth < 3 else self.random.randint(0, 3):
            case 0 | 10:
                return [self.random.choice(_NUMBERS)]
            case 1 | 11:
                return [self.name()]
            case 2:
                return [self.random.choice(["3x3", "7x7x2", '"a # text"', "true", "false"])]
            case 3:
                return [self.name()]
            case 4:
                return ["(", *self.expr(depth + 1), ")"]
            case 5:
                operator = self.random.choice("+ - * / // % == != <= >= < > and or".split())
                return ["(", *self.expr(depth + 1), ")", operator, "(", *self.expr(depth + 1), ")"]
            case 6:
                operand = ["(", *self.expr(depth + 1), ")"]
                return [self.random.choice(["-", "not"]), *operand] if depth == 0 else ["-", *operand]
            case 7:
                return ["[", *self.some(lambda: self.expr(depth + 1), 0, self.random.choice([3, 30]), ","), "]"]
            case 8:
                return [self.name(), "[", *self.expr(depth + 1), "]"]
            case 9:
                return [self.name(), *self.arguments()]
            case _:
                return ["n", "if", "stride", ">", "1", "else", *self.expr(depth + 1)]
