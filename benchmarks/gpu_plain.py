"""A part of benchmarks/gpu.py: the runner and a plain loop in turn, in one process; the last line is a JSON object."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.plain import PlainLoop
from benchmarks.training import Setting, open_setting, runner_seconds
from resdsl.train.turns import Place


@dataclass(frozen=True, slots=True)
class Way:
    """One way to write the plain loop."""

    workers: int
    autocast: bool
    channels_last: bool

    def __str__(self) -> str:
        precision = "bf16 autocast" if self.autocast else "float32"
        return f"{self.workers} workers, {precision}{', channels_last' if self.channels_last else ''}"


def ways(cores: int, *, tiny: bool) -> list[Way]:
    """Those to choose the fastest of: as many workers as there are cores and half of them; each precision."""
    if tiny:
        return [Way(0, autocast=False, channels_last=False)]
    forms = [(False, False), (True, False), (True, True)]
    return [
        Way(workers, autocast=autocast, channels_last=layout)
        for workers in sorted({max(1, cores // 2), cores})
        for autocast, layout in forms
    ]


def compare_with_plain(setting: Setting, device: torch.device, *, rounds: int, tiny: bool) -> dict[str, object]:
    """Images/s of both, and of each round the ratio: median and quartiles."""
    batch = setting.recipe.batch
    ours_steps, plain_steps = (3, 2) if tiny else (400, 40)
    cores = len(os.sched_getaffinity(0))

    def loop_of(way: Way) -> PlainLoop:
        layout = {"autocast": way.autocast, "channels_last": way.channels_last}
        return PlainLoop(setting.images, setting.model(), batch, way.workers, device, **layout)

    tried = {}
    for way in ways(cores, tiny=tiny):
        loop = loop_of(way)
        tried[way] = max(loop.images_per_second(plain_steps) for _ in range(2))
        del loop
    fastest = max(tried, key=lambda way: tried[way])
    plain = loop_of(fastest)
    with tempfile.TemporaryDirectory() as folder:
        place = Place(device, alone=True)  # as every run has it

        def ours() -> float:
            with place:
                return ours_steps * batch / runner_seconds(run, ours_steps)

        with place:
            run = setting.run(Path(folder), device)
            run.prepare()
        ours()  # captures, compiles
        pairs = [(ours(), plain.images_per_second(plain_steps)) for _ in range(rounds)]
    ratios = [speed / theirs for speed, theirs in pairs]
    low, _, high = statistics.quantiles(ratios, n=4)
    return {
        "ratio": statistics.median(ratios),
        "quartiles": [low, high],
        "ours": statistics.median(speed for speed, _ in pairs),
        "plain": statistics.median(theirs for _, theirs in pairs),
        "how": str(fastest),
        "tried": len(tried),
        "all": {str(way): speed for way, speed in tried.items()},
        "rounds": pairs,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args(argv)
    changes = {"batch": 8} if args.tiny else {}
    setting = open_setting(args.network, args.data, has_validation=not args.tiny, **changes)
    found = compare_with_plain(setting, torch.device(args.device), rounds=args.rounds, tiny=args.tiny)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
