"""``python -m phaserec``: the command line."""

from phaserec.cli import main

main()
