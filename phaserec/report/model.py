"""What a report shows, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from phaserec.stft import STFT


@dataclass(frozen=True)
class Track:
    """A signal to listen to and look at.

    Attributes
    ----------
    group : str
        What it is a version of: a source, or the mixture. Tracks of a group are shown together.
    label : str
        Which version: ``"reference"``, or who made it.
    samples : ndarray, shape (channels, time)
        Waveform; all tracks of a panel have one shape.
    reference : ndarray, shape (channels, time), optional
        Waveform that it should be.
    target : ndarray, shape (channels, F, T), optional
        Magnitudes that it should have, where there is no reference.
    """

    group: str
    label: str
    samples: np.ndarray
    reference: np.ndarray | None = None
    target: np.ndarray | None = None


@dataclass(frozen=True)
class Panel:
    """Tracks that are played in step, and their spectrograms.

    Attributes
    ----------
    tracks : sequence of Track
        One or more; the loudest point of the first is 0 dB in all images.
    rate : int
        Sample rate in Hz.
    stft : STFT
        Transform of the images.
    seconds : float
        Longest sound to embed, from the beginning.
    lossless : bool
        Whether the sound is kept as it is (FLAC), which makes the page several times as large.
    """

    tracks: Sequence[Track]
    rate: int
    stft: STFT
    seconds: float = 30.0
    lossless: bool = False


@dataclass(frozen=True)
class Chart:
    """Curves over iterations.

    Attributes
    ----------
    title : str
        What the values are.
    curves : mapping of str to sequence of float
        Values from the start on, by name; values that are not finite leave gaps.
    unit : str
        Unit of the values.
    """

    title: str
    curves: Mapping[str, Sequence[float | None]]
    unit: str = "dB"


@dataclass(frozen=True)
class Table:
    """Rows of words and numbers.

    Attributes
    ----------
    title : str
        Heading.
    columns : sequence of str
        Names of the columns.
    rows : sequence of sequence
        A value for each column: text, a number, or None where there is none.
    note : str
        A sentence under it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""

    @classmethod
    def of_records(
        cls, title: str, records: Sequence[Mapping[str, object]], *, note: str = ""
    ) -> "Table":
        """Table of dictionaries, such as the rows of an evaluation.

        Parameters
        ----------
        title : str
            Heading.
        records : sequence of mapping
            Values by column; columns that a record lacks stay empty.
        note : str, optional
            A sentence under it.

        Returns
        -------
        Table
            Columns in the order in which the records name them.
        """
        columns = list(dict.fromkeys(name for record in records for name in record))
        rows = [[record.get(name) for name in columns] for record in records]
        return cls(title, columns, rows, note)


@dataclass(frozen=True)
class Algorithm:
    """An algorithm that was used.

    Attributes
    ----------
    label : str
        How the report calls it.
    name : str
        Its registered name.
    hyper : mapping of str to object
        All its hyper-parameters.
    summary, cite : str
        What it does and where it comes from.
    """

    label: str
    name: str
    hyper: Mapping[str, object]
    summary: str
    cite: str


@dataclass(frozen=True)
class Report:
    """Everything on the page.

    Attributes
    ----------
    title, summary : str
        Heading and first sentence.
    command : str
        The command that made it, as typed.
    panel : Panel or None
        What can be heard and seen.
    tables : sequence of Table
        Scores.
    charts : sequence of Chart
        Convergence.
    algorithms : sequence of Algorithm
        Algorithms that were used.
    settings : mapping of str to object
        Settings by name.
    notes : sequence of str
        Sentences that the reader should know.
    """

    title: str
    summary: str
    command: str
    panel: Panel | None = None
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    algorithms: Sequence[Algorithm] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    notes: Sequence[str] = ()
