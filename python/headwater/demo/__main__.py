"""``python -m headwater.demo``."""

import sys

from headwater.demo import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
