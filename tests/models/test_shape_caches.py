"""Memory of products of many shapes, in a process of its own: the limits are read once."""

from __future__ import annotations

import subprocess
import sys

#: Products forward and backward of as many shapes as steps; without limits 2.5 MB each stay where bf16 is native.
PRODUCTS = """
import skyeye.models, torch
torch.set_num_threads(1)

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4 // 1024

layer = torch.nn.Linear(288, 768, bias=False).to(torch.bfloat16)
before = resident()
for length in range(64, 224):
    layer(torch.randn(length, 288, dtype=torch.bfloat16, requires_grad=True)).sum().backward()
print(resident() - before)
"""


def test_products_of_many_shapes_do_not_fill_the_memory():
    grown = subprocess.run([sys.executable, "-c", PRODUCTS], capture_output=True, text=True, check=True)
    assert int(grown.stdout) < 200
