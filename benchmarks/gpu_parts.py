"""The parts of benchmarks/gpu.py: which commands each runs, and what their figures say."""

from __future__ import annotations

import json
import pickle
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu import Done, Part, Plan, Row

CIFAR, IMAGENET = "specs/cifar_resnets.res", "specs/resnet50.res"
ITERATIONS, BATCH = 64_000, 128
ENGINES = ("plain", "graph", "compiled", "fused")
SEEDS, SEED_ITERATIONS = 5, 3_000
TRAINED = ("resnet20", "resnet56", "resnet110", "plain20", "plain56")
RECORD = 7_943  # images a second of the MLPerf record for ResNet-50 on one H200


# --- before everything ---


def prepare_images(plan: Plan, images: str | None) -> Path:
    """The images, decoded once, as CIFAR's own batch files: each of many processes reads those in a moment.

    Without a folder they are made: random pixels.
    """
    import torch

    from benchmarks.training import make_images
    from resdsl.recipe import build_recipe
    from resdsl.recipe_types import Call
    from resdsl.train import SilentReporter
    from resdsl.train.data import ImageSet, network_input
    from resdsl.train.session import open_data

    folder = plan.out / "cifar-10-batches-py"
    if (folder / "test_batch").exists():
        return folder
    sgd = Call("sgd", (("lr", 0.1),))
    recipe = build_recipe({"data": Call("cifar10"), "batch": 1, "iterations": 1, "optimizer": sgd})
    with tempfile.TemporaryDirectory() as made:
        if images is None:
            make_images(Path(made))
        place = Path(images or made)
        data = open_data(
            recipe, network_input((3, 32, 32), recipe.data), 10, place, torch.device("cpu"), SilentReporter()
        )
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "batches.meta", {"label_names": list(data.classes)})
    assert isinstance(data.train, ImageSet)
    assert isinstance(data.test, ImageSet)
    everything = range(len(data.train))
    for number in range(5):
        _write_images(folder / f"data_batch_{number + 1}", data.train.take(torch.tensor(everything[number::5])))
    _write_images(folder / "test_batch", data.test)
    plan.figures["images"] = {"train": len(data.train), "test": len(data.test), "are_real": images is not None}
    return folder


def _write_images(path: Path, images: Any) -> None:
    _write(path, {"data": images.pixels.flatten(1).numpy(), "labels": images.labels.tolist()})


def _write(path: Path, content: dict[str, object]) -> None:
    # Later protocols name functions that a reader of CIFAR's files has no need to know.
    path.write_bytes(pickle.dumps(content, protocol=4))


def surroundings(plan: Plan, images: str | None) -> str:
    """Date, device and versions, for the head of the table."""
    import platform

    import torch
    import torchvision

    device = platform.machine() if plan.rehearse else torch.cuda.get_device_name()
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, torchvision {torchvision.__version__}"
    kind = "real images" if images else "images of random pixels"
    rehearsal = "; a rehearsal on the CPU, whose figures mean nothing" if plan.rehearse else ""
    return f"Measured {datetime.now(UTC):%Y-%m-%d} on {device}; {versions}; {kind}{rehearsal}."


# --- what several parts do ---


def _train(plan: Plan, network: str, folder: Path, seconds: float, *options: str) -> Done:
    shutil.rmtree(folder, ignore_errors=True)
    place = ("--data", str(plan.data), "--out", str(folder), "--device", plan.device)
    tiny = ("--batch", "16", "--setting", "data cifar10(validation = 0)", "--setting", "evaluate 2")
    length = ("--iterations", "4") if plan.rehearse else ()
    command = ("train", CIFAR, "--network", network, *place, *options, *(tiny if plan.rehearse else ()), *length)
    done = plan.resdsl(*command, seconds=seconds)
    logs = plan.out / "logs"
    logs.mkdir(exist_ok=True)
    (logs / f"{folder.name}.txt").write_text(f"{' '.join(command)}\n\n{done.output}\n{done.errors}", encoding="utf-8")
    return done


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The evaluations of a run so far; a line that is not whole yet is left out."""
    rows = []
    path = folder / "metrics.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def seconds_of(rows: list[dict[str, Any]], iterations: int) -> tuple[float, bool]:
    """Seconds of training with evaluation for so many iterations, and whether they are extrapolated.

    Extrapolated is from the first evaluation on, at the speed since: what happens once counts once.
    """
    first, last = rows[0], rows[-1]
    if last["step"] >= iterations or len(rows) < 2:
        return last["seconds"] * iterations / last["step"], last["step"] < iterations
    each = (last["seconds"] - first["seconds"]) / (last["step"] - first["step"])
    return first["seconds"] + each * (iterations - first["step"]), True


def _full_run(plan: Plan, network: str, budget: float, limit: float) -> Iterator[Row]:
    """The whole of the recipe, or as much as there is time for."""
    folder = plan.out / "runs" / network
    done = _train(plan, network, folder, budget)
    rows = read_rows(folder)
    what = f"{network}, {ITERATIONS:,} iterations of batch {BATCH}, seconds with evaluation"
    if not rows:
        yield Row(what, "failed", f"at most {limit:g}", None, done.complaint or "no evaluation was written")
        return
    seconds, is_extrapolated = seconds_of(rows, ITERATIONS)
    last = rows[-1]
    plan.figures[network] = {"seconds": seconds, "rows": rows, "command_seconds": done.seconds}
    remark = f"{len(rows)} evaluations; test error {last['test_error']:.2%}; whole command {done.seconds:.1f} s"
    if is_extrapolated:
        remark = f"extrapolated from {last['step']:,} iterations in {last['seconds']:.1f} s; {len(rows)} evaluations"
    engine = _engine_of(folder)
    yield Row(what, f"{seconds:.1f} s", f"at most {limit:g}", seconds <= limit, f"{remark}{engine}")
    speed = statistics.median(row["images_per_second"] for row in rows)
    yield Row(f"{network}, images/s between evaluations, median", f"{speed:,.0f}")


def _engine_of(folder: Path) -> str:
    """How the run's steps were computed, where it says so."""
    try:
        engine = json.loads((folder / "environment.json").read_text(encoding="utf-8")).get("engine")
    except (OSError, ValueError):
        return ""
    return f"; engine {engine}" if engine else ""


def _bench(plan: Plan, spec: str, network: str, batch: int, seconds: float, *options: str, **environment: str) -> Done:
    few = ("--seconds", "0.05", "--rounds", "1") if plan.rehearse else ("--rounds", "5")
    which = ("bench", spec, "--network", network, "--batch", str(2 if plan.rehearse else batch))
    command = (*which, "--device", plan.device, *options, *few, "--json")
    return plan.resdsl(*command, seconds=seconds, **environment)


def _speeds(done: Done) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of `resdsl bench` by network and kind of work. Raises RuntimeError where the command failed."""
    if done.complaint:
        raise RuntimeError(done.complaint)
    return {(row["network"].partition(":")[0], row["what"]): row for row in done.json()["results"]}


def _speed(row: dict[str, Any]) -> str:
    memory = row["peak_memory"]
    shown = f"{row['images_per_second']['median']:,.0f} images/s"
    return shown if memory is None else f"{shown}, {memory / 2**30:.1f} GiB"


# --- parts ---


def _seeds(plan: Plan) -> Iterator[Row]:
    folder = plan.out / "runs" / f"resnet110-{SEEDS}-seeds"
    options = ("--seeds", str(SEEDS), "--iterations", str(SEED_ITERATIONS))
    done = _train(plan, "resnet110", folder, 75, *options)
    what = f"{SEEDS} seeds of resnet110 together, {ITERATIONS:,} iterations, seconds with evaluation"
    runs = [rows for rows in map(read_rows, sorted(folder.glob("seed-*"))) if rows]
    if len(runs) < SEEDS:
        yield Row(what, "failed", "at most 300", None, done.complaint or f"{len(runs)} of {SEEDS} were evaluated")
        return
    seconds = max(seconds_of(rows, ITERATIONS)[0] for rows in runs)
    least = min(rows[-1]["step"] for rows in runs)
    plan.figures["seeds"] = {"seconds": seconds, "rows": runs}
    together = SEEDS * ITERATIONS * BATCH / seconds
    remark = f"extrapolated from {least:,} iterations; {together:,.0f} images/s in all"
    yield Row(what, f"{seconds:.1f} s", "at most 300", seconds <= 300, remark)


def _paths(plan: Plan, network: str) -> Iterator[Row]:
    """The ladder: images/s of each way to compute a step, at the batch of the recipe."""
    for engine in ENGINES[:1] if plan.rehearse else ENGINES:
        what = f"{network}, engine {engine}, batch {BATCH}, training"
        try:
            found = _speeds(_bench(plan, CIFAR, network, BATCH, 60, "--engine", engine, "--no-peers", "--seconds", "2"))
        except (RuntimeError, ValueError) as error:
            yield Row(what, "failed", remark=str(error))
            continue
        plan.figures[f"{network} {engine}"] = {kind: row for (_, kind), row in found.items()}
        training, inference = found["resdsl", "training"], found["resdsl", "inference"]
        ready = f"ready after {training['preparation_seconds']:.1f} s; inference {_speed(inference)}"
        yield Row(what, _speed(training), remark=ready)


def _beside_plain(plan: Plan, network: str, limit: float | None) -> Iterator[Row]:
    """The runner and a plain loop in turn, in one process."""
    options = ("--network", network, "--data", str(plan.data), "--device", plan.device)
    done = plan.python(("-m", "benchmarks.gpu_plain", *options, *(["--tiny"] if plan.rehearse else [])), 110, {})
    if done.complaint:
        raise RuntimeError(done.complaint)
    found = done.json()
    plan.figures[f"{network} beside a plain loop"] = found
    low, high = found["quartiles"]
    ratio: float = found["ratio"]
    remark = (
        f"{found['ours']:,.0f} over {found['plain']:,.0f} images/s; quartiles {low:.1f} to {high:.1f}; the loop: "
        f"{found['how']}, the fastest of {found['tried']}"
    )
    must, is_met = ("", None) if limit is None else (f"at least {limit:g}", ratio >= limit)
    yield Row(f"{network}, images/s over the recipe in a plain PyTorch loop", f"{ratio:.1f}", must, is_met, remark)


def _resnet50(plan: Plan, batch: int, budget: float, *options: str) -> Iterator[Row]:
    peers = ("--peer", "torchvision:resnet50", "--input", "3 x 32 x 32" if plan.rehearse else "3 x 224 x 224")
    done = _bench(plan, IMAGENET, "resnet50_v15", batch, budget, *peers, *options, "--seconds", "4")
    found = _speeds(done)
    plan.figures[f"resnet50 {batch}"] = done.json()
    ours, theirs = found["resdsl", "training"], found["torchvision", "training"]
    what = f"resnet50_v15, 224, batch {batch}, training images/s on made-up images"
    if theirs["failure"]:
        yield Row(f"{what} over torchvision's", "failed", "above 1", None, theirs["failure"])
    else:
        ratio = ours["images_per_second"]["median"] / theirs["images_per_second"]["median"]
        remark = f"torchvision's {_speed(theirs)} with {theirs['how']}; {theirs['remark']}"
        yield Row(f"{what} over torchvision's", f"{ratio:.2f}", "above 1", ratio > 1, remark)
    speed = ours["images_per_second"]["median"]
    aim = f"ready after {ours['preparation_seconds']:.1f} s; the aim is {RECORD:,}: {speed / RECORD:.0%}"
    yield Row(what, _speed(ours), remark=aim)
    if ("resdsl", "inference") in found:
        yield Row(what.replace("training", "inference"), _speed(found["resdsl", "inference"]))


def _compiling(plan: Plan) -> Iterator[Row]:
    """Seconds until the first steps are done: with empty caches, then with those of the first process."""
    engine = "plain" if plan.rehearse else "compiled"
    with tempfile.TemporaryDirectory() as cache:
        places = {"TORCHINDUCTOR_CACHE_DIR": f"{cache}/inductor", "TRITON_CACHE_DIR": f"{cache}/triton"}
        for state in ("cold", "warm"):
            options = ("--engine", engine, "--no-peers", "--only", "training", "--seconds", "0.2")
            found = _speeds(_bench(plan, CIFAR, "resnet110", BATCH, 60, *options, **places))
            seconds = found["resdsl", "training"]["preparation_seconds"]
            plan.figures[f"compiling, {state}"] = seconds
            yield Row(f"resnet110, engine {engine}, until the first steps are done, caches {state}", f"{seconds:.1f} s")


def _resuming(plan: Plan) -> Iterator[Row]:
    for words in (("--deterministic",), ()):
        done = _train(plan, "resnet20", plan.out / "runs" / "resumed", 45, "--verify-resume", *words)
        what = f"resnet20, `--verify-resume{' --deterministic' if words else ''}`"
        told = done.complaint or done.output.strip().splitlines()[-1]
        must = "bit-equal" if words else ""
        is_met = None if not words or done.code is None else done.code == 0
        yield Row(what, "bit-equal" if done.code == 0 else "other bits", must, is_met, told)


def _deterministic(plan: Plan) -> Iterator[Row]:
    speeds = []
    for words in ((), ("--deterministic",)):
        folder = plan.out / "runs" / f"resnet20{''.join(words)}"
        done = _train(plan, "resnet20", folder, 45, "--iterations", "2000", "--setting", "evaluate 500", *words)
        rows = read_rows(folder)
        if not rows:
            raise RuntimeError(done.complaint or "no evaluation was written")
        speeds.append(rows[-1]["images_per_second"])
    cost = 1 - speeds[1] / speeds[0]
    remark = f"{speeds[1]:,.0f} instead of {speeds[0]:,.0f} images/s"
    yield Row("resnet20, what `--deterministic` costs in images/s", f"{cost:.0%}", remark=remark)


def _to_the_end(plan: Plan, network: str) -> Iterator[Row]:
    """The whole recipe; the run folder stays where it is, to be kept."""
    folder = plan.out / "runs" / network
    done = _train(plan, network, folder, plan.left)
    rows = read_rows(folder)
    if not rows or done.complaint:
        raise RuntimeError(done.complaint or "no evaluation was written")
    last = rows[-1]
    errors = f"test error {last['test_error']:.2%}, training error {last['train_error']:.2%}"
    yield Row(f"{network} to its end", errors, remark=f"{last['step']:,} iterations in {last['seconds']:.1f} s")


PARTS: dict[str, Part] = {
    "resnet20": partial(_full_run, network="resnet20", budget=75, limit=20.0),
    "resnet110": partial(_full_run, network="resnet110", budget=125, limit=90.0),
    "plain_loop_110": partial(_beside_plain, network="resnet110", limit=10.0),
    "resnet50_256": lambda plan: _resnet50(plan, 256, 150),
    "seeds": _seeds,
    "paths_110": partial(_paths, network="resnet110"),
    "paths_20": partial(_paths, network="resnet20"),
    "resume": _resuming,
    "resnet50_512": lambda plan: _resnet50(plan, 512, 120, "--only", "training"),
    "plain_loop_20": partial(_beside_plain, network="resnet20", limit=None),
    "compiling": _compiling,
    "deterministic": _deterministic,
}
TO_THE_END: dict[str, Part] = {network: partial(_to_the_end, network=network) for network in TRAINED}
