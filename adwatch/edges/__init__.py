"""One outside party per module; edges never import each other."""
