"""Projectors by type: how many tokens they make, where these lie, and what they read."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from skyeye.config.schema import LinearProjectorConfig, MLPProjectorConfig
from skyeye.errors import SkyEyeError
from skyeye.generation.engine import can_share
from skyeye.models import projectors
from skyeye.models.build import build_model
from skyeye.models.projectors import PROJECTORS, Projector, build_projector, projector_settings, refuse_shared_prefix


@dataclass
class MeanSettings:
    type: str = "mean"
    tokens: int = 3


class MeanOfLevels(Projector):
    """A toy: the mean of each level, mapped on its own and summed up, ``tokens`` times."""

    settings = MeanSettings
    reads_levels = True

    def __init__(self, settings, widths, hidden_size):
        super().__init__(settings, widths, hidden_size)
        self.tokens = settings.tokens
        self.maps = nn.ModuleList(nn.Linear(width, hidden_size) for width in widths)

    @classmethod
    def tokens_per_image(cls, settings, grid):
        return settings.tokens

    def forward(self, levels):
        mean = sum(part(level.mean(dim=1)) for part, level in zip(self.maps, levels, strict=True))
        return mean.unsqueeze(1).expand(-1, self.tokens, -1)


def test_types():
    linear = build_projector({"type": "linear", "join_tokens": 2}, (6, 4), 8)
    mlp = build_projector({"type": "mlp", "join_tokens": 2}, (6, 4), 8)
    assert linear.linear.in_features == mlp.linear.in_features == 20
    assert {name.split(".")[0] for name in linear.state_dict()} == {"linear"}
    assert {name.split(".")[0] for name in mlp.state_dict()} == {"linear", "out"}
    tokens = torch.randn(2, 6, 10)
    mapped = linear(tokens)
    assert mapped.shape == (2, 3, 8)
    assert_close(mapped[0, 1], linear.linear(torch.cat([tokens[0, 2], tokens[0, 3]])))
    assert_close(mlp(tokens), mlp.out[1](nn.functional.gelu(mlp.linear(mlp.join(tokens)))))


def test_what_is_missing_is_the_references():
    assert projector_settings(None) == LinearProjectorConfig(join_tokens=4)
    assert projector_settings({"type": "mlp", "join_tokens": 1}) == MLPProjectorConfig(join_tokens=1)


@pytest.mark.parametrize("settings", [LinearProjectorConfig(join_tokens=4), MLPProjectorConfig(join_tokens=4)])
def test_tokens_and_their_places(settings):
    kind = PROJECTORS[settings.type]
    assert kind.tokens_per_image(settings, (8, 8)) == 16 and kind.token_grid(settings, (8, 8)) == (8, 2)
    with pytest.raises(SkyEyeError, match="49 vision tokens cannot be joined 4 at a time"):
        kind.tokens_per_image(settings, (7, 7))
    with pytest.raises(SkyEyeError, match="36 vision tokens joined 4 at a time do not form a grid"):
        kind.token_grid(settings, (6, 6))


def test_levels_are_handed_to_a_projector_that_wants_them(tiny_config, monkeypatch):
    monkeypatch.setitem(projectors.PROJECTORS, "mean", MeanOfLevels)
    config = tiny_config(projector=MeanSettings())
    config.vision = [replace(config.vision, layers=[1, 2]), replace(config.vision, width=8, layers=[-1])]
    model = build_model(config).eval()
    assert model.tokens_per_image == 3 and [part.in_features for part in model.projector.maps] == [16, 16, 8]
    pixels = torch.randn(2, *model.config.pixel_shape)
    first = model.vision_tower.towers[0].levels(pixels[:, : 3 * 28 * 28].unflatten(1, (3, 28, 28)))
    levels = [level[:, 1:] for level in first]
    normed = model.vision_norm(model.encode_patches(pixels)).split([16, 16, 8], dim=2)
    assert torch.equal(model.encode_patches(pixels)[..., :32], torch.cat(levels, dim=2))
    assert_close(model.encode_images(pixels), model.projector(list(normed)))
    with pytest.raises(SkyEyeError, match="image tokens of MeanOfLevels have no place in the picture"):
        model.config.token_grid  # noqa: B018


def test_the_norm_before_the_projector_is_an_option(tiny_config):
    config = tiny_config()
    config.vision_norm = False
    model = build_model(config).eval()
    assert not any(name.startswith("vision_norm") for name in model.state_dict())
    patches = torch.randn(2, 16, 16)
    assert torch.equal(model.project_patches(patches), model.projector(patches))
    config.vision_norm = True
    normed = build_model(config).eval()
    normed.projector.load_state_dict(model.projector.state_dict())
    expected = model.projector(nn.functional.layer_norm(patches, (16,), eps=1e-5))
    assert_close(normed.project_patches(patches), expected)


class TestOneThatReadsText:
    @pytest.fixture
    def model(self, tiny_config, monkeypatch):
        class ReadsText(PROJECTORS["linear"]):
            reads_text = True

        monkeypatch.setitem(projectors.PROJECTORS, "linear", ReadsText)
        return build_model(tiny_config()).eval()

    def test_shares_no_prefix(self, model):
        ids = torch.tensor([[5, 6, 7]])
        zeros = torch.zeros_like(ids)
        assert model(ids).logits is not None
        with pytest.raises(SkyEyeError, match="model.projector, run.share_prefix: this projector reads the question"):
            model(ids, group_ids=zeros, branch_ids=zeros, position_ids=torch.arange(3)[None])
        assert not can_share(model)

    def test_is_refused_by_name(self, model):
        with pytest.raises(SkyEyeError, match="set run.share_prefix: false"):
            refuse_shared_prefix(type(model.projector))
        refuse_shared_prefix(PROJECTORS["mlp"])
