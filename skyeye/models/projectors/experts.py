"""A mixture of experts as LHRS-Bot-Nova computes it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

_LEAST_NOISE = 1e-2


class Gate(nn.Module):
    """Chooses experts for each token: the largest logits, weighed by a softmax over these alone. Noisy in training."""

    def __init__(self, width: int, experts: int, selected: int):
        super().__init__()
        self.selected = selected
        self.gate_network = nn.Sequential(
            nn.Linear(width, experts, bias=False), nn.Tanh(), nn.Linear(experts, experts, bias=False)
        )
        self.weight_noise = nn.Linear(width, experts, bias=False)
        nn.init.zeros_(self.weight_noise.weight)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, width) tokens -> numbers of their experts and the weights of these, each (N, selected)."""
        logits = self.gate_network(tokens)
        if self.training:
            logits = logits + torch.randn_like(logits) * (F.softplus(self.weight_noise(tokens)) + _LEAST_NOISE)
        largest, chosen = logits.topk(self.selected, dim=1)
        return chosen, largest.softmax(dim=1)


class ExpertWeights(nn.Module):
    """Two linear maps in a row for each expert: the original creates an activation and never uses it."""

    def __init__(self, width: int, hidden: int, experts: int):
        super().__init__()
        up, down = (nn.Linear(*sizes) for sizes in ((width, hidden), (hidden, width)))
        self.weight_up = nn.ParameterList(up.weight.detach().clone() for _ in range(experts))
        self.bias_up = nn.ParameterList(up.bias.detach().clone() for _ in range(experts))
        self.weight_down = nn.ParameterList(down.weight.detach().T.contiguous().clone() for _ in range(experts))
        self.bias_down = nn.ParameterList(down.bias.detach().clone() for _ in range(experts))

    def forward(self, tokens: torch.Tensor, expert: int) -> torch.Tensor:
        """(N, width) -> (N, width) by one expert."""
        hidden = F.linear(tokens, self.weight_up[expert], self.bias_up[expert])
        return F.linear(hidden, self.weight_down[expert].T, self.bias_down[expert])


class Experts(nn.Module):
    """Each token passes some of the experts, whose results are added by the gate's weights."""

    def __init__(self, width: int, hidden: int, experts: int, selected: int):
        super().__init__()
        self.gate = Gate(width, experts, selected)
        self.calculator = nn.ModuleDict({"experts": ExpertWeights(width, hidden, experts)})

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        flat = tokens.flatten(0, 1)
        chosen, weights = self.gate(flat)
        experts = self.calculator["experts"]
        shares = torch.zeros(len(flat), len(experts.weight_up), dtype=weights.dtype, device=flat.device)
        shares = shares.scatter(1, chosen, weights)
        # every expert computes all tokens: there are few, and all processes then do the same
        mixed = sum(shares[:, number, None] * experts(flat, number) for number in range(shares.shape[1]))
        return mixed.view_as(tokens)
