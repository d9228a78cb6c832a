"""The swap program that stands at Jupiter's address. `layout` has its addresses and bytes, `build` makes the file again."""

from importlib import resources


def swap_elf() -> bytes:
    """The program as the loader takes it."""
    return (resources.files(__name__) / "swap.so").read_bytes()
