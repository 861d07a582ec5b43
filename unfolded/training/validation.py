"""Scores of a model on the validation data."""

from typing import Any

import torch
from accelerate import Accelerator

from phaserec import measures
from unfolded.data.batches import Batches, loader
from unfolded.data.mixtures import Mixtures
from unfolded.training.config import DataConfig
from unfolded.training.objective import Objective


@torch.no_grad()
def validate(
    objective: Objective, data: Mixtures | None, config: DataConfig, accelerator: Accelerator
) -> dict[str, Any]:
    """Loss and scores of a model, which is left in evaluation mode.

    Parameters
    ----------
    objective : Objective
        Model and loss.
    data : Mixtures or None
        The validation data.
    config : DataConfig
        For the size of a batch and the number of workers.
    accelerator : Accelerator
        Of the processes that share the data.

    Returns
    -------
    dict
        ``valid_loss``, and ``si_sdr`` and ``si_sdri`` in dB, means over the sources that are not
        silent; None without data or where all are.
    """
    if data is None:
        return {"valid_loss": None, "si_sdr": None, "si_sdri": None}
    objective.eval()
    device, world = accelerator.device, accelerator.num_processes
    whole_files = getattr(data, "length", 0) is None
    size = world if whole_files else config.batch_size
    rank = accelerator.process_index
    order = Batches(len(data), size, shuffle=False, rank=rank, world=world)
    loss_sum, items = 0.0, 0
    sums, counts = [0.0, 0.0], [0, 0]
    for batch in loader(data, order, workers=config.workers):
        mixture, sources = batch["mixture"].to(device), batch["sources"].to(device)
        with accelerator.autocast():
            losses, waveforms = objective.evaluate(mixture, sources)
        loss_sum += float(losses.cpu().double().sum())
        items += len(losses)
        x = mixture.unsqueeze(1).expand(sources.shape)
        scores = (
            measures.si_sdr(sources, waveforms),
            measures.si_sdr_improvement(sources, waveforms, x),
        )
        for k, score in enumerate(scores):
            finite = score[torch.isfinite(score)].cpu()
            sums[k] += float(finite.double().sum())
            counts[k] += len(finite)
    total = torch.tensor([loss_sum, items, *sums, *counts], dtype=torch.float64)
    if world > 1:
        kind = torch.float32 if device.type == "mps" else torch.float64
        total = accelerator.reduce(total.to(device, kind), "sum").cpu()
    loss_sum, items, score, improvement, n_score, n_improvement = total.tolist()
    return {
        "valid_loss": loss_sum / items,
        "si_sdr": score / n_score if n_score else None,
        "si_sdri": improvement / n_improvement if n_improvement else None,
    }
