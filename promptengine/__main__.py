"""``python -m promptengine``: the command line."""

import sys

from promptengine.app.cli import main

if __name__ == "__main__":
    sys.exit(main())
