"""Faults and signals that tests put into training processes, by name."""

from __future__ import annotations

import errno
import os
import signal
import time


def _is_last() -> bool:
    return int(os.environ.get("RANK", 0)) == int(os.environ.get("WORLD_SIZE", 1)) - 1


def no_extension() -> None:
    """Whoever builds or loads an extension of torch fails."""
    from torch.utils import cpp_extension

    def refuse(*_, name: str = "", **__) -> None:
        raise AssertionError(f"the extension {name} is built")

    cpp_extension.load = refuse


def _at_every_step(act) -> None:
    """Call ``act(step)`` at the beginning of every step of this process."""
    from skyeye.train import loop

    real = loop.learning_rate

    def learning_rate(step, *args, **kwargs):
        act(step)
        return real(step, *args, **kwargs)

    loop.learning_rate = learning_rate


def _signal_in_third_step(number: int) -> None:
    """The last process gets a signal; the others know nothing of it."""
    _at_every_step(lambda step: os.kill(os.getpid(), number) if step == 2 and _is_last() else None)


def sigterm_in_third_step() -> None:
    _signal_in_third_step(signal.SIGTERM)


def sigusr1_in_third_step() -> None:
    _signal_in_third_step(signal.SIGUSR1)


def _clock_forward(seconds: float) -> None:
    """The watchdog of this process takes it that so much time has passed."""
    from skyeye.train.guards import watchdog

    class Clock:
        def monotonic(self) -> float:
            return time.monotonic() + seconds

        def __getattr__(self, name: str):
            return getattr(time, name)

    watchdog.time = Clock()


def _look_often() -> None:
    """The watchdog does, from its beginning on: later it would first wait for as long as it does in earnest."""
    from skyeye.train.guards import watchdog

    watchdog.LOOK_EVERY = 0.5


def hang_in_third_step() -> None:
    """The last process never comes back from its third step; the limit of two minutes is nearly over by then."""
    _look_often()

    def act(step: int) -> None:
        if step == 2:
            _clock_forward(117)
            time.sleep(1000 if _is_last() else 0)

    _at_every_step(act)


def _spoil(steps: set[int], factor: float) -> None:
    """In these steps the loss of the last process, and with it the gradient, is multiplied."""
    from skyeye.models.objective import TrainingObjective

    now = [0]
    _at_every_step(lambda step: now.__setitem__(0, step))
    real = TrainingObjective.forward

    def forward(self, *args, **kwargs):
        loss = real(self, *args, **kwargs)
        return loss * factor if now[0] in steps and _is_last() else loss

    TrainingObjective.forward = forward


def nan_in_second_step() -> None:
    _spoil({1}, float("nan"))


def nan_in_steps_five_and_six() -> None:
    _spoil({4, 5}, float("nan"))


def nan_in_two_windows() -> None:
    _spoil({4, 5, 9, 10}, float("nan"))


def nan_in_windows_that_touch() -> None:
    _spoil({4, 5, 6, 7}, float("nan"))


def spike_in_fourth_step() -> None:
    _spoil({3}, 1000.0)


def spike_of_the_gradient_in_fourth_step() -> None:
    """Only the gradient, on the last process: its loss is what it was."""
    import torch
    from accelerate import Accelerator

    now = [0]
    _at_every_step(lambda step: now.__setitem__(0, step))
    real = Accelerator.backward

    def backward(self, loss, **kwargs):
        if now[0] == 3 and _is_last():
            loss = 1000.0 * loss - (999.0 * loss).detach()
        assert torch.is_tensor(loss)
        return real(self, loss, **kwargs)

    Accelerator.backward = backward


def share_out_every_parameter() -> None:
    """ZeRO-3 leaves parameters as small as those of tests whole on every process; here it does not."""
    from skyeye.train.parallel import distributed

    real = distributed.deepspeed_settings

    def deepspeed_settings(*args, **kwargs):
        settings = real(*args, **kwargs)
        settings["zero_optimization"]["stage3_param_persistence_threshold"] = 0
        return settings

    distributed.deepspeed_settings = deepspeed_settings


def say_bucket_size() -> None:
    """Print what DeepSpeed's optimiser took as the size of its buckets, once in every stage; all weights shared out."""
    share_out_every_parameter()
    from skyeye.train import stages

    real = stages.init_optimizer_state

    def init_optimizer_state(optimizer):
        print("bucket size", optimizer.optimizer.reduce_bucket_size, flush=True)
        real(optimizer)

    stages.init_optimizer_state = init_optimizer_state


def fp16_on_the_cpu() -> None:
    """Accelerate scales losses and computes in float16 on GPUs only; here also without one."""
    import torch
    from accelerate import Accelerator

    real = Accelerator.__init__

    def init(self, *args, mixed_precision=None, **kwargs):
        real(self, *args, mixed_precision=mixed_precision, **kwargs)
        if mixed_precision == "fp16":
            self.scaler, self.native_amp = torch.amp.GradScaler("cpu"), True

    Accelerator.__init__ = init


def overflow_in_second_step() -> None:
    """The gradient of the last process is too large for any scale of fp16; its loss is what it was."""
    from accelerate import Accelerator

    fp16_on_the_cpu()
    now = [0]
    _at_every_step(lambda step: now.__setitem__(0, step))
    real = Accelerator.backward

    def backward(self, loss, **kwargs):
        if now[0] == 1 and _is_last():
            loss = 1e36 * loss - (1e36 * loss - loss).detach()
        return real(self, loss, **kwargs)

    Accelerator.backward = backward


def _slow_once(owner: object, name: str, seconds: float, passed: float, last_only: bool = False) -> None:
    """The first call of ``owner.name`` takes so much longer, in every process or in the last one alone.

    Args:
        seconds: how long it sleeps.
        passed: by how much the clock of every watchdog is put forward in this moment.
    """
    _look_often()
    real, calls = getattr(owner, name), []

    def slow(*args, **kwargs):
        calls.append(name)
        if len(calls) == 1:
            _clock_forward(passed)
            time.sleep(seconds if _is_last() or not last_only else 0)
        return real(*args, **kwargs)

    setattr(owner, name, slow)


def slow_answers() -> None:
    """They take longer than the limit of two minutes, by the clock of the watchdog."""
    from skyeye.train.monitor.samples import Samples

    _slow_once(Samples, "_answers", 1.5, passed=200)


def slow_benchmarks() -> None:
    """The same in the last process; the other one waits for it."""
    from skyeye.eval import in_training

    _slow_once(in_training, "run_benchmarks", 1.5, passed=200, last_only=True)


def hang_in_the_last_state() -> None:
    """When it begins, the limit of two minutes is nearly over."""
    from skyeye.train import hooks

    _slow_once(hooks, "save_state", 1000, passed=117, last_only=True)


def hang_in_the_export() -> None:
    from skyeye.train.checkpoint import export

    _slow_once(export, "export", 1000, passed=117, last_only=True)


def _signal_before_features(number: int) -> None:
    """The last process gets a signal before the first one builds the feature cache of a stage."""
    from skyeye.train import stages

    real = stages.stage_features

    def stage_features(*args, **kwargs):
        if _is_last():
            os.kill(os.getpid(), number)
        return real(*args, **kwargs)

    stages.stage_features = stage_features


def sigusr1_before_features() -> None:
    _signal_before_features(signal.SIGUSR1)


def sigint_before_features() -> None:
    _signal_before_features(signal.SIGINT)


def scores_that_rise() -> None:
    """Every model is better than those before it: the best one is exported after every benchmark."""
    from skyeye.train.monitor.evaluation import EvalHook

    EvalHook._is_best = lambda self, step, scores: self.settings.choose in scores


def sigterm_in_a_step_with_benchmarks() -> None:
    """In the fourth."""
    scores_that_rise()
    _at_every_step(lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == 3 and _is_last() else None)


def nan_with_the_newest_state_damaged() -> None:
    """In steps five and six; when the run goes back, a byte of the newest state has changed."""
    from skyeye.train import stages

    nan_in_steps_five_and_six()
    real = stages.go_back

    def go_back(prepared, guard, folder, rewind):
        if prepared.accelerator.is_main_process:
            file = sorted((folder / "states").glob("*/parameters.safetensors"))[-1]
            content = bytearray(file.read_bytes())
            content[-2] ^= 0x40
            file.write_bytes(content)
        prepared.accelerator.wait_for_everyone()
        return real(prepared, guard, folder, rewind)

    stages.go_back = go_back


def nan_with_every_state_damaged() -> None:
    from skyeye.train import stages

    nan_in_steps_five_and_six()
    real = stages.go_back

    def go_back(prepared, guard, folder, rewind):
        for file in (folder / "states").glob("*/manifest.json"):
            file.write_text("{}")
        return real(prepared, guard, folder, rewind)

    stages.go_back = go_back


def nan_and_states_that_go_while_they_are_listed() -> None:
    """In steps five and six; the last process finds a state that the first one has removed when it is to be read."""
    from skyeye.train.guards import rewind

    nan_in_steps_five_and_six()
    real = rewind.complete_states

    def complete_states(folder):
        if _is_last():
            raise FileNotFoundError("a state that was removed meanwhile")
        return real(folder)

    rewind.complete_states = complete_states


def nan_from_the_third_step_and_sigterm_in_the_fourth() -> None:
    _spoil({2, 3}, float("nan"))
    _at_every_step(lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == 3 and _is_last() else None)


def sigterm_in_the_first_export() -> None:
    """The last process gets it: the stage is finished, and the next one has not begun."""
    from skyeye.train.checkpoint import export as module

    real, calls = module.export, []

    def export(*args, **kwargs):
        calls.append(args)
        if len(calls) == 1 and _is_last():
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*args, **kwargs)

    module.export = export


def _disk_full_at(name: str) -> None:
    """Whatever is added to the file of this name finds the disk full."""
    import builtins

    real = builtins.open

    def full(path, mode="r", *args, **kwargs):
        adds = os.path.basename(str(path)) == name and "a" in mode
        return _Full(real(path, mode, *args, **kwargs)) if adds else real(path, mode, *args, **kwargs)

    builtins.open = full


class _Full:
    """A file that nothing can be written to."""

    def __init__(self, file: object):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getattr__(self, name: str):
        return getattr(self.file, name)

    def write(self, _: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def disk_full_at_log() -> None:
    _disk_full_at("log.jsonl")


def disk_full_at_events() -> None:
    _disk_full_at("events.jsonl")


def scores_that_fall() -> None:
    """The first model of a stage is better than all after it."""
    from skyeye.train.monitor.evaluation import EvalHook

    EvalHook._is_best = lambda self, step, scores: all(line["step"] >= step for line in self._lines())


def other_products_on_every_rank() -> None:
    """bfloat16 is the faster one for the first process only; each says what it computes in."""
    import torch

    from skyeye.models import precision
    from skyeye.train import stages

    precision._seconds = lambda dtype, *_: float((dtype == torch.bfloat16) == _is_last())
    real = stages.make_accelerator

    def make_accelerator(run, stage, *args):
        print(f"stage {stage.name} computes in {run.precision}", flush=True)
        return real(run, stage, *args)

    stages.make_accelerator = make_accelerator
