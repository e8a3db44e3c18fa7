"""``python -m weighbridge``: the command line where the script is not on the PATH."""

from weighbridge.entrypoints.cli import main

main()
