"""`etir.random` by its own name, for `from etir.random import ...`: the very module `etir.frontend.random`."""

import sys

from .frontend import random
from .frontend.random import *  # noqa: F403 (for type checkers)

sys.modules[__name__] = random
