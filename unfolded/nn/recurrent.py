"""Recurrent layers as loops that torch.export keeps, where it would unroll torch's own."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan


class Scanned(nn.Module):
    """A GRU or LSTM in evaluation mode, frame after frame, for any number of frames.

    It has the parameters of the layer, not copies of them.

    Parameters
    ----------
    layer : nn.GRU or nn.LSTM
        Layer, without projections.
    """

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Outputs of the last layer.

        Parameters
        ----------
        x : Tensor, shape (batch, T, features), or (T, batch, features) without ``batch_first``
            Inputs.

        Returns
        -------
        outputs : Tensor, shape (batch, T, units) or (T, batch, units)
            Outputs.
        state : None
            In place of the last state.
        """
        x = x.transpose(0, 1) if self.layer.batch_first else x
        ways = ("", "_reverse") if self.layer.bidirectional else ("",)
        for k in range(self.layer.num_layers):
            x = torch.cat([self._direction(x, f"_l{k}{way}") for way in ways], -1)
        return (x.transpose(0, 1) if self.layer.batch_first else x), None

    def _direction(self, x: Tensor, suffix: str) -> Tensor:
        """Outputs ``(T, batch, units)`` of one layer in one direction."""
        W, U = (getattr(self.layer, name + suffix) for name in ("weight_ih", "weight_hh"))
        # A layer without biases has none of that name.
        b, c = (getattr(self.layer, name + suffix, None) for name in ("bias_ih", "bias_hh"))

        def gru(h: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
            own = nn.functional.linear(h, U, c).chunk(3, -1)
            new = given.chunk(3, -1)
            reset, keep = (new[0] + own[0]).sigmoid(), (new[1] + own[1]).sigmoid()
            candidate = (new[2] + reset * own[2]).tanh()
            h = candidate + keep * (h - candidate)
            return h, h.clone()

        def lstm(state: Any, given: Tensor) -> tuple[Any, Tensor]:
            h, cell = state
            i, f, g, o = (given + nn.functional.linear(h, U, c)).chunk(4, -1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            h = o.sigmoid() * cell.tanh()
            return (h, cell), h.clone()

        zeros = x.new_zeros(x.shape[1], self.layer.hidden_size)
        inputs, backwards = nn.functional.linear(x, W, b), suffix.endswith("_reverse")
        if isinstance(self.layer, nn.LSTM):
            return scan(lstm, (zeros, zeros.clone()), inputs, reverse=backwards)[1]
        return scan(gru, zeros, inputs, reverse=backwards)[1]


def scanned(network: nn.Module) -> nn.Module:
    """Copy of a network whose GRUs and LSTMs are loops, for inference.

    Parameters
    ----------
    network : nn.Module
        Network.

    Returns
    -------
    nn.Module
        The copy, in evaluation mode; its parameters are not trained.
    """
    network = copy.deepcopy(network).eval().requires_grad_(False)
    for module in list(network.modules()):
        for name, part in list(module.named_children()):
            if isinstance(part, nn.GRU | nn.LSTM):
                setattr(module, name, Scanned(part))
    return network
