"""One self-contained HTML page to listen to, look at and read: no network, no other files.

:class:`Report` holds what is shown, :func:`render` makes the page of it and :func:`save` writes
it. Needs jinja2 and matplotlib: ``pip install 'phaserec[report]'``.
"""

from phaserec.report.model import Algorithm, Chart, Panel, Report, Table, Track
from phaserec.report.page import check_report, render, save

__all__ = [
    "Algorithm",
    "Chart",
    "Panel",
    "Report",
    "Table",
    "Track",
    "check_report",
    "render",
    "save",
]
