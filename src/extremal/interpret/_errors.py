"""What a caller of this area may want to catch."""

from extremal.lab import ExtremalError


class InterpretError(ExtremalError):
    """A game, an audit or a prover cannot be run as asked; the text says what would do."""


class TooFewSamples(InterpretError):
    """No outcome of so few audit rows could give a bound above chance."""


class OverBudget(InterpretError):
    """An exhaustive search would ask Arthur more often than allowed."""


class OverlapWarning(UserWarning):
    """Audit rows were also used for training, so that measured rates flatter the classifier."""
