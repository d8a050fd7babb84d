"""A proof, a refutation, a bound: three exact answers and their independent check."""

from extremal import sos, verify

p = "2*x^4 + 2*x^3*y - x^2*y^2 + 5*y^4"
found = sos.certify(p, out="runs/quartic")
print(f"{found.verdict.name}: {p} = {found.as_text()}")
print(verify.file("runs/quartic").as_text())

motzkin = sos.certify("x^4*y^2 + x^2*y^4 + 1 - 3*x^2*y^2", multipliers=1)
print(f"Motzkin: {motzkin.verdict.name}, nonnegative: {motzkin.nonnegative}")
print("its certificate:", ", ".join(motzkin.certificate.kinds))

lowest = sos.bound("(1-x)^2 + 100*(y-x^2)^2")
print(f"Rosenbrock's function: at least {lowest.value}, the minimum itself: {lowest.exact}")
