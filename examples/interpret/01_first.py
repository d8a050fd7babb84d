"""What is an explanation worth? An audit without a network, the theorem in fractions, a check."""

from extremal import interpret, verify

# Robots are of class 1 where head and body have one shape, or the jacket is red. Rules on up to
# three columns explain a look-up; Morgana tries every set of columns.
found = interpret.certify(data="monks", k=3, out="runs/monks")
print(found.table().as_text())
print(found.explanation(0))

# Nobody may show the jacket: what can a prover still do?
use = interpret.column_use("jacket", found.task, k=3)
print(use.table().as_text())

# The same theory in exact fractions: a code about a parity that says nothing about it.
code = interpret.cube(
    4,
    1,
    lambda x: x[0] ^ x[1],
    lambda x: [2] if x[0] ^ x[1] else [3],
    lambda indices, values: {2: 1, 3: 0}.get(indices[0], -1),
)
print(f"completeness error {code.e_c}, soundness error {code.e_s}, bound {code.bound()}")
print(f"precision {code.average_precision}: the features are a code, not an explanation")

print(verify.file("runs/monks").as_text())
