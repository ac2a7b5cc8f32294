"""One page a run, as README.md and index.html in its folder: what was trained, how, and what came of it."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from math import inf
from pathlib import Path
from re import findall
from time import monotonic
from typing import Any

from resdsl.files import replace_text
from resdsl.train.errors import TrainError
from resdsl.train.stored import EVALUATIONS, RunRecord, read_run

REFRESH_SECONDS = 60.0  # between pages of a run that is on its way
SHOWN_METRICS = 20  # lines of the last table; metrics.jsonl has them all


@dataclass(frozen=True, slots=True)
class Table:
    """Texts in rows; columns named in `numbers` stand flush right."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Text:
    """Source text."""

    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    """The curves, beside the page."""

    path: Path


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it."""

    heading: str
    parts: tuple[Table | Text | Picture, ...]


def write_page(folder: Path) -> list[Path]:
    """Write README.md and index.html of a run folder from its files. Raises TrainError for a damaged folder."""
    run = read_run(folder)
    return write_sections(folder, run.network, _lead(run), _sections(run))


def write_sections(folder: Path, title: str, lead: str, sections: list[Section]) -> list[Path]:
    """Write README.md and index.html of some sections; what is empty is left out."""
    kept = []
    for section in sections:
        parts = tuple(part for part in section.parts if not _is_empty(part))
        if parts:
            kept.append(Section(section.heading, parts))
    readme, page = folder / "README.md", folder / "index.html"
    replace_text(readme, _markdown(title, lead, kept))
    replace_text(page, _html(title, lead, kept))
    return [readme, page]


class LivePage:
    """The page of a run that is on its way: there from the first evaluation on, whatever becomes of the run."""

    def __init__(self, folder: Path, note: Callable[[str], None]) -> None:
        self._folder, self._note = folder, note
        self._next = 0.0

    def refresh(self) -> None:
        """Write it anew, once a minute at most. What goes wrong is told once; it is no reason to end a run."""
        now = monotonic()
        if now < self._next:
            return
        self._next = now + REFRESH_SECONDS
        try:
            write_page(self._folder)
        except (OSError, TrainError) as error:
            self._next = inf
            self._note(f"no page on the way: {error}")


def add_evaluation(folder: Path, row: Mapping[str, object]) -> None:
    """Put a result of `resdsl eval` on record, and on the page."""
    path = folder / EVALUATIONS
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    replace_text(path, before + json.dumps(row) + "\n")
    write_page(folder)


# --- content ---


def _lead(run: RunRecord) -> str:
    if not run.metrics:
        return "Nothing was measured yet."
    last = run.metrics[-1]
    text = f"Test error {_percent(last['test_error'])} after {_number(last['step'])} iterations{_of_planned(run)}"
    if last["seconds"] is not None:
        text += f" in {_duration(last['seconds'])}"
    return f"{text}{published_error(run)}."


def published_error(run: RunRecord) -> str:
    """What the spec says was published, to stand behind a run's own error; empty where it says nothing."""
    published = run.facts.get("published")
    if not isinstance(published, dict) or not isinstance(published.get("top1_error"), (int, float)):
        return ""
    where = (f" {word} {published[key]}" for word, key in (("on", "data"), ("in", "paper")) if key in published)
    return f"; published: {_percent(published['top1_error'])}{''.join(where)}"


def _of_planned(run: RunRecord) -> str:
    """For a run that was stopped, how long it was to be."""
    last = run.metrics[-1]
    for setting, done in (("iterations", last["step"]), ("epochs", last["epoch"])):
        planned = run.recipe.get(setting)
        if isinstance(planned, int) and done is not None and done < planned:
            return f" (the recipe has {_number(planned)} {setting})"
    return ""


def _sections(run: RunRecord) -> list[Section]:
    own = [Section("Result", (_results(run),)), curves_section(run.folder)]
    return [*own, *sections_about(run), Section("Course", (_course(run),))]


def curves_section(folder: Path) -> Section:
    """The picture in a folder, if there is one."""
    picture = folder / "curves.svg"
    return Section("Curves", (Picture(picture),) if picture.is_file() else ())


def sections_about(run: RunRecord) -> list[Section]:
    """What was trained, how and where."""
    return [
        Section("Network", (_network(run), Text(run.spec_text))),
        Section("Recipe as used", (Text(run.recipe_text),)),
        Section("Environment", (_pairs(_environment(run)),)),
    ]


def _is_empty(part: Table | Text | Picture) -> bool:
    return (isinstance(part, Table) and not part.rows) or (isinstance(part, Text) and not part.text.strip())


def _results(run: RunRecord) -> Table:
    data = run.recipe.get("data")
    name = str(data.get("name", "")) if isinstance(data, dict) else ""
    rows: list[tuple[str, ...]] = []
    if run.metrics:
        last = run.metrics[-1]
        rows.append(("this run, last test", name, _percent(last["test_error"]), ""))
        if last.get("validation_error") is not None:
            rows.append(("this run, validation", name, _percent(last["validation_error"]), ""))
    latest = {str(row.get("views", "")): row for row in run.evaluations}
    at_end = run.metrics[-1]["step"] if run.metrics else None
    for views, row in latest.items():
        found = (_percent(row.get("top1_error")), _percent(row.get("top5_error")))
        when = "" if row.get("step") in (None, at_end) else f", at iteration {_number(row['step'])}"
        rows.append((f"this run, {views}{when}", name, *found))
    published = run.facts.get("published")
    if isinstance(published, dict):
        where = "; ".join(str(published[word]) for word in ("paper", "note") if word in published)
        errors = (_percent(published.get("top1_error")), _percent(published.get("top5_error")))
        rows.append((f"published: {where}", str(published.get("data", "")), *errors))
    head: tuple[str, ...] = ("", "data", "top-1 error", "top-5 error")
    if not any(row[3] for row in rows):
        head, rows = head[:3], [row[:3] for row in rows]
    return Table(head, tuple(rows), ("top-1 error", "top-5 error"))


def _network(run: RunRecord) -> Table:
    facts = run.facts
    pairs: dict[str, Any] = {"network": run.network, "hash of its meaning": run.hash}
    for name in ("depth", "parameters"):
        pairs[name] = facts.get(name)
    pairs["multiply-adds of one image"] = facts.get("macs")
    for name in ("input", "output"):
        shape = facts.get(name)
        pairs[name] = " x ".join(map(str, shape)) if isinstance(shape, list) else None
    return _pairs({name: value for name, value in pairs.items() if value is not None and value != ""})


def _environment(run: RunRecord) -> dict[str, Any]:
    """What was recorded at the start, and of each time the run went on what was another then."""
    first = {word: value for word, value in run.environment.items() if word != "resumed"}
    shown = {word: "yes" if value is True else "no" if value is False else value for word, value in first.items()}
    resumed = run.environment.get("resumed")
    for entry in resumed if isinstance(resumed, list) else []:
        if isinstance(entry, dict):
            others = [f"{word} {value}" for word, value in entry.items() if word in first and value != first[word]]
            shown[f"resumed at iteration {_number(entry.get('step'))}"] = "; ".join(others)
    return shown


def _pairs(values: dict[str, Any]) -> Table:
    return Table(("", "value"), tuple((name, _number(value)) for name, value in values.items()))


def _course(run: RunRecord) -> Table:
    """Some lines of metrics.jsonl, evenly spread; the first and the last are among them."""
    rows, last = run.metrics, len(run.metrics) - 1
    chosen = sorted({round(place * last / (SHOWN_METRICS - 1)) for place in range(SHOWN_METRICS)}) if rows else []
    errors = ("train_loss", "train_error", "validation_error", "test_loss", "test_error")
    columns = ("step", "epoch", "lr", *errors, "images_per_second")
    used = [column for column in columns if any(row.get(column) is not None for row in rows)]
    shown = tuple(tuple(_metric(column, rows[place].get(column)) for column in used) for place in chosen)
    head = tuple("iteration" if column == "step" else column.replace("_", " ") for column in used)
    return Table(head, shown, head)


def _metric(column: str, value: float | None) -> str:
    if value is None:
        return ""
    if column.endswith("_error"):
        return _percent(value)
    return f"{value:,.0f}" if column in {"step", "images_per_second"} else f"{value:.4g}"


def _percent(value: object) -> str:
    return f"{value * 100:.2f} %" if isinstance(value, (int, float)) else ""


def _number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        return str(value)
    return f"{value:,}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"


# --- Markdown ---


def _markdown(title: str, lead: str, sections: list[Section]) -> str:
    blocks = [f"# {_in_markdown(title)}", _in_markdown(lead)]
    for section in sections:
        blocks.append(f"## {section.heading}")
        blocks += [_markdown_part(part) for part in section.parts]
    return "\n\n".join(blocks) + "\n"


def _markdown_part(part: Table | Text | Picture) -> str:
    match part:
        case Table():
            rule = ("---:" if name in part.numbers else "---" for name in part.head)
            lines = [map(_in_markdown, part.head), rule, *(map(_in_markdown, row) for row in part.rows)]
            return "\n".join("| " + " | ".join(line) + " |" for line in lines)
        case Text():
            # A fence longer than any within the text.
            fence = "`" * max(3, 1 + max(map(len, findall(r"`+", part.text)), default=0))
            return f"{fence}\n{_printable(part.text, keep=chr(10) + chr(9)).rstrip()}\n{fence}"
        case Picture():
            return f"![error against iterations]({part.path.name})"


def _in_markdown(text: str) -> str:
    """Text in which nothing is markup."""
    plain = _printable(text)
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>#|!~&$" else sign for sign in plain)


def _printable(text: str, keep: str = "") -> str:
    return "".join(sign if sign.isprintable() or sign in keep else "\N{REPLACEMENT CHARACTER}" for sign in text)


# --- HTML ---

STYLE = """body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; background: #fff }
h1 { margin-bottom: 0 } h2 { margin-top: 2rem; border-bottom: 1px solid #ddd }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; display: block; overflow-x: auto }
th, td { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; overflow-wrap: anywhere }
th { border-bottom: 1px solid #999; white-space: nowrap } td.n, th.n { text-align: right; white-space: nowrap }
pre { background: #f6f6f6; padding: .8rem; overflow-x: auto; font-size: 14px } img { max-width: 100% }"""
# Nothing from elsewhere and no script, whatever the names in the run may hold.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def _html(title: str, lead: str, sections: list[Section]) -> str:
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{_in_html(title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{_in_html(title)}</h1>",
        f"<p>{_in_html(lead)}</p>",
    ]
    for section in sections:
        parts.append(f"<h2>{_in_html(section.heading)}</h2>")
        parts += [_html_part(part) for part in section.parts]
    return "\n".join([*parts, "</body></html>"]) + "\n"


def _html_part(part: Table | Text | Picture) -> str:
    match part:
        case Table():
            classes = [' class="n"' if name in part.numbers else "" for name in part.head]
            head = "".join(f"<th{kind}>{_in_html(name)}</th>" for name, kind in zip(part.head, classes, strict=True))
            rows = (
                "".join(f"<td{kind}>{_in_html(cell)}</td>" for cell, kind in zip(row, classes, strict=True))
                for row in part.rows
            )
            return "\n".join([f"<table><tr>{head}</tr>", *(f"<tr>{row}</tr>" for row in rows), "</table>"])
        case Text():
            return f"<pre>{escape(_printable(part.text, keep=chr(10) + chr(9)).rstrip())}</pre>"
        case Picture():
            data = b64encode(part.path.read_bytes()).decode()
            return f'<img alt="error against iterations" src="data:image/svg+xml;base64,{data}">'


def _in_html(text: str) -> str:
    return escape(_printable(text))
