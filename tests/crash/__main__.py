"""`python -m tests.crash`: the killer by itself; `scripts/chaos crash` runs it too."""

import argparse
import sys

from tests.crash import run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="scripts/chaos crash", description=run.__doc__)
    run.add_arguments(parser)
    sys.exit(run.run(parser.parse_args()))
