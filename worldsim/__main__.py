"""`python -m worldsim` is `worldsim`."""

import sys

from worldsim.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
