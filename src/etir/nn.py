"""`etir.nn` by its own name, for `from etir.nn import ...`: the very module `etir.frontend.nn`."""

import sys

from .frontend import nn
from .frontend.nn import *  # noqa: F403 (for type checkers)

sys.modules[__name__] = nn
