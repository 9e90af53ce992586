"""Attention poolers, besides their golden numbers (tests/models/test_golden_lhrs.py)."""

from __future__ import annotations

import pytest
import torch

from skyeye.config.schema import NovaPoolerProjectorConfig, PoolerProjectorConfig
from skyeye.errors import SkyEyeError
from skyeye.models.projectors.experts import Experts
from skyeye.models.projectors.pooler import NovaPoolerProjector, PoolerProjector, sine_positions

LEVELS = [torch.randn(2, 9, 16) for _ in range(3)]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (PoolerProjector, PoolerProjectorConfig(queries=[3, 2, 1], layers=2, heads=2)),
        (NovaPoolerProjector, NovaPoolerProjectorConfig(queries=[3, 2, 1], layers=2, heads=2, experts=3)),
    ],
)
def test_tokens_come_level_after_level(kind, settings):
    pooler = kind(settings, [16] * 3, 20).eval()
    whole = pooler(LEVELS)
    assert whole.shape == (2, 6, 20) and kind.tokens_per_image(settings, (3, 3)) == 6
    other = pooler([LEVELS[0], LEVELS[1], LEVELS[2] + 1])
    assert torch.equal(whole[:, :5], other[:, :5]) and not torch.equal(whole[:, 5:], other[:, 5:])
    with pytest.raises(SkyEyeError, match="have no place in the picture"):
        kind.token_grid(settings, (3, 3))


def test_a_number_of_queries_for_each_level():
    with pytest.raises(SkyEyeError, match="queries for 2 levels, and the tower gives 3"):
        PoolerProjector(PoolerProjectorConfig(queries=[3, 2]), [16] * 3, 20)
    with pytest.raises(SkyEyeError, match="levels of width 16, 16, 16 cannot be pooled by 3 heads"):
        PoolerProjector(PoolerProjectorConfig(queries=[3, 2, 1], heads=3), [16] * 3, 20)


def test_positions_of_the_corner_and_of_a_column():
    places = sine_positions(2, 8)  # rates 1 and 1/100
    assert places[0].tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    right = torch.tensor([1.0, 0.01])
    torch.testing.assert_close(places[1, :4], torch.cat([right.sin(), right.cos()]))
    assert places[1, 4:].tolist() == [0, 0, 1, 1] and torch.equal(places[2, 4:], places[1, :4])


def test_the_gate_is_noisy_in_training_alone():
    experts = Experts(16, 32, experts=4, selected=2)
    tokens = torch.randn(2, 5, 16)
    assert not torch.equal(experts.train()(tokens), experts(tokens))
    assert torch.equal(experts.eval()(tokens), experts(tokens))
    chosen, weights = experts.gate(tokens.flatten(0, 1))
    assert chosen.shape == (10, 2) and torch.allclose(weights.sum(dim=1), torch.ones(10))
