"""`python -m adwatch`."""

import sys

from adwatch.cli import main

sys.exit(main())
