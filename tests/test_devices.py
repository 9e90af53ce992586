"""Which devices the tests see."""

from __future__ import annotations

import os

import pytest
import torch


def test_a_gpu_is_hidden_from_tests_that_are_not_made_for_it():
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "" and not torch.cuda.is_available()


@pytest.mark.gpu
def test_a_gpu_is_seen_by_tests_that_are_made_for_it():
    assert os.environ.get("CUDA_VISIBLE_DEVICES") != "" or not torch.cuda.is_available()
