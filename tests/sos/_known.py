"""The known answers: polynomials, and what was measured or proved of them."""

MOTZKIN = "x^4*y^2 + x^2*y^4 + 1 - 3*x^2*y^2"
CHOI_LAM = "w^4 + x^2*y^2 + y^2*z^2 + z^2*x^2 - 4*x*y*z*w"
CHOI_LAM_6 = "x^4*y^2 + y^4*z^2 + z^4*x^2 - 3*x^2*y^2*z^2"
ROBINSON = (
    "x^6 + y^6 + z^6 - (x^4*y^2 + x^4*z^2 + y^4*x^2 + y^4*z^2 + z^4*x^2 + z^4*y^2) + 3*x^2*y^2*z^2"
)
HORN = "(a^2+b^2+c^2+d^2+e^2)^2 - 4*(a^2*b^2 + b^2*c^2 + c^2*d^2 + d^2*e^2 + e^2*a^2)"
LAX = " + ".join("*".join(f"({u}-{v})" for v in "abcde" if v != u) for u in "abcde")
SCHMUEDGEN = "200*((x^3-4*x)^2 + (y^3-4*y)^2) + (y^2-x^2)*x*(x+2)*(x*(x-2)+2*(y^2-4))"
SCHEIDERER = "x^4 + x*y^3 + y^4 - 3*x^2*y*z - 4*x*y^2*z + 2*x^2*z^2 + x*z^3 + y*z^3 + z^4"
STYBLINSKI = "1/2*(x^4-16*x^2+5*x + y^4-16*y^2+5*y)"
CAMEL = "(4-2.1*x^2+x^4/3)*x^2 + x*y + (4*y^2-4)*y^2"
GOLDSTEIN = (
    "(1+(x+y+1)^2*(19-14*x+3*x^2-14*y+6*x*y+3*y^2))"
    "*(30+(2*x-3*y)^2*(18-32*x+12*x^2+48*y-36*x*y+27*y^2))"
)
GOLDSTEIN_UV = "(1+(u+1)^2*(19-14*u+3*u^2))*(30+v^2*(18-16*v+3*v^2))"
ROSENBROCK_100 = " + ".join(f"100*(x{i}-x{i - 1}^2)^2+(1-x{i})^2" for i in range(2, 101))
BROYDEN_SQUARES = [
    f"3*x{i}-2*x{i}^2"
    + (f"-x{i - 1}" if i > 1 else "")
    + (f"-2*x{i + 1}" if i < 100 else "")
    + "+1"
    for i in range(1, 101)
]
BROYDEN_100 = " + ".join(f"({s})^2" for s in BROYDEN_SQUARES)
SQUARES_2 = "(x^2+y^2)"
SQUARES_3 = "(x^2+y^2+z^2)"
SQUARES_4 = "(x^2+y^2+z^2+w^2)"
SQUARES_5 = "(a^2+b^2+c^2+d^2+e^2)"


def times(p: str, q: str) -> str:
    """The product, as text."""
    return f"({p})*{q}"


# name: (polynomial, verdict, |K(p)| or None, block sizes or None, t* or None)
KNOWN: dict[str, tuple[str, str, int | None, list[int] | None, float | None]] = {
    "1": ("4*x^4+12*x^2*y^2+9*y^4+1", "CERTIFIED_SOS", 6, [3, 1, 1, 1], None),
    "2-motzkin": (MOTZKIN, "CERTIFIED_NOT_SOS", 4, [1, 1, 1, 1], -3.0),
    "2-homogeneous": (times(MOTZKIN, SQUARES_2), "CERTIFIED_SOS", 8, None, None),
    "2-affine": (times(MOTZKIN, "(x^2+y^2+1)"), "CERTIFIED_SOS", 9, [3, 2, 2, 2], None),
    "3-choi-lam": (CHOI_LAM, "CERTIFIED_NOT_SOS", 4, None, None),
    "3-multiplied": (times(CHOI_LAM, SQUARES_4), "CERTIFIED_SOS", 14, [4, 4, 4, 2], 0.0),
    "4-choi-lam-6": (CHOI_LAM_6, "CERTIFIED_NOT_SOS", None, None, None),
    "4-multiplied": (times(CHOI_LAM_6, SQUARES_3), "CERTIFIED_SOS", 9, None, None),
    "5-robinson": (ROBINSON, "CERTIFIED_NOT_SOS", 10, [3, 3, 3, 1], -0.0484),
    "5-multiplied": (times(ROBINSON, SQUARES_3), "CERTIFIED_SOS", None, None, None),
    "6-horn": (HORN, "CERTIFIED_NOT_SOS", 15, [5, *[1] * 10], -0.1459),
    "6-multiplied": (times(HORN, SQUARES_5), "CERTIFIED_SOS", 35, None, None),
    "7-lax-lax": (LAX, "CERTIFIED_NOT_SOS", 15, [15], -0.20833),
    "7-schmuedgen": (SCHMUEDGEN, "CERTIFIED_NOT_SOS", 9, [5, 4], -0.0667),
    "8-quartic": ("2*x^4+2*x^3*y-x^2*y^2+5*y^4", "CERTIFIED_SOS", 3, [3], 0.7273),
    "8-rosenbrock": ("(1-x)^2+100*(y-x^2)^2", "CERTIFIED_SOS", None, None, 0.0),
    "8-himmelblau": ("(x^2+y-11)^2+(x+y^2-7)^2", "CERTIFIED_SOS", None, None, 0.0),
    "9-scheiderer": (SCHEIDERER, "NUMERICAL_SOS", None, None, 0.0),
    "10-styblinski-up": (f"{STYBLINSKI}+78.3324", "CERTIFIED_SOS", None, None, None),
    "10-styblinski-down": (f"{STYBLINSKI}+78.3323", "NEGATIVE", None, None, None),
    "10-camel-up": (f"{CAMEL}+1.0317", "CERTIFIED_SOS", None, None, None),
    "10-camel-down": (f"{CAMEL}+1.0316", "NEGATIVE", None, None, None),
    "11-goldstein-uv": (f"{GOLDSTEIN_UV}-2.99", "CERTIFIED_SOS", 9, None, None),
    "11-goldstein-299": (f"{GOLDSTEIN}-2.99", "CERTIFIED_SOS", 15, None, None),
    "11-goldstein-3": (f"{GOLDSTEIN}-3", "CERTIFIED_SOS", 15, None, None),
    "11-goldstein-uv-3": (f"{GOLDSTEIN_UV}-3", "CERTIFIED_SOS", 9, None, None),
    "11-goldstein-301": (f"{GOLDSTEIN}-3.01", "NEGATIVE", 15, None, None),
    "12-tenth": (
        "(x^2+2*x*y-2*y^2)^2+1/10*(x^6+y^6+x^2+y^2)", "CERTIFIED_SOS", 9, None, None
    ),
    "12-three": ("(x^2+2*x*y-2*y^2)^2+3*(x^6+y^6+x^2+y^2)", "CERTIFIED_SOS", 9, None, None),
    "13": ("x^4+4*x^3-8*x+4", "CERTIFIED_SOS", 3, None, 0.0),
    "14": ("x^4+y^4+z^4+w^4-4*x*y*z*w", "CERTIFIED_SOS", 10, [4, 2, 2, 2], 0.0),
}  # fmt: skip
