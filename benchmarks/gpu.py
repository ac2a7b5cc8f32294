"""Every measure of training on one GPU, in one call of at most nine minutes:

    python -m benchmarks.gpu --images DIR --out DIR

Each part is a process of its own with a bound on its time, the most important ones first, and what it found is written
at once: `rows.md` for docs/performance.md, `results.json` with all figures, `logs/` with what the commands said. What a
part could not finish is extrapolated and says so; what failed says why.

    python -m benchmarks.gpu --images DIR --out DIR --train-to-end

trains ResNet-20, 56, 110 and plain-20, 56 to their ends instead, and keeps their run folders. `--rehearse` goes
through everything in a few tiny steps on the CPU, which shows that the script works and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BUDGET = 525.0  # seconds: what remains of nine minutes is for the start and the last files
GRACE = 15.0  # for a process that was asked to end
LEAST = 8.0  # seconds that a part needs for its process to begin at all

HEADER = "| what | measured | must reach | met | remark |\n| --- | --- | --- | --- | --- |"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `is_met` is None where nothing must be reached, or nothing was measured."""

    what: str
    measured: str
    must_reach: str = ""
    is_met: bool | None = None
    remark: str = ""

    def markdown(self) -> str:
        """The line."""
        met = {True: "yes", False: "no", None: ""}[self.is_met]
        cells = (self.what, self.measured, self.must_reach, met, self.remark)
        return f"| {' | '.join(cell.replace('|', '/').replace(chr(10), ' ') for cell in cells)} |"


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended: `code` is None where its time was over."""

    code: int | None
    output: str
    errors: str
    seconds: float

    @property
    def complaint(self) -> str:
        """Why it did not work, in one line; empty where it did."""
        if self.code == 0:
            return ""
        lines = [line for line in self.errors.splitlines() if line.strip()]
        told = [line for line in lines if line.startswith(("error", "RuntimeError", "torch."))] or lines[-1:]
        return "its time was over" if self.code is None else f"exit code {self.code}: {' '.join(told)[:300]}"

    def json(self) -> dict[str, Any]:
        """The object that the output is, or that its last line is."""
        try:
            whole: dict[str, Any] = json.loads(self.output)
        except ValueError:
            whole = json.loads(self.output.strip().splitlines()[-1])
        return whole


Runner = Callable[[Sequence[str], float, dict[str, str]], Done]


@dataclass(slots=True)
class Plan:
    """What all parts share. `python(arguments, seconds, environment)` runs a Python program."""

    out: Path
    data: Path
    rehearse: bool
    python: Runner
    deadline: float
    engines: tuple[str, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> str:
        """As --device takes it."""
        return "cpu" if self.rehearse else "cuda"

    @property
    def left(self) -> float:
        """Seconds until everything must be over."""
        return self.deadline - time.monotonic()

    def resdsl(self, *arguments: str, seconds: float, **environment: str) -> Done:
        """A command of resdsl, with at most so many seconds, and no more than there are left."""
        return self.python(("-m", "resdsl", *arguments), min(seconds, self.left), environment)


Part = Callable[[Plan], Iterable[Row]]


def run_process(arguments: Sequence[str], seconds: float, environment: dict[str, str]) -> Done:
    """A Python program as a process: asked to end when its time is over, and killed a little later."""
    begun = time.monotonic()
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    # Files, not pipes: what a process has said is there even where its workers outlive it.
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=output,
            stderr=errors,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path, **environment},
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(max(seconds, 0.1))
        except subprocess.TimeoutExpired:
            code = None
            process.send_signal(signal.SIGTERM)  # a run saves and says where it is
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # with its workers
                process.wait()
        for file in (output, errors):
            file.seek(0)
        return Done(code, output.read(), errors.read(), time.monotonic() - begun)


def measure(plan: Plan, parts: dict[str, Part]) -> list[Row]:
    """Do the parts in order, and write down what each found before the next one begins."""
    found: dict[str, list[Row]] = {}
    plan.out.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        if plan.left < LEAST and not plan.rehearse:
            found[name] = [Row(name, "not measured", remark="no time was left")]
        else:
            begun = time.monotonic()
            try:
                found[name] = list(part(plan))
            except Exception as error:  # noqa: BLE001 - the others are to be measured all the same
                found[name] = [Row(name, "failed", remark=f"{type(error).__name__}: {error}"[:300])]
            plan.figures[f"seconds of {name}"] = round(time.monotonic() - begun, 1)
        for row in found[name]:
            print(row.markdown(), flush=True)
        write(plan, found)
    return [row for rows in found.values() for row in rows]


def write(plan: Plan, found: dict[str, list[Row]]) -> None:
    """rows.md and results.json, each the old one or the new one."""
    table = [HEADER, *(row.markdown() for rows in found.values() for row in rows)]
    heading = f"{plan.figures.get('surroundings', '')}\n\n" if "surroundings" in plan.figures else ""
    content = {"figures": plan.figures, "rows": {name: [asdict(row) for row in rows] for name, rows in found.items()}}
    for name, text in (("rows.md", heading + "\n".join(table) + "\n"), ("results.json", json.dumps(content, indent=2))):
        beside = plan.out / f".{name}"
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, plan.out / name)


def main(argv: Sequence[str] | None = None, python: Runner = run_process) -> int:
    """Measure and print; exit code 1 where a limit is not met or a part failed."""
    from benchmarks.gpu_parts import PARTS, TO_THE_END, prepare_images, surroundings

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default=os.environ.get("RESDSL_IMAGES"), help="CIFAR-10 as a folder of classes")
    parser.add_argument("--out", type=Path, required=True, help="where figures and logs are written")
    parser.add_argument("--only", help=f"some parts, with commas between them: {', '.join(PARTS)}")
    parser.add_argument("--budget", type=float, default=BUDGET, help=f"seconds for everything (default: {BUDGET:.0f})")
    parser.add_argument("--train-to-end", action="store_true", help="train the five nets to their ends instead")
    parser.add_argument("--rehearse", action="store_true", help="a few tiny steps on the CPU")
    args = parser.parse_args(argv)
    chosen = TO_THE_END if args.train_to_end else PARTS
    names = args.only.split(",") if args.only else list(chosen)
    if unknown := [name for name in names if name not in chosen]:
        parser.error(f"there is no part {unknown[0]!r}; there are {', '.join(chosen)}")
    if not args.rehearse and (fault := _missing_gpu()):
        parser.error(fault)
    deadline = time.monotonic() + args.budget
    args.out.mkdir(parents=True, exist_ok=True)
    plan = Plan(args.out.resolve(), args.out, args.rehearse, python, deadline)
    plan.data = prepare_images(plan, args.images)
    plan.figures["surroundings"] = surroundings(plan, args.images)
    print(plan.figures["surroundings"], end="\n\n", flush=True)
    print(HEADER, flush=True)
    rows = measure(plan, {name: chosen[name] for name in names})
    # What a rehearsal measures need not be good.
    is_fine = all(row.measured != "failed" and (args.rehearse or row.is_met is not False) for row in rows)
    return 0 if is_fine else 1


def _missing_gpu() -> str:
    import torch

    return "" if torch.cuda.is_available() else "torch finds no CUDA device; --rehearse goes through it on the CPU"


if __name__ == "__main__":
    sys.exit(main())
