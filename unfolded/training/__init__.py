"""Training: its configuration, and the loop."""

from unfolded.training.config import Config
from unfolded.training.reading import load_config, save_config
from unfolded.training.trainer import Trainer

__all__ = ["Config", "Trainer", "load_config", "save_config"]
