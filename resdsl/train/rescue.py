"""What becomes of a run that cannot go on: its last good checkpoint is kept, and the user is told why."""

from collections.abc import Callable, Iterator
from contextlib import suppress

from resdsl.train.checkpoint import load_newest, random_state, set_random_state
from resdsl.train.distributed import World
from resdsl.train.diverged import Fault, NotFiniteError, all_finite, blame, first_bad_tensor
from resdsl.train.errors import DivergedError, MemoryShortError, TrainError
from resdsl.train.interrupt import Interrupt
from resdsl.train.loop import WINDOW, Run
from resdsl.train.memory import is_out_of_memory, largest_batch, release_memory
from resdsl.train.optim import used_lr
from resdsl.train.report import SilentReporter

_NOT_DETERMINISTIC = "does not have a deterministic implementation"  # what torch says of an operation


def guarded_turns(
    run: Run,
    interrupt: Interrupt,
    place_of: Callable[[str], str | None] | None,
    *,
    is_new: bool,
    at_work: Callable[[], int] = lambda: 1,
) -> Iterator[None]:
    """Let a run go to its end, turn by turn; `at_work` counts the runs that share the device, this one among them.

    Raises DivergedError, MemoryShortError, StorageError or TrainError where it cannot.
    """
    try:
        if is_new:
            run.save()  # so that there is a checkpoint whenever the run is killed
        run.prepare()
        yield from run.turns(interrupt)
        return
    except NotFiniteError:
        lost = True
    except (MemoryError, RuntimeError) as error:
        if _NOT_DETERMINISTIC in str(error):
            raise TrainError(f"{str(error).partition(_NOT_DETERMINISTIC)[0]}{_NOT_DETERMINISTIC} here") from None
        if not is_out_of_memory(error):
            raise
        lost = False
    # Out of the handler: it would keep alive the tensors of the failed step.
    raise _diverged(run, place_of) if lost else _out_of_memory(run, at_work())


def _out_of_memory(run: Run, at_work: int) -> MemoryShortError:
    step, device, batch = run.progress.step, run.train_feed.labels.device.type, run.recipe.batch
    if at_work > 1:
        # What fits beside the others says nothing about what would fit without them.
        where = f"out of memory on {device} at iteration {step + 1:,} with {at_work} runs side by side"
        return MemoryShortError(f"{where}: take fewer seeds at once, or go on with this run when the others have ended")
    at_once = batch // run.recipe.accumulate // run.world.size
    run.engine.forget()
    run.optimizer.zero_grad(set_to_none=True)
    release_memory()

    def attempt(size: int) -> None:
        inputs, targets = run.stream.batch(step)
        run.step(inputs.split(size)[0], targets.split(size)[0])  # type: ignore[no-untyped-call]

    where = f"out of memory on {device} at iteration {step + 1:,} with {at_once} images at once"
    if run.world.size > 1:
        # What fits cannot be tried: a step waits for all processes, and they are at another place.
        return MemoryShortError(f"{where} in each process: take a smaller --batch, or --setting 'accumulate N'")
    match largest_batch(attempt, at_once):
        case None:
            return MemoryShortError(f"{where}: two do not fit either")
        case int(fits) if fits < at_once:
            parts = next(parts for parts in range(2, batch + 1) if batch % parts == 0 and batch // parts <= fits)
            advice = f"take --batch {fits}, or the same batch in parts with --setting 'accumulate {parts}'"
            return MemoryShortError(f"{where}, of which about {fits} fit: {advice}")
        case _:
            return MemoryShortError(f"{where}, though a step alone fits: evaluation or another program took the rest")


def _diverged(run: Run, place_of: Callable[[str], str | None] | None) -> DivergedError:
    """Go over the steps since the last good checkpoint once more, and look at every number.

    Steps can be made again from the seed, so nothing need be kept for this while a run is well.
    """
    bound, lr = run.progress.step, used_lr(run.optimizer)
    evaluated = {row["step"]: row for row in run.metrics}
    saved = run.world.share(load_newest(run.folder, run.reporter.note) if run.world.is_writer else None)
    fault = None
    if saved is not None:
        run.reporter.note("a number is no longer finite: looking for the first one since the last checkpoint")
        run.reporter = SilentReporter()
        run.restore(saved)
        fault = _find_fault(run, bound, evaluated)
    if fault is None:
        lost = f"the training loss is no longer a number by iteration {bound:,}, at learning rate {lr:g}"
        return DivergedError(
            f"{lost}; a second pass did not find the layer: --deterministic makes passes equal where a GPU's are not"
        )
    lost = f"the training loss is no longer a number at iteration {run.progress.step:,}"
    place = place_of(fault.layer) if place_of else None
    layer = f"{fault.layer or 'the model'}{f' ({place})' if place else ''}"
    found = f"the first that is not finite is the {fault.what} of {layer}"
    kept = "" if saved is None else f"; the checkpoint of iteration {saved['progress']['step']:,} is kept"
    return DivergedError(
        f"{lost}, at learning rate {used_lr(run.optimizer):g}: {found}. Try a lower rate or a warm-up{kept}"
    )


def _find_fault(run: Run, bound: int, evaluated: dict[float | None, dict[str, float | None]]) -> Fault | None:
    while run.progress.step < bound:
        step = run.progress.step
        before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
        draws = random_state()
        loss = run.advance()
        if run.world.highest(not (all_finite([loss]) and all_finite(run.model.state_dict().values()))):
            bad = first_bad_tensor(run.model)
            run.model.load_state_dict(before)
            set_random_state(draws)
            own = blame(run.model, lambda: run.step(*run.stream.batch(step))) or bad  # noqa: B023 - called at once
            return _first_of_all(run.world, own)
        if run.progress.step % WINDOW == 0:
            with suppress(NotFiniteError):
                run.look()
        if run.progress.step in evaluated:
            run.take_up(evaluated[run.progress.step])  # it may have changed the learning rate
    return None


def _first_of_all(world: World, own: Fault | None) -> Fault | None:
    """The fault that came first of those that the processes found: an output, as gradients reach all of them."""
    found = [Fault(*pair) for pair in world.gather((own.layer, own.what) if own else None) if pair]
    return min(found, key=lambda fault: fault.what != "output", default=None)
