"""The directory: what it holds, and which of it may have changed."""
