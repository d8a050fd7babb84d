"""The door: one certificate file in, one verdict out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ._reader import read
from ._rejected import Rejected, Unusable

Status = Literal["accepted", "rejected", "unusable"]
_EXIT = {"accepted": 0, "rejected": 1, "unusable": 2}


@dataclass(frozen=True, slots=True)
class Checked:
    """The verdict on one part.

    Attributes:
        kind: Such as `"pruning/model"`.
        strength: `"proved"`, `"recomputed"` or `"measured"`.
        accepted: Whether every condition held.
        statements: What was established, a sentence each.
        reason: The first condition that failed, or "".
    """

    kind: str
    strength: str
    accepted: bool
    statements: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `file` found.

    Attributes:
        path: The certificate.
        status: `"accepted"` if every part was, `"rejected"` if one was not, `"unusable"` if the
            file is no certificate that this version reads.
        parts: The verdict on each part; empty if the file is unusable.
        reason: Why it was not accepted, or "".
    """

    path: Path
    status: Status
    parts: tuple[Checked, ...]
    reason: str

    @property
    def exit_code(self) -> int:
        """0 accepted, 1 rejected, 2 unusable."""
        return _EXIT[self.status]

    @property
    def accepted(self) -> bool:
        """Whether every part was accepted."""
        return self.status == "accepted"

    def as_text(self) -> str:
        """Return the verdict for a person: a line a part, its statements below."""
        if self.status == "unusable":
            return f"unusable: {self.path}: {self.reason}"
        lines: list[str] = []
        for part in self.parts:
            word = "accepted" if part.accepted else "REJECTED"
            lines.append(f"{word}  {part.kind}  ({part.strength})")
            lines += [f"  {s}" for s in part.statements]
            if part.reason:
                lines.append(f"  {part.reason}")
        lines.append(f"{self.status}: {self.path}")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Return the verdict as plain values."""
        return {
            "path": str(self.path),
            "status": self.status,
            "reason": self.reason,
            "parts": [
                {
                    "kind": p.kind,
                    "strength": p.strength,
                    "accepted": p.accepted,
                    "statements": list(p.statements),
                    "reason": p.reason,
                }
                for p in self.parts
            ],
        }


def file(path: Path | str, thorough: bool = False) -> Verdict:
    """Check a certificate with code that shares nothing with what made it.

    Args:
        path: The certificate, or a run folder that holds a `certificate.json`.
        thorough: Repeat also what takes long, where a kind has such a thing; its page says so.

    Returns:
        The verdict; nothing is raised for a bad file.

    Cost: that of the checkers; the file is read once.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "certificate.json"
    try:
        parts = read(path)
    except Unusable as error:
        return Verdict(path, "unusable", (), str(error))
    checked: list[Checked] = []
    for part in parts:
        statements: list[str] = []
        reason = ""
        try:
            check = part.thorough if thorough else part.check
            statements = check(part.claim, part.witness, path.parent)
        except Rejected as error:
            reason = str(error)
        except (
            ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RecursionError,
            TypeError, ValueError,
        ) as error:  # fmt: skip
            # A forged value may break a checker anywhere; that is a rejection, never a pass.
            reason = f"the checker could not read it: {type(error).__name__}: {error}"
        checked.append(Checked(part.kind, part.strength, not reason, tuple(statements), reason))
    bad = [c for c in checked if not c.accepted]
    if bad:
        return Verdict(path, "rejected", tuple(checked), f"{bad[0].kind}: {bad[0].reason}")
    return Verdict(path, "accepted", tuple(checked), "")
