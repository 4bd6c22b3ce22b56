"""The configuration layer: YAML → frozen models, with every fault at its line and column.

Nothing is imported here but `os`, so that `adwatch render` can read `adwatch.config.source` alone.
"""

import os

# Else pydantic looks for plugins in all that is installed, at every start.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
