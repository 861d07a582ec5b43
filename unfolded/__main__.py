"""``python -m unfolded``: the command line."""

from unfolded.cli import main

main()
