"""What adwatch remembers between turns and over restarts."""

from adwatch.edges.store.database import Debt, Store

__all__ = ["Debt", "Store"]
