"""What both command lines are: a group that any console takes, and that names what it needs."""

import sys
from io import TextIOWrapper
from typing import Any

import click

from phaserec._words import remedy


class Program(click.Group):
    """A group of commands.

    A character that standard output cannot encode, such as σ on a console of cp1252, becomes a
    question mark, and a package of an extra that is missing an error that says what to install.
    """

    def main(self, *args: Any, **extra: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
                stream.reconfigure(errors="replace")
        try:
            return super().main(*args, **extra)
        except ModuleNotFoundError as error:
            text = remedy(error)
            if text is None:
                raise
            raise ImportError(text) from error
