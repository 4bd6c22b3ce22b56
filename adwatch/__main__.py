"""The program, and `python -m adwatch`. `render` goes a way of its own, for it starts often."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Runs the command that the command line names, and gives its exit code."""
    if sys.argv[1:2] == ["render"]:
        from adwatch import lastgood

        asked = lastgood.asked(sys.argv[2:])
        if asked is not None:
            return _rendered(*asked)
    from adwatch import cli

    return cli.main()


def _rendered(config: str, name: str) -> int:
    from adwatch.lastgood import render

    try:
        return render(config, name)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
