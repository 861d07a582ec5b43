"""Phases of a run, one after another."""

from dataclasses import dataclass

from unfolded.training.config import Config, StageConfig


@dataclass(frozen=True)
class Phase:
    """A stage, or one depth of a stage that grows.

    Attributes
    ----------
    number : int
        Number of the stage, from 0.
    stage : StageConfig
        The stage.
    depth : int or None
        Layers in use; None for all of them.
    """

    number: int
    stage: StageConfig
    depth: int | None = None


def phases(config: Config) -> list[Phase]:
    """Phases of a run in order.

    Parameters
    ----------
    config : Config
        The configuration.

    Returns
    -------
    list of Phase
        One for each stage, and for each depth of a stage that grows.
    """
    found = []
    for number, stage in enumerate(config.stages):
        depths: list[int | None] = [None]
        if stage.grow:
            assert config.model.inversion is not None
            depths = list(range(1, config.model.inversion.n_layers + 1))
        found += [Phase(number, stage, depth) for depth in depths]
    return found
