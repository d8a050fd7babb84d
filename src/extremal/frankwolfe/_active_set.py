"""A point as a convex combination of extreme points."""

import numpy as np


class ActiveSet:
    """Atoms (extreme points) with positive weights that sum to 1."""

    def __init__(self, atom: np.ndarray) -> None:
        """Start at one atom."""
        self.shape = atom.shape
        self._rows = np.zeros((8, atom.size))
        self._rows[0] = atom.reshape(-1)
        self.weights = np.ones(1)
        self._place = {self._key(atom): 0}

    @staticmethod
    def _key(atom: np.ndarray) -> bytes:
        return (atom + 0.0).tobytes()  # -0.0 and 0.0 are the same atom

    @property
    def rows(self) -> np.ndarray:
        """The atoms, flattened, a row each."""
        return self._rows[: len(self.weights)]

    def atom(self, i: int) -> np.ndarray:
        """One atom in its shape."""
        return self._rows[i].reshape(self.shape)

    def point(self) -> np.ndarray:
        """The combination."""
        return (self.weights @ self.rows).reshape(self.shape)

    def find(self, atom: np.ndarray) -> int:
        """The place of an atom; a new one gets weight 0."""
        key = self._key(atom)
        found = self._place.get(key)
        if found is not None:
            return found
        n = len(self.weights)
        if n == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._rows[n] = atom.reshape(-1)
        self.weights = np.append(self.weights, 0.0)
        self._place[key] = n
        return n

    def clean(self) -> None:
        """Drop atoms without weight; the weights sum to 1 again."""
        alive = self.weights > 0.0
        if not alive.all():
            self._rows[: alive.sum()] = self.rows[alive]
            self.weights = self.weights[alive]
            self._place = {self._key(row): i for i, row in enumerate(self.rows)}
        self.weights = self.weights / self.weights.sum()
