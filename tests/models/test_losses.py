"""The losses against slow arithmetic."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from skyeye.models.losses import IGNORE_INDEX, BoxReader, soft_numbers, token_loss, word_loss


def test_token_loss_is_the_sum_of_cross_entropies():
    logits, targets = torch.randn(7, 11), torch.randint(0, 11, (7,))
    assert_close(token_loss(logits, targets), F.cross_entropy(logits, targets, reduction="sum"))
    assert token_loss(logits.bfloat16(), targets).dtype == torch.float32


def test_box_token_smoothing_by_hand():
    ids = torch.arange(101) + 3  # <0> is token 3
    logits = torch.randn(3, 110)
    targets = torch.tensor([3 + 50, 1, 3 + 0])
    log_p = logits.log_softmax(-1)
    expected = -log_p[1, 1].item()
    for row, number in ((0, 50), (2, 0)):
        weights = [math.exp(-((n - number) ** 2) / (2 * 2.0**2)) for n in range(101)]
        expected -= sum(w / sum(weights) * log_p[row, n + 3].item() for n, w in enumerate(weights))
    smoothed = token_loss(logits, targets, box_token_ids=ids, box_token_smoothing=2.0)
    assert_close(smoothed, torch.tensor(expected))


def test_narrow_smoothing_is_plain_cross_entropy():
    ids, logits = torch.arange(101), torch.randn(5, 120, requires_grad=True)
    targets = torch.tensor([0, 17, 100, 110, 55])
    plain = token_loss(logits, targets)
    narrow = token_loss(logits, targets, box_token_ids=ids, box_token_smoothing=0.05)
    assert_close(narrow, plain)
    assert_close(torch.autograd.grad(narrow, logits)[0], torch.autograd.grad(plain, logits)[0])


def test_near_numbers_cost_less_than_far_ones():
    ids, targets = torch.arange(101), torch.tensor([40])

    def cost(number: int) -> float:
        logits = torch.zeros(1, 120)
        logits[0, number] = 5.0
        return token_loss(logits, targets, box_token_ids=ids, box_token_smoothing=2.0).item()

    assert cost(40) < cost(42) < cost(45) < cost(80)


def test_soft_numbers_by_hand():
    soft = soft_numbers(torch.tensor([[50, 0]]), 2.0)
    assert soft.shape == (1, 2, 101)
    assert_close(soft.sum(-1), torch.ones(1, 2))
    assert (soft[0, 0, 52] / soft[0, 0, 50]).item() == pytest.approx(math.exp(-0.5))
    assert (soft[0, 1, 6] / soft[0, 1, 0]).item() == pytest.approx(math.exp(-4.5))


def test_word_loss_by_hand():
    features, table = torch.randn(2, 4), torch.randn(9, 4)
    words = torch.tensor([[4, 7, 8], [2, IGNORE_INDEX, IGNORE_INDEX]])
    cosine = torch.tensor([[torch.cosine_similarity(f, w, dim=0) for w in table] for f in features])
    log_p = (3.0 * cosine).log_softmax(-1)
    assert_close(word_loss(features, words, table, 3.0), -(log_p[0, [4, 7, 8]].mean() + log_p[1, 2]))


def test_box_reader_by_hand():
    reader = BoxReader(6)
    hidden, boxes = torch.randn(2, 6), torch.tensor([[10, 20, 30, 40], [0, 0, 100, 100]])
    normed = hidden / hidden.square().mean(-1, keepdim=True).sqrt()
    expected = 0.0
    for row, box in enumerate(boxes):
        for corner, number in enumerate(box):
            logits = reader.weight[corner * 101 : (corner + 1) * 101] @ normed[row]
            logits = logits + reader.bias[corner * 101 : (corner + 1) * 101]
            weights = soft_numbers(number, BoxReader.DEVIATION)
            expected = expected - (weights * logits.log_softmax(-1)).sum() / 4
    assert_close(reader.loss(hidden, boxes), expected, atol=1e-4, rtol=1e-5)


def test_losses_of_nothing_are_zero():
    hidden = torch.randn(0, 6, requires_grad=True)
    nothing = torch.zeros(0, 1, dtype=torch.long)
    loss = word_loss(hidden, nothing, torch.randn(9, 6), 3.0) + BoxReader(6).loss(hidden, nothing.expand(0, 4))
    loss.backward()
    assert loss == 0
