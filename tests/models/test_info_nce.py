"""InfoNCE: by arithmetic, over several processes, and against open_clip's loss and gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import distributed
from torch.nn import functional

from skyeye.models.info_nce import gather_rows, info_nce

EVERY = torch.ones(3, dtype=torch.bool)


def pairs(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images, texts = torch.randn(2, count, 4, generator=generator, dtype=torch.float64)
    return functional.normalize(images, dim=1).float(), functional.normalize(texts, dim=1).float()


def test_loss_of_pairs_that_are_each_other():
    """Cosines are 1 on the diagonal and 0 elsewhere: log(1 + 2 exp(-scale)) either way."""
    rows = torch.eye(3)
    assert float(info_nce(rows, rows, torch.tensor(2.0), EVERY)) == pytest.approx(math.log(1 + 2 * math.exp(-2)))


def test_a_pair_that_could_not_be_read_takes_no_part():
    images, texts = pairs(3)
    some = torch.tensor([True, False, True])
    assert info_nce(images, texts, torch.tensor(5.0), some) == info_nce(
        images[some], texts[some], torch.tensor(5.0), EVERY[:2]
    )
    nothing = info_nce(images.requires_grad_(), texts, torch.tensor(5.0), ~EVERY)
    nothing.backward()
    assert nothing == 0 and (images.grad == 0).all()


def _share(rank: int, place: str) -> None:
    """What one of two processes computes, left in a file."""
    distributed.init_process_group("gloo", init_method=f"file://{place}/meet", rank=rank, world_size=2)
    images, texts = pairs(5)
    own = slice(0, 3) if rank == 0 else slice(3, 5)
    mine = [images[own].requires_grad_(), texts[own].requires_grad_(), torch.tensor(7.0, requires_grad=True)]
    loss = info_nce(*mine, torch.ones(len(mine[0]), dtype=torch.bool))
    loss.backward()
    torch.save([loss.detach(), *(tensor.grad for tensor in mine)], f"{place}/{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_are_one_that_holds_all_pairs(tmp_path):
    """Their losses add up to that of the whole batch, and so do gradients, of uneven shares, too."""
    images, texts = pairs(5)
    scale = torch.tensor(7.0)
    whole = [images.clone().requires_grad_(), texts.clone().requires_grad_(), scale.clone().requires_grad_()]
    expected = info_nce(*whole, torch.ones(5, dtype=torch.bool))
    expected.backward()
    logits = scale * images @ texts.T
    by_hand = sum(functional.cross_entropy(rows, torch.arange(5)) for rows in (logits, logits.T)) / 2
    assert expected.item() == pytest.approx(by_hand.item(), rel=1e-5)

    torch.multiprocessing.spawn(_share, (str(tmp_path),), nprocs=2)
    (first, *of_first), (second, *of_second) = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert float(first + second) == pytest.approx(float(expected.detach()), rel=1e-5)
    for number in range(2):
        gathered = torch.cat([of_first[number], of_second[number]])
        torch.testing.assert_close(gathered, whole[number].grad, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(of_first[2] + of_second[2], whole[2].grad, atol=1e-6, rtol=1e-4)


def test_rows_of_one_process_are_all_rows():
    rows = torch.ones(2, 3)
    assert gather_rows(rows) == (rows, 0)
