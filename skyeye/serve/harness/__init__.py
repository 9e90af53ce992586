"""The model as a backend of evaluation kits of others: lmms-eval and VLMEvalKit.

``lmms_eval.py`` and ``vlmevalkit.py`` import the kit that they are for; only the kits import them. docs/adapters.md has
the commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmms_eval.models.registry_v2 import ModelManifest


def lmms_eval_manifest() -> ModelManifest:
    """What lmms-eval reads from the entry point group ``lmms_eval.models``: ``--model skyeye`` is this."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest("skyeye", simple_class_path="skyeye.serve.harness.lmms_eval.SkyEye")
