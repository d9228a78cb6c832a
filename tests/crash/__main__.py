"""`python -m tests.crash`: the killer by itself; `scripts/chaos crash` runs it too."""

import sys

from tests.crash.run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
