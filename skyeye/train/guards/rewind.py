"""Back to an earlier state, when the guard wants it (:mod:`skyeye.train.guards.guards`)."""

from __future__ import annotations

from pathlib import Path

from accelerate.utils import broadcast_object_list

from skyeye.errors import SkyEyeError
from skyeye.train.checkpoint.resume import trim_log
from skyeye.train.checkpoint.state import complete_states, drop_states_after, find_corruption, load_state
from skyeye.train.context import Prepared
from skyeye.train.guards.guards import Guard, Rewind


def go_back(prepared: Prepared, guard: Guard, folder: Path, rewind: Rewind) -> int:
    """Load the last state before the steps to be skipped (or in them); the step to go on with.

    Raises:
        SkyEyeError: there is no state of this stage yet, or all are damaged.
    """
    accelerator = prepared.accelerator
    # process 0 chooses: it alone removes states, and may do so while another process still looks for one
    found: list = [None, []]
    if accelerator.is_main_process:
        found = _sound_state(folder, guard.stage, rewind.first)
    if accelerator.num_processes > 1:
        broadcast_object_list(found)
    for line in found[1]:
        accelerator.print(f"{line}; the state is skipped")
    if found[0] is None:
        raise SkyEyeError(
            f"{len(guard.streak)} updates in a row were held back, and there is no earlier state to go back to"
            + "".join(f"; {line}" for line in found[1]),
            where=f"stage {guard.stage}, step {rewind.last + 1}",
            remedy=f"look at {folder / 'events.jsonl'}; lower optimizer.lr, or lower run.checkpoint_every",
        )
    state, manifest = found[0]
    skipped = [*guard.skipped, [max(rewind.first, manifest["step"]), rewind.last]]
    load_state(prepared, state)
    guard.restore({**manifest["guard"], "streak": [], "skipped": skipped})
    guard.record("went back", rewind.last, state=state.name, skipped=skipped[-1])
    drop_states_after(accelerator, folder, manifest["serial"])
    if accelerator.is_main_process:
        trim_log(folder / "log.jsonl", guard.stage, manifest["step"])
    return manifest["step"]


def _sound_state(folder: Path, stage: str, step: int) -> list:
    """The newest sound state of a stage up to ``step``, else the oldest one after it: ``[(directory, manifest) or None,
    a line for each damaged one]``."""
    states = [entry for entry in complete_states(folder) if entry[1]["stage"] == stage]
    before = [entry for entry in reversed(states) if entry[1]["step"] <= step]
    damaged = []
    for entry in before + [entry for entry in states if entry not in before]:
        wrong = find_corruption(entry[0])
        if wrong is None:
            return [entry, damaged]
        damaged.append(wrong)
    return [None, damaged]
