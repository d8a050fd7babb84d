"""What an audit returns: every number, a plain verdict, the certificate."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from extremal.lab import Cell, Part, Table, machine, sha256_file, versions

from ._audit import TOLERANCE, Counted, Numbers, Terms
from ._task import Task

CERTIFICATE_ARRAYS = "audit.safetensors"


@dataclass(frozen=True)
class Audit:
    """The result of `certify`.

    Attributes:
        subject: What was audited.
        task: Its data.
        terms: Confidence, assumptions and budgets.
        numbers: Every number of the certificate by name; `docs/certificates` explains them.
        arrays: Masks, answers and codes of the audited rows.
        settings: Of the attacks.
        notes: What a reader must know.
        seconds: Of the attacks and of the whole audit.
        path: The run folder, if it was saved.
        certificate: Its certificate.
    """

    subject: str
    task: Task
    terms: Terms
    numbers: Numbers
    arrays: Mapping[str, np.ndarray]
    settings: Mapping[str, str]
    notes: tuple[str, ...]
    seconds: Mapping[str, float]
    path: Path | None = None
    certificate: Path | None = None

    @property
    def verdict(self) -> str:
        """`certified` if the bound says more than showing nothing would, else `vacuous`."""
        return self.numbers["verdict"]

    @property
    def bound(self) -> float:
        """The certified lower bound of the average precision, if kappa and alpha are as assumed."""
        return self.numbers["bounds"]["certified"]

    @property
    def completeness(self) -> tuple[float, ...]:
        """For each class how often Merlin convinces."""
        n = self.numbers["n"]
        failed = self.numbers["counts"]["merlin_failures"]
        return tuple(1 - f / m for f, m in zip(failed, n, strict=True))

    @property
    def soundness(self) -> tuple[float, ...]:
        """For each class how often no attack leads one of its rows to another class."""
        n = self.numbers["n"]
        fooled = self.numbers["counts"]["fooled_any"]
        return tuple(1 - f / m for f, m in zip(fooled, n, strict=True))

    @property
    def precision(self) -> float | None:
        """Mean precision over the reference pool; None where no feature was found there."""
        return self.numbers["reference"]["precision"]

    def soundness_under(self) -> dict[str, list[float]]:
        """Return the soundness of each class under each attack alone."""
        fooled, labels = self.arrays["fooled_by"], self.arrays["labels"]
        out: dict[str, list[float]] = {}
        for bit, name in enumerate(self.numbers["attacks"]):
            hit: Any = ((fooled >> bit) & 1).any(1)
            out[name] = [1 - float(hit[labels == c].mean()) for c in range(len(self.numbers["n"]))]
        return out

    def explanation(self, row: int) -> dict[str, Any]:
        """Return what is known of one audited row's explanation.

        Args:
            row: 0..n-1.

        Returns:
            The feature in words, class, answer, support, and the precision's interval; without a
            match in the reference pool `evidence` is False and the interval is [0, 1].
        """
        a = self.arrays
        mask = np.unpackbits(a["merlin_mask"][row])[: self.task.d].astype(bool)
        matches, agrees = int(a["matches"][row]), int(a["agrees"][row])
        return {
            "feature": self.task.describe(mask, a["codes"][row]),
            "class": self.task.class_names[a["labels"][row]],
            "answer": self._answer(int(a["merlin_answer"][row])),
            "support": matches,
            "evidence": matches > 0,
            "precision": agrees / matches if matches else None,
            "low": float(a["low"][row]),
            "high": float(a["high"][row]),
            "fooled": bool((a["fooled_by"][row] != 0).any()),
        }

    def _answer(self, answer: int) -> str:
        return "don't know" if answer < 0 else self.task.class_names[answer]

    def sentences(self) -> list[str]:
        """Return the verdict in plain language, a sentence each."""
        n, t = self.numbers, self.terms
        percent = f"{100 * t.confidence:g} %"
        if self.verdict == "certified":
            first = (
                f"CERTIFIED: on average at least {100 * self.bound:.1f} % of the inputs that "
                f"contain what Merlin shows have the class it is shown for (confidence {percent}; "
                f"showing nothing gives {100 * n['chance']:.1f} %). This holds if kappa <= "
                f"{t.kappa:g} and alpha >= {t.alpha:g}."
            )
        else:
            first = (
                f"VACUOUS: the theorem promises {100 * self.bound:.1f} %, no more than showing "
                f"nothing ({100 * n['chance']:.1f} %). {self._why()} These explanations carry no "
                "guarantee."
            )
        said = [first]
        direct = n["direct"]
        if direct is not None:
            beyond = direct["lower"] > n["chance"]
            said.append(
                f"Directly, with no assumption on kappa and alpha, the precision is at least "
                f"{100 * direct['lower']:.1f} % (confidence {percent}, {direct['n']} rows)"
                + ("." if beyond else ": no more than showing nothing.")
            )
        if n["bounds"]["strict"] is not None:
            said.append(
                f"Allowing only features of the frozen catalogue, alpha >= 1 is proved and the "
                f"bound is {100 * n['bounds']['strict']:.1f} %."
            )
        reference = n["reference"]
        if reference["precision"] is None:
            said.append(
                "No feature occurs in the reference pool: there is no evidence of precision."
            )
        else:
            said.append(
                f"Measured over {reference['n']:,} reference rows the precision is "
                f"{100 * reference['precision']:.1f} %, with {reference['support']:.1f} matching "
                f"rows on average; {reference['no_evidence']} of {sum(n['n'])} features match none."
            )
        return said

    def _why(self) -> str:
        c, s = min(self.completeness), min(self.soundness)
        if s <= c and s < 0.9:
            alone = self.soundness_under()
            name = min(alone, key=lambda a: min(alone[a]))
            return (
                f"Morgana misleads Arthur on up to {100 * (1 - s):.0f} % of a class, by "
                f"{name} alone on {100 * (1 - min(alone[name])):.0f} %."
            )
        if c < 0.9:
            return f"Merlin convinces Arthur on only {100 * c:.0f} % of a class."
        return "The audit has too few rows for so few failures, or the assumptions are too weak."

    def table(self) -> Table:
        """Return the verdict and the numbers by class."""
        under = self.soundness_under()
        rows: list[list[Cell]] = []
        for c, name in enumerate(self.task.class_names):
            rows.append(
                [
                    name,
                    self.numbers["n"][c],
                    self.completeness[c],
                    self.soundness[c],
                    *(values[c] for values in under.values()),
                ]
            )
        title = "\n".join([*self.sentences(), *(f"note: {text}" for text in self.notes)])
        if self.certificate is not None:
            title += f"\nCheck it: extremal verify {self.certificate}"
        return Table(
            ["class", "n", "completeness", "soundness", *(f"under {a}" for a in under)],
            rows,
            title=title,
        )

    def as_json(self) -> dict[str, Any]:
        """Return every number as plain values."""
        return {
            "subject": self.subject,
            "data": self.data,
            "verdict": self.verdict,
            "sentences": self.sentences(),
            "smallest": self.terms.smallest,
            "k": self.terms.k,
            "confidence": self.terms.confidence,
            "kappa": self.terms.kappa,
            "alpha": self.terms.alpha,
            "shift": self.terms.shift,
            **self.numbers,
            "completeness": list(self.completeness),
            "soundness": list(self.soundness),
            "soundness_under": self.soundness_under(),
            "settings": dict(self.settings),
            "notes": list(self.notes),
            "seconds": dict(self.seconds),
            "certificate": str(self.certificate) if self.certificate else None,
        }

    @property
    def data(self) -> str:
        """Which rows were audited, in words."""
        n = len(self.task.audit)
        return (
            f"{self.task.name}, {n:,} audit rows, {' against '.join(self.task.class_names[:2])}"
            + (f" and {self.task.classes - 2} more" if self.task.classes > 2 else "")
        )

    def part(self, folder: Path) -> Part:
        """Return the certificate's part; the arrays lie in `folder` already."""
        t = self.terms
        claim: dict[str, Any] = {
            "subject": self.subject,
            "data": f"{self.data}; sha256 {self.task.fingerprint[:16]}",
            "note": " ".join([self.task.note, *self.notes]).strip(),
            "classes": list(self.task.class_names),
            "units": self.task.d,
            "smallest": t.smallest,
            "k": t.k,
            "confidence": t.confidence,
            "kappa": t.kappa,
            "alpha": t.alpha,
            "shift": t.shift,
            **self.numbers,
            "tolerance": TOLERANCE,
            "audit_sha256": sha256_file(folder / CERTIFICATE_ARRAYS),
        }
        witness = {
            "audit": CERTIFICATE_ARRAYS,
            "seeds": [t.seed],
            "settings": dict(self.settings),
            "machine": machine(),
            "versions": versions(),
        }
        return Part("interpret/guarantee", 1, claim, witness)


def from_counted(
    counted: Counted, subject: str, task: Task, terms: Terms, seconds: Mapping[str, float]
) -> Audit:
    """Make the result of what was counted."""
    return Audit(
        subject, task, terms, counted.numbers, counted.arrays, counted.settings, counted.notes,
        seconds,
    )  # fmt: skip
