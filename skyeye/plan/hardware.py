"""The GPUs that a run is planned for."""

from __future__ import annotations

from dataclasses import dataclass

from skyeye.errors import SkyEyeError

GIB = 2**30


@dataclass(frozen=True)
class Hardware:
    """The GPUs that a run is planned for.

    Attributes:
        gpus: processes of DDP and ZeRO, one to a GPU.
        memory: of a GPU, GiB.
        reserve: of it, GiB kept for what torch does not count: the CUDA context, NCCL, fragments.
        mfu: share of the peak that the operations of the model reach.
        peak_tflops: of one GPU.
    """

    gpus: int = 8
    memory: float = 80.0
    reserve: float = 2.0
    mfu: float = 0.4
    peak_tflops: float = 312.0

    def __post_init__(self) -> None:
        sound = self.gpus >= 1 and self.memory > self.reserve >= 0 and 0 < self.mfu <= 1 and self.peak_tflops > 0
        if not sound:
            raise SkyEyeError(
                f"{self.gpus} GPUs of {self.memory:g} GiB with a reserve of {self.reserve:g}, mfu {self.mfu:g},"
                f" {self.peak_tflops:g} TFLOP/s",
                where="skyeye plan",
                remedy="1 GPU or more, a reserve below the memory, mfu above 0 and at most 1, TFLOP/s above 0",
            )

    @property
    def available(self) -> float:
        """Bytes of a GPU that a run may take."""
        return (self.memory - self.reserve) * GIB

    def hours(self, operations: float, gpus: int) -> float:
        """Time that so many floating-point operations take on some of the GPUs."""
        return operations / (gpus * self.peak_tflops * 1e12 * self.mfu) / 3600
