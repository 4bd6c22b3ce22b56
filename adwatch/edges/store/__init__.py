"""What adwatch remembers between turns and over restarts."""

from adwatch.edges.store.database import Store

__all__ = ["Store"]
