"""What was published of a network: `published { paper "He et al. 2015, Table 6"; top1_error 6.43% }`."""

from __future__ import annotations

from resdsl.diagnostics import Mistake
from resdsl.semantics.evaluate import Evaluator
from resdsl.semantics.model import Publication
from resdsl.semantics.scope import Scope
from resdsl.semantics.values import Poison, is_number
from resdsl.source import Span
from resdsl.suggest import closest, listed
from resdsl.syntax import tree

MAX_TEXT = 400
_TEXT, _SHARE = f'a text of at most {MAX_TEXT} characters, as in `paper "He et al. 2015"`', "a share, as in `6.43%`"
WORDS = {"paper": _TEXT, "data": _TEXT, "top1_error": _SHARE, "top5_error": _SHARE, "note": _TEXT}


def publication(evaluator: Evaluator, statement: tree.Published, scope: Scope) -> Publication:
    """The facts of a `published`; what is wrong with one is reported, and the fact left out."""
    problems = evaluator.problems
    seen: dict[str, Span] = {}
    texts: dict[str, str] = {}
    errors: dict[str, float] = {}
    for fact in statement.facts:
        word, place = fact.word.name, fact.word.span
        if word not in WORDS:
            problems.report("R0506", place, word=word, guess=closest(word, WORDS), known=listed(WORDS))
            continue
        first = seen.setdefault(word, place)
        if first is not place:
            problems.add(Mistake("R0408", place, {"what": f"`{word}`"}, (("first", first, {}),)))
            continue
        value = evaluator.evaluate(fact.value, scope)
        if WORDS[word] is _TEXT and isinstance(value, str) and len(value) <= MAX_TEXT:
            texts[word] = value
        elif WORDS[word] is _SHARE and isinstance(value, float | int) and is_number(value) and 0 <= value <= 1:
            errors[word] = value
        elif not isinstance(value, Poison):
            evaluator.wrong_kind(fact.value.span, value, WORDS[word], scope)
    if "paper" not in seen or texts.get("paper", "named").isspace() or texts.get("paper") == "":
        problems.report("R0507", statement.span)
    return Publication(
        texts.get("paper", ""), texts.get("data", ""), errors.get("top1_error"), errors.get("top5_error"),
        texts.get("note", ""),
    )  # fmt: skip
