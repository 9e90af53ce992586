"""Faults and signals that tests put into training processes, by name."""

from __future__ import annotations

import os
import signal
import time


def _is_last() -> bool:
    return int(os.environ.get("RANK", 0)) == int(os.environ.get("WORLD_SIZE", 1)) - 1


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


def hang_in_third_step() -> None:
    """The last process never comes back from its third step."""
    _at_every_step(lambda step: time.sleep(1000) if step == 2 and _is_last() else None)


def _spoil(steps: set[int], factor: float) -> None:
    """In these steps the loss of the last process, and with it the gradient, is multiplied."""
    from skyeye.models.modeling_skyeyegpt import SkyEyeGPTForConditionalGeneration as Model

    now = [0]
    _at_every_step(lambda step: now.__setitem__(0, step))
    real = Model.forward

    def forward(self, *args, **kwargs):
        output = real(self, *args, **kwargs)
        if now[0] in steps and _is_last():
            output.loss = output.loss * factor
        return output

    Model.forward = forward


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
    from skyeye.train import distributed

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

    real = stages.start

    def start(optimizer):
        print("bucket size", optimizer.optimizer.reduce_bucket_size, flush=True)
        real(optimizer)

    stages.start = start


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
