"""`python -m scalegan COMMAND ...`."""

import sys

from scalegan.cli import main

sys.exit(main())
