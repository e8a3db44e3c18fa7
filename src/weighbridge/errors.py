"""What Weighbridge raises, under the name that callers import: ``from weighbridge.errors import``.

The family itself, and what each member says, is in ``weighbridge.domain.errors``.
"""

from weighbridge.domain.errors import *  # noqa: F403
