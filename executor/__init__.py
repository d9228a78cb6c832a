"""A Trio daemon that executes token swaps on Solana through Jupiter. Read `trade.py` first."""

__version__ = "0.1.0"
