"""One line for each region: what the shared contract is checked on."""

import itertools

import numpy as np

from extremal import frankwolfe as fw

SPD = [[2.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 3.0]]
POINTS = [[0.0, 0.0, 1.0], [2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [-1.0, -1.0, -1.0], [0.1, 0.1, 0.1]]
EDGES = [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]]

# name: region, shape of an element
CASES = {
    "L1Ball": (fw.L1Ball(1.5), (5,)),
    "L2Ball": (fw.L2Ball(1.5), (4,)),
    "LinfBall": (fw.LinfBall(0.7), (4,)),
    "LpBall-1.3": (fw.LpBall(1.2, p=1.3), (4,)),
    "LpBall-3": (fw.LpBall(1.2, p=3), (4,)),
    "LpBall-1": (fw.LpBall(1.2, p=1), (4,)),
    "LpBall-inf": (fw.LpBall(1.2, p=float("inf")), (4,)),
    "KSparse": (fw.KSparse(0.8, k=2), (5,)),
    "KNorm": (fw.KNorm(1.3, k=2), (5,)),
    "KNorm-all": (fw.KNorm(1.3, k=5), (5,)),
    "Simplex": (fw.Simplex(1.4), (4,)),
    "UnitSimplex": (fw.UnitSimplex(1.4), (4,)),
    "Hypersimplex": (fw.Hypersimplex(0.9, k=2), (5,)),
    "UnitHypersimplex": (fw.UnitHypersimplex(0.9, k=2), (5,)),
    "UnitHypersimplex-most": (fw.UnitHypersimplex(0.9, k=3), (4,)),
    "Permutahedron": (fw.Permutahedron(), (4,)),
    "Permutahedron-w": (fw.Permutahedron((0.0, 1.0, 1.0, -3.0)), (2, 2)),
    "Birkhoff": (fw.Birkhoff(), (3, 3)),
    "NuclearBall": (fw.NuclearBall(1.3), (3, 4)),
    "SpectralBall": (fw.SpectralBall(0.8), (4, 3)),
    "SpectralBall-ratio": (fw.SpectralBall(0.8, scaling="ratio"), (2, 3)),
    "SpectralConv": (fw.SpectralConv(1.0), (2, 2, 1, 3)),
    "KyFanKSparse": (fw.KyFanKSparse(0.8, k=2), (3, 4)),
    "SpectralKSupport": (fw.SpectralKSupport(0.8, k=2), (3, 4)),
    "Spectraplex": (fw.Spectraplex(1.2), (3, 3)),
    "UnitSpectrahedron": (fw.UnitSpectrahedron(1.2), (3, 3)),
    "Fantope": (fw.Fantope(k=2), (3, 3)),
    "KSupport": (fw.KSupport(1.1, k=2), (5,)),
    "KSupport-1": (fw.KSupport(1.1, k=1), (5,)),
    "KSupport-all": (fw.KSupport(1.1, k=5), (5,)),
    "GroupKSupport": (fw.GroupKSupport(1.1, k=2), (4, 2)),
    "GroupL1": (fw.GroupL1(1.1), (4, 2)),
    "OWLBall": (fw.OWLBall(1.3, weights=(3.0, 2.0, 1.0, 1.0, 0.0)), (5,)),
    "Sign": (fw.Sign(2.0), (2, 3)),
    "ColNorm": (fw.ColNorm(0.7), (3, 2)),
    "RowNorm": (fw.RowNorm(0.7), (3, 2)),
    "Box": (fw.Box([-1.0, 0.0, 2.0], [1.0, 0.5, 3.0]), (3,)),
    "Diamond": (fw.Diamond([-1.0, -0.2, -2.0], [3.0, 0.5, 1.0]), (3,)),
    "Ellipsoid": (fw.Ellipsoid(SPD, (0.5, -1.0, 0.0), radius=1.5), (3,)),
    "Hull": (fw.Hull(POINTS), (3,)),
    "FlowPolytope": (fw.FlowPolytope(EDGES, source=0, sink=3), (5,)),
    "Product": (fw.Product([fw.L1Ball(1.0), fw.SpectralBall(0.5)], [(2,), (2, 2)]), (6,)),
}


def signs(n):
    return np.array(list(itertools.product([-1.0, 1.0], repeat=n)))


def supports(n, k):
    for chosen in itertools.combinations(range(n), k):
        for s in signs(k):
            v = np.zeros(n)
            v[list(chosen)] = s
            yield v


def subsets(n, k):
    for chosen in itertools.combinations(range(n), k):
        v = np.zeros(n)
        v[list(chosen)] = 1.0
        yield v


# All vertices of the polytopes above, listed independently of the regions' code.
VERTICES = {
    "L1Ball": 1.5 * np.vstack([np.eye(5), -np.eye(5)]),
    "LinfBall": 0.7 * signs(4),
    "KSparse": 0.8 * np.array(list(supports(5, 2))),
    "KNorm": 1.3 * np.vstack([np.eye(5), -np.eye(5), signs(5) / 2]),
    "KNorm-all": 1.3 * np.vstack([np.eye(5), -np.eye(5), signs(5) / 5]),
    "Simplex": 1.4 * np.eye(4),
    "UnitSimplex": 1.4 * np.vstack([np.eye(4), np.zeros((1, 4))]),
    "Hypersimplex": 0.9 * np.array(list(subsets(5, 2))),
    "UnitHypersimplex": 0.9 * np.vstack([v for j in range(3) for v in subsets(5, j)]),
    "UnitHypersimplex-most": 0.9 * np.vstack([v for j in range(4) for v in subsets(4, j)]),
    "Permutahedron": np.array(list(itertools.permutations([1.0, 2.0, 3.0, 4.0]))),
    "Permutahedron-w": np.array(list(itertools.permutations([0.0, 1.0, 1.0, -3.0]))),
    "Birkhoff": np.array([np.eye(3)[list(p)].ravel() for p in itertools.permutations(range(3))]),
    "OWLBall": np.vstack(
        [
            1.3 * np.array(list(supports(5, i))) / sum((3.0, 2.0, 1.0, 1.0, 0.0)[:i])
            for i in range(1, 6)
        ]
    ),
    "Sign": 2.0 / 3.0 * signs(6),
    "Box": np.array(list(itertools.product([-1.0, 1.0], [0.0, 0.5], [2.0, 3.0]))),
    "Diamond": np.vstack([np.diag([-1.0, -0.2, -2.0]), np.diag([3.0, 0.5, 1.0])]),
    "Hull": np.array(POINTS),
    "FlowPolytope": np.array(
        [[1.0, 0, 0, 1, 0], [1, 0, 1, 0, 1], [0, 1, 0, 0, 1]], dtype=np.float64
    ),
}
