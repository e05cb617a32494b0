"""One thread for the linear algebra, said before numpy is first imported: its own threads would wait for work by
spinning, on the cores that orders need. Whoever sets the variable decides otherwise.
"""

from __future__ import annotations

import os

THREADS_VARIABLE = "OPENBLAS_NUM_THREADS"

os.environ.setdefault(THREADS_VARIABLE, "1")
