"""The audit report: one page that a non-specialist can read, with the numbers below."""

import importlib.util
from pathlib import Path

from extremal.lab import Cell, Picture, Section, Table, Text, write_figures, write_report

from ._result import Audit

_EXPLANATIONS = 12


def report(found: Audit) -> Path | None:
    """Write pictures and `report.html` into the audit's folder, where matplotlib is installed."""
    if found.path is None or not (
        importlib.util.find_spec("matplotlib") and importlib.util.find_spec("jinja2")
    ):
        return None
    from ._pictures import assumptions_picture, grid_picture, rates_picture

    pictures: dict[str, Picture | None] = {
        "rates": rates_picture(found),
        "masks": grid_picture(found) if found.task.image else None,
        "assumptions": assumptions_picture(found),
    }
    rates, *others = write_figures(found.path, pictures)
    sections: list[Section] = [
        Text("\n".join(found.sentences())),
        Text("What was done", heading=True),
        Text(
            "Merlin, the explainer, shows Arthur, the classifier, a small part of each input; "
            "Arthur names a class or says that he does not know. Morgana shows parts of the same "
            "inputs and tries to make him name a wrong class. If Merlin mostly convinces and "
            "Morgana mostly fails, what Merlin shows must be rare in other classes; the theorem "
            "says how rare."
        ),
        rates,
        _by_class(found),
        *others,
        Text("Single explanations", heading=True),
        Text(
            "Support is how many reference rows contain the feature; the interval is for the share "
            "of them that has the class. Without support there is no evidence."
        ),
        _explanations(found),
        Text("Bounds and assumptions", heading=True),
        _bounds(found),
        Text(
            "kappa says how differently features crowd together in different classes (1: not at "
            "all), alpha how much worse than Merlin Morgana is at using his own features. Both are "
            "assumptions of the theorem, so here is the bound under others:"
        ),
        _grid(found),
        Text("Morgana's attacks", heading=True),
        Table(["attack", "what it tried"], [[name, what] for name, what in found.settings.items()]),
        _independent(found),
    ]
    if found.notes or found.task.note:
        sections += [
            Text("Notes", heading=True),
            Text("\n".join([*found.notes, found.task.note]).strip()),
        ]
    return write_report(
        found.path / "report.html",
        f"Audit: {found.verdict}",
        [Text(f"{found.subject}. Data: {found.data}."), *sections],
        f"Check it: extremal verify {found.path.name}/certificate.json",
    )


def _by_class(found: Audit) -> Table:
    n = found.numbers
    rows: list[list[Cell]] = []
    for c, name in enumerate(found.task.class_names):
        rows.append(
            [
                name, n["n"][c], n["counts"]["merlin_failures"][c],
                n["limits"]["completeness_error"][c], n["counts"]["fooled"][c],
                n["limits"]["soundness_error"][c], n["deployment"]["right"][c],
                n["deployment"]["wrong"][c], n["deployment"]["abstained"][c],
            ]
        )  # fmt: skip
    return Table(
        [
            "class", "rows", "Merlin failed", "rate at most", "others taken for it",
            "rate at most", "decided rightly", "wrongly", "abstained",
        ],
        rows,
        title="Counts with their upper confidence limits; decisions without knowing the class",
    )  # fmt: skip


def _explanations(found: Audit) -> Table:
    rows: list[list[Cell]] = []
    for i in range(min(_EXPLANATIONS, len(found.task.audit))):
        e = found.explanation(i)
        interval = f"[{e['low']:.3f}, {e['high']:.3f}]" if e["evidence"] else "no evidence"
        rows.append(
            [
                e["class"], e["answer"], e["feature"], e["support"], e["precision"], interval,
                "yes" if e["fooled"] else "no",
            ]
        )  # fmt: skip
    return Table(
        ["class", "Arthur", "shown", "support", "precision", "interval", "misled by Morgana"], rows
    )


def _bounds(found: Audit) -> Table:
    n, b = found.numbers, found.numbers["bounds"]
    direct = n["direct"]
    rows: list[list[Cell]] = [
        ["main theorem", "kappa, alpha as assumed", b["main"]],
        ["each class against the rest", "kappa, alpha as assumed", b["per_class"]],
        ["frozen catalogue", "kappa as assumed, alpha >= 1 proved", b["strict"]],
        ["direct", "none", direct["lower"] if direct else None],
        ["the audited rows as the whole world", "none", n["population"]["per_class"]],
        ["precision there, exactly (a row counts itself)", "none", n["population"]["precision"]],
        ["precision over the reference pool, measured", "none", n["reference"]["precision"]],
        ["information in bits", "kappa, alpha as assumed", b["information"]],
    ]
    return Table(
        ["statement", "assumes", "value"], rows, title="Lower bounds of the average precision"
    )


def _grid(found: Audit) -> Table:
    grid = found.numbers["grid"]
    alphas = sorted({a for _, a, _ in grid}, reverse=True)
    rows: list[list[Cell]] = [
        [f"{k:g}", *(next(v for x, a, v in grid if x == k and a == alpha) for alpha in alphas)]
        for k in sorted({k for k, _, _ in grid})
    ]
    return Table(["kappa", *(f"alpha {a:g}" for a in alphas)], rows)


def _independent(found: Audit) -> Text:
    reader = found.numbers["reader"]
    share = reader["right"] / reader["n"]
    convinced = sum(c * m for c, m in zip(found.completeness, found.numbers["n"], strict=True))
    said = (
        f"An independent reader of masked inputs ({reader['name']}) reads the class from Merlin's "
        f"features on {100 * share:.1f} % of the rows; Arthur does on "
        f"{100 * convinced / reader['n']:.1f} %."
    )
    if convinced / reader["n"] > share + 0.1:
        said += " The gap suggests a code between Merlin and Arthur that is not in the data."
    return Text(said)
