"""`python -m scalegan VERB ...`."""

import sys

from scalegan.cli import main

sys.exit(main())
