"""``python -m promptengine``: the command line."""

import sys

from promptengine.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
