"""What is wrong with a setting."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Issue:
    """One mistake.

    Args:
        path: where it is, ``stages[0].optimizer.lr``; empty for the section that was looked at as a whole.
        message: what is wrong and what is allowed.
        depends_on: paths of the settings it was judged by. Where one of them is itself in doubt, so is the judgement.
    """

    path: str
    message: str
    depends_on: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message

    def inside(self, path: str) -> Issue:
        """The issue of the section at ``path`` as an issue of what this section stands in."""
        return Issue(join(path, self.path), self.message, tuple(join(path, setting) for setting in self.depends_on))


def join(path: str, key: str) -> str:
    """The path of ``key`` inside ``path``; either may be empty, a key may be a position (``[0]``)."""
    return f"{path}.{key}" if path and key and not key.startswith("[") else path + key


def is_inside(path: str, outer: str) -> bool:
    """Whether ``path`` is ``outer`` or a setting in it."""
    return path == outer or path.startswith((f"{outer}.", f"{outer}["))
