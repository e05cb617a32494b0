"""riskgate's shell: everything that talks, waits or remembers. It decides nothing."""

__version__ = "0.1.0"
