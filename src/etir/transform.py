"""`etir.transform` by its own name, for `from etir.transform import ...`: the very module `etir.frontend.transform`."""

import sys

from .frontend import transform
from .frontend.transform import *  # noqa: F403 (for type checkers)

sys.modules[__name__] = transform
