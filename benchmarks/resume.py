"""Kills training runs at random moments, goes on with them, and counts those that end with the right bits.

    python -m benchmarks.resume [--kills 20] [--seed 1]

Every fourth run is killed by SIGKILL at a moment drawn evenly from the whole life of such a process, start-up and the
last files included, the others at one drawn evenly from the time behind the first checkpoint, evaluations included.
Checkpoints are written every 20 ms, so that many kills hit one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

SAVE_SECONDS = 0.02
SPEC = """
network killed {{
  input 1 x 8 x 8
  conv(3x3, 12) -> bn -> relu -> dropout(0.1) -> conv(3x3, 12) -> bn -> relu -> global_avg_pool -> linear(10)
}}

train {{
  data digits(size = 8)
  augment pad(1) -> random_crop(8)
  batch 32
  optimizer sgd(lr = 0.1, nesterov = true)
  schedule cosine
  warmup(lr = 0.01) until train_error < 80%
  ema 0.9
  iterations {iterations}
  evaluate 50
}}
"""


@dataclass(frozen=True, slots=True)
class Kill:
    """One run that was killed: when, behind which checkpoint, and the first value that came out wrong."""

    seconds: float
    is_in_training: bool  # the seconds count from the first checkpoint, else from the start of the process
    step: int | None  # of the newest checkpoint; None where there was none yet
    difference: str | None


def kill_runs(folder: Path, kills: int, seed: int, iterations: int = 600) -> Iterator[Kill]:
    """Train once without a stop in `folder`, then kill as many runs and bring each to its end."""
    context = multiprocessing.get_context("forkserver")
    # Loaded once and not in each process: all of a process's life shall be training.
    context.set_forkserver_preload(["resdsl.cli.train", "resdsl.train", "sklearn.datasets"])
    spec = folder / "killed.res"
    spec.write_text(SPEC.format(iterations=iterations))
    whole = folder / "whole"
    _end(_begin(context.Process()))  # what is loaded once does not count
    begun = time.perf_counter()
    process = _start(context, spec, whole)
    _await(whole / "checkpoint.pt", process)
    first = time.perf_counter()
    _end(process)
    end = time.perf_counter()
    expected = _content(whole)
    moments = random.Random(seed)
    for number in range(kills):
        run = folder / f"run{number}"
        process = _start(context, spec, run)
        if number % 4:
            _await(run / "checkpoint.pt", process)
            seconds = moments.uniform(0, end - first)
        else:
            seconds = moments.uniform(0, end - begun)
        process.join(seconds)
        process.kill()
        process.join()
        step = _saved_step(run)
        if not (run / "arguments.json").exists():  # killed before it had said what it was
            shutil.rmtree(run, ignore_errors=True)
            _end(_start(context, spec, run))
        else:
            _end(_start(context, run, None))
        yield Kill(seconds, bool(number % 4), step, _difference(expected, _content(run)))
        shutil.rmtree(run)


def _start(context: ForkServerContext, spec: Path, out: Path | None) -> ForkServerProcess:
    return _begin(context.Process(target=_train, args=(str(spec), out and str(out))))


def _begin(process: ForkServerProcess) -> ForkServerProcess:
    process.start()
    return process


def _await(path: Path, process: ForkServerProcess) -> None:
    while process.is_alive() and not path.exists():
        time.sleep(0.001)


def _end(process: ForkServerProcess) -> None:
    process.join()
    if process.exitcode != 0:
        raise RuntimeError(f"a run ended with exit code {process.exitcode}")


def _train(spec: str, out: str | None) -> None:
    import torch

    from resdsl.cli.main import main
    from resdsl.train import loop

    torch.set_num_threads(1)
    sys.modules.update({"matplotlib": None})  # type: ignore[dict-item]  # pictures would be most of so short a life
    loop.SAVE_SECONDS = SAVE_SECONDS
    with open(os.devnull, "w") as nowhere:
        sys.stdout = sys.stderr = nowhere
        sys.exit(main(["train", spec, "--device", "cpu", *(("--out", out) if out else ("--resume",))]))


def _content(run: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    from resdsl.train.checkpoint import FILE_NAME, load_checkpoint
    from resdsl.train.record import read_metrics

    return load_checkpoint(run / FILE_NAME), read_metrics(run)


def _saved_step(run: Path) -> int | None:
    from resdsl.train.checkpoint import FILE_NAME, load_checkpoint
    from resdsl.train.errors import CheckpointError

    try:
        step: int = load_checkpoint(run / FILE_NAME)["progress"]["step"]
    except CheckpointError:
        return None
    return step


def _difference(expected: object, found: object) -> str | None:
    from resdsl.train.verify import first_difference

    return first_difference(expected, found)


def main() -> int:
    """Print each kill, and how many runs ended bit-equal; exit code 1 where one did not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    right = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, kill in enumerate(kill_runs(Path(folder), args.kills, args.seed), start=1):
            where = "before the first checkpoint" if kill.step is None else f"behind the checkpoint of step {kill.step}"
            verdict = "bit-equal" if kill.difference is None else f"differs at {kill.difference}"
            since = "of training" if kill.is_in_training else "of its life"
            print(f"{number:3}  killed after {kill.seconds:.2f} s {since}, {where}: {verdict}", flush=True)
            right += kill.difference is None
    print(f"{right} of {args.kills} bit-equal")
    return 0 if right == args.kills else 1


if __name__ == "__main__":
    sys.exit(main())
