"""So that `python -m bench.curves` works, too."""

import sys

from bench.curves import main

sys.exit(main())
