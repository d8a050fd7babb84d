"""An equilibrium with its proof, what it costs, and packets that approach it.

Run: python examples/flows/01_first.py
"""

import tempfile
import warnings
from fractions import Fraction

from extremal import flows, verify

# Braess' network: agents leave s at rate 1; every one takes a fastest route, given all others.
with tempfile.TemporaryDirectory() as folder:
    flow = flows.nash("braess", out=f"{folder}/nash")
    print(flow.table().as_text())
    print(verify.file(f"{folder}/nash").as_text(), "\n")

# 100 units of traffic: the best plan, and what selfish routing makes of it.
found = flows.optimum("braess", volume=100, braess=True)
print(found.table().as_text())
print("better closed:", ", ".join(found.braess_arcs), "\n")

# The same routes with packets: the error halves with the step.
warnings.simplefilter("ignore", flows.PacketWarning)
equilibrium = flows.nash("braess", horizon=100)
for k in range(1, 5):
    run = flows.simulate("braess", demand=equilibrium, step=Fraction(1, 2**k))
    off = flows.deviation(run, equilibrium, 100)
    print(f"step 1/{2**k}: mean |travel time - equilibrium| = {off.time:.3f}")

# Everyone over the bridge is no equilibrium; the gap says how far from one it is.
bridge = [(("s-1", "1-2", "2-3", "3-4", "4-t"), "0:1, 100:0")]
print("relative gap of everyone over the bridge:", flows.gap("braess", bridge).relative)
