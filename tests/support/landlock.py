"""Whether this kernel can enforce the whole of a sandbox."""

from __future__ import annotations

import pytest

from perago.worker.process.landlock import SIGNALS_ABI, landlock_abi

LACKS = landlock_abi() < SIGNALS_ABI
REASON = "this kernel cannot enforce all of a sandbox; Linux 6.12 with Landlock runs it"

needs_landlock = pytest.mark.skipif(LACKS, reason=REASON)
