"""Recurrent layers as loops against torch's own."""

import pytest
import torch
from torch import nn

from unfolded.nn.recurrent import Scanned, scanned


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"batch_first": True, "num_layers": 2}])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_loops_are_the_layers(kind, bidirectional, options):
    network = nn.Sequential(kind(3, 4, bidirectional=bidirectional, **options)).double()
    copy = scanned(network)
    assert isinstance(copy[0], Scanned) and isinstance(network[0], kind)
    x = torch.randn(5, 7, 3, dtype=torch.float64)
    torch.testing.assert_close(copy(x)[0], network(x)[0].detach())
    assert all(p.requires_grad for p in network.parameters())
