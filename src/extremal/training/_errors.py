"""What a caller of this area may want to catch."""

from extremal.lab import ExtremalError


class TrainingError(ExtremalError):
    """Unreadable data, a damaged or foreign checkpoint, or a training that diverged."""
