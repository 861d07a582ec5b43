"""Losses that take the best order of the sources."""

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unfolded.losses.registry import Compared, check_shapes, compared

_MOST_BRUTE_FORCE = 6


class PIT(nn.Module):
    """Permutation-invariant loss: the minimum over the orders of the sources, per utterance.

    Yu et al., ICASSP 2017; Kolbæk et al., IEEE/ACM TASLP 2017. A loss that is a mean over sources
    (it has ``pairwise``) is evaluated once per pair; above four sources the best order is found by
    linear assignment. Any other loss is evaluated once per order.

    It gives no source a place of its own, hence layers behind a network that is trained with it
    must not have parameters for each source.

    Parameters
    ----------
    loss : nn.Module or callable
        Loss of whole batches, ``loss(estimate, reference, mixture) -> (batch,)``.
    """

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss

    @property
    def compares(self) -> Compared:
        """What an estimate is: ``"waveforms"`` or ``"spectrograms"``, as for the loss."""
        return compared(self.loss)

    def forward(self, estimate: Tensor, reference: Tensor, mixture: Tensor | None = None) -> Tensor:
        """Value per batch item of the best order, as :meth:`Loss.forward`."""
        return self.best(estimate, reference, mixture)[0]

    def best(
        self, estimate: Tensor, reference: Tensor, mixture: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Value and order of the best permutation.

        Parameters
        ----------
        estimate, reference, mixture
            As for :meth:`Loss.forward`.

        Returns
        -------
        values : Tensor, shape (batch,)
            Smallest values.
        order : Tensor of int, shape (batch, J)
            Which estimate goes with each reference.

        Raises
        ------
        ValueError
            If the loss is not a mean over sources and there are more than six of them.
        """
        check_shapes(estimate, reference, mixture)
        n_sources = reference.shape[1]
        if not hasattr(self.loss, "pairwise"):
            return self._each_order(estimate, reference, mixture)
        pairs = self.loss.pairwise(estimate, reference, mixture)
        if n_sources > 4:
            order = _assigned(pairs)
        else:
            orders = _orders(n_sources, pairs.device)
            columns = torch.arange(n_sources, device=pairs.device)
            order = orders[pairs[:, orders, columns].mean(-1).argmin(-1)]
        return pairs.gather(1, order.unsqueeze(1)).squeeze(1).mean(-1), order

    def _each_order(
        self, estimate: Tensor, reference: Tensor, mixture: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        n_sources = reference.shape[1]
        if n_sources > _MOST_BRUTE_FORCE:
            raise ValueError(
                f"PIT over J={n_sources} sources needs a loss with a pairwise method; any other "
                f"loss is tried in every order, for {_MOST_BRUTE_FORCE} sources at most"
            )
        orders = _orders(n_sources, reference.device)
        values = torch.stack([self.loss(estimate[:, o], reference, mixture) for o in orders])
        smallest, which = values.min(0)
        return smallest, orders[which]


def _orders(n_sources: int, device: torch.device) -> Tensor:
    orders = list(itertools.permutations(range(n_sources)))
    return torch.tensor(orders, device=device)


def _assigned(pairs: Tensor) -> Tensor:
    """Best estimate for each reference, by linear assignment, of costs ``(batch, J, J)``."""
    from scipy.optimize import linear_sum_assignment

    costs = pairs.detach().transpose(1, 2).cpu().double().numpy()
    order = np.stack([linear_sum_assignment(cost)[1] for cost in costs])
    return torch.as_tensor(order, device=pairs.device)
