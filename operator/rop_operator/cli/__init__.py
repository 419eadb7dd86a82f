"""`ropctl`, the command line of hosts and clusters."""

from rop_operator.cli.app import main

__all__ = ["main"]
