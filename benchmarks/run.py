"""Runs the measurements and prints a table: `python -m benchmarks.run [--quick] [--only front|build|step|train]`."""

from __future__ import annotations

import argparse
import os
import sys

from benchmarks.measure import HEADER, Ratio, machine


def main() -> int:
    """Print each ratio with its yardstick and limit; exit code 1 when a limit is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds: a look, not a figure to keep")
    parser.add_argument("--only", choices=("front", "build", "step", "train"), help="one group")
    parser.add_argument(
        "--images",
        metavar="DIR",
        default=os.environ.get("RESDSL_IMAGES"),
        help="CIFAR-10 as a folder of classes, to train with (default: RESDSL_IMAGES, else images made here)",
    )
    args = parser.parse_args()
    rounds = 5 if args.quick else 25
    found: list[Ratio] = []
    if args.only in (None, "front"):
        from benchmarks.front_end import measure_front_end

        found += measure_front_end(rounds)
    if args.only in (None, "build"):
        from benchmarks.modules import measure_building

        found.append(measure_building(rounds))
    if args.only in (None, "step"):
        from benchmarks.modules import measure_step

        found.append(measure_step(rounds))
    if args.only in (None, "train"):
        from benchmarks.training import measure_training

        found += measure_training(rounds, args.images)
    print(machine(), end="\n\n")
    print(HEADER)
    for ratio in found:
        print(ratio.row())
    return 0 if all(ratio.is_met for ratio in found) else 1


if __name__ == "__main__":
    sys.exit(main())
