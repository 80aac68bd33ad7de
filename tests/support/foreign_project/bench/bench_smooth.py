"""What does a running mean cost?"""

import pytest
from waves import smooth

WIDTHS = {"narrow": 3, "wide": 1001}


@pytest.mark.parametrize("case", WIDTHS.items(), ids=WIDTHS.keys())
def bench_smooth(case, workload, measure):
    _, width = case
    measure(lambda: smooth(workload, width), "smoothing")
