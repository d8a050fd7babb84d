"""A mixed-integer linear program for HiGHS, row by row."""

from typing import Any, cast

from extremal.lab import require

from ._errors import FlowsError


class Program:
    """Variables and rows of one program; `solve` returns values or None if it has no solution."""

    def __init__(self) -> None:
        """Start without variables."""
        self.lower: list[float] = []
        self.upper: list[float] = []
        self.cost: list[float] = []
        self.whole: list[bool] = []
        self.starts: list[int] = [0]
        self.index: list[int] = []
        self.value: list[float] = []
        self.row_lower: list[float] = []
        self.row_upper: list[float] = []

    def variable(self, upper: float, *, lower: float = 0.0, cost: float = 0.0) -> int:
        """Add a variable and return its number."""
        self.lower.append(lower)
        self.upper.append(upper)
        self.cost.append(cost)
        self.whole.append(False)
        return len(self.lower) - 1

    def binary(self) -> int:
        """Add a variable that is 0 or 1."""
        number = self.variable(1.0)
        self.whole[number] = True
        return number

    def row(self, terms: dict[int, float], *, least: float = -1e30, most: float = 1e30) -> None:
        """Add least <= sum of coefficient * variable <= most."""
        for variable, coefficient in terms.items():
            if coefficient:
                self.index.append(variable)
                self.value.append(coefficient)
        self.starts.append(len(self.index))
        self.row_lower.append(least)
        self.row_upper.append(most)

    def solve(self, *, maximise: bool = False, seconds: float = 600.0) -> list[float] | None:
        """Solve it with one thread.

        Raises:
            FlowsError: The time limit was reached.
            MissingExtra: highspy is not installed.
        """
        hs = cast("Any", require("highspy", "flows"))
        solver = hs.Highs()
        for name, value in (
            ("output_flag", False), ("threads", 1), ("time_limit", seconds),
            ("mip_rel_gap", 0.0), ("mip_abs_gap", 1e-9), ("mip_feasibility_tolerance", 1e-9),
            ("primal_feasibility_tolerance", 1e-9),
        ):  # fmt: skip
            solver.setOptionValue(name, value)
        lp = hs.HighsLp()
        lp.num_col_, lp.num_row_ = len(self.lower), len(self.row_lower)
        lp.col_lower_, lp.col_upper_, lp.col_cost_ = self.lower, self.upper, self.cost
        lp.row_lower_, lp.row_upper_ = self.row_lower, self.row_upper
        lp.a_matrix_.format_ = hs.MatrixFormat.kRowwise
        lp.a_matrix_.start_, lp.a_matrix_.index_ = self.starts, self.index
        lp.a_matrix_.value_ = self.value
        kinds = hs.HighsVarType
        lp.integrality_ = [kinds.kInteger if w else kinds.kContinuous for w in self.whole]
        lp.sense_ = hs.ObjSense.kMaximize if maximise else hs.ObjSense.kMinimize
        solver.passModel(lp)
        solver.run()
        status = solver.getModelStatus()
        if status == hs.HighsModelStatus.kOptimal:
            return list(solver.getSolution().col_value)
        if status == hs.HighsModelStatus.kTimeLimit:
            raise FlowsError(f"HiGHS found no solution within {seconds:g} s; use method='auto'.")
        return None
