"""Trained mixing weights."""

from collections.abc import Set
from typing import Any

import torch
from torch import Tensor, nn

from phaserec.problem import shares

# Of a source that is silent where others are not; its logarithm is finite.
_LEAST = 1e-6


class MixingWeights(nn.Module):
    """Correction of the mixing weights Λ, a softmax over the sources that starts as none.

    Without the axis ``source`` a weight is raised by a power q of the share of its source,
    ``Λ_j ∝ Λ⁰_j (V_j / Σ_k V_k)^q``, which does not depend on the number or order of the sources.
    With it each source has a logit, ``Λ_j ∝ Λ⁰_j exp(b_j)``.

    Parameters
    ----------
    axes : set of str
        ``"frequency"`` for a value a frequency, ``"source"`` for one a source.
    n_bins : int
        Number of frequencies F.
    n_sources : int or None
        Number of sources J, for the axis ``source``.
    dtype : torch.dtype, optional
        Floating-point type of the parameters.
    """

    def __init__(self, axes: Set[str], n_bins: int, n_sources: int | None, dtype: Any) -> None:
        super().__init__()
        self.by_source = "source" in axes
        lead = (n_sources,) if self.by_source and n_sources is not None else ()
        rows = n_bins if "frequency" in axes else 1
        self.logits = nn.Parameter(torch.zeros(*lead, rows, 1, dtype=dtype))

    def forward(self, own: Tensor, magnitudes: Tensor) -> Tensor:
        """Corrected weights.

        Parameters
        ----------
        own : Tensor, shape (..., J, F, T) or (J, 1, 1)
            Weights of the algorithm.
        magnitudes : Tensor, shape (..., J, F, T)
            Target magnitudes.

        Returns
        -------
        Tensor, shape (..., J, F, T) or (J, F, 1) or (J, 1, 1)
            Weights that sum to 1 over the sources.
        """
        logits = self.logits.to(own)
        if not self.by_source:
            logits = logits * shares(magnitudes).clamp_min(_LEAST).log()
        # The logarithm of the weights is left out: it has no gradient where one is 0.
        raised = own * (logits - logits.amax(-3, keepdim=True)).exp()
        total = raised.sum(-3, keepdim=True)
        return raised / total.clamp_min(torch.finfo(total.dtype).tiny)
