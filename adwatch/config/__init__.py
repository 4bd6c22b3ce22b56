"""The configuration layer: YAML → frozen models, with every fault at its line and column.

Nothing is imported here, so that `adwatch render` can read `adwatch.config.source` alone.
"""
