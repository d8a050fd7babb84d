"""Runs a peer on one polynomial: `python _peers.py PACKAGE TEXT REPEATS`; prints one JSON line.

This file runs in the peers' environment, which need not hold this project.
"""

import json
import sys
import time


def alkahest(text: str) -> str:
    """Exact rational sum of squares; raises where it finds none."""
    import alkahest as package

    names = sorted({c for c in text if c.isalpha()})
    pool = package.ExprPool()
    symbols = {n: pool.symbol(n) for n in names}
    expression = eval(text.replace("^", "**"), {"__builtins__": {}}, symbols)  # our own text
    try:
        package.sos_decompose(expression, list(symbols.values()))
    except package.SosError as error:
        return f"refused: {str(error)[:60]}"
    return "exact"


def sum_of_squares(text: str) -> str:
    """A float sum of squares (picos, CVXOPT)."""
    import sympy
    from SumOfSquares import SOSProblem

    problem = SOSProblem()
    problem.add_sos_constraint(sympy.sympify(text.replace("^", "**")), sorted(
        sympy.sympify(text.replace("^", "**")).free_symbols, key=str))  # fmt: skip
    try:
        problem.solve()
    except Exception as error:  # noqa: BLE001 - its failures are of many types
        return f"refused: {type(error).__name__}"
    return "float"


if __name__ == "__main__":
    run = {"alkahest": alkahest, "SumOfSquares": sum_of_squares}[sys.argv[1]]
    run("x**4+1")  # imports are not timed
    seconds = []
    said = ""
    for _ in range(int(sys.argv[3])):
        begun = time.perf_counter()
        said = run(sys.argv[2])
        seconds.append(time.perf_counter() - begun)
        if seconds[-1] > 5:
            break
    print(json.dumps({"said": said, "seconds": seconds}))
