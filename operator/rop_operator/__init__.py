"""The ROP engine: kinds, decisions, reconciling, hosts and the CLI."""
