"""Training and test mixtures: mixed on the fly, in pairs, of several speakers, or synthetic."""

from unfolded.data.augmentation import NO_AUGMENTATION, Augmentation
from unfolded.data.batches import Batches, loader
from unfolded.data.files import AudioFile, AudioFileWarning, audio_files, file_pairs
from unfolded.data.mixing import MixingDataset
from unfolded.data.mixtures import Mixtures
from unfolded.data.pairs import PairedDataset
from unfolded.data.pool import Pool
from unfolded.data.speakers import SpeakersDataset
from unfolded.data.synthetic import SyntheticDataset

__all__ = [
    "NO_AUGMENTATION",
    "AudioFile",
    "AudioFileWarning",
    "Augmentation",
    "Batches",
    "MixingDataset",
    "Mixtures",
    "PairedDataset",
    "Pool",
    "SpeakersDataset",
    "SyntheticDataset",
    "audio_files",
    "file_pairs",
    "loader",
]
