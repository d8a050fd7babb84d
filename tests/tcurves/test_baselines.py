"""The baselines give what they say, and the census agrees with brute force."""

import pytest

from extremal import tcurves


@pytest.mark.parametrize("method", [tcurves.random_signs, tcurves.climb])
def test_witnesses_give_their_schemes(method):
    found = method(4, 0.3, seed=1)
    assert found
    for scheme, witness in found.items():
        assert tcurves.scheme(witness.triangulation, witness.signs) == scheme
        assert scheme in tcurves.known_schemes(4)


def test_climbing_meets_curves_with_many_ovals():
    assert max(s.ovals for s in tcurves.climb(6, 1.0, seed=0)) >= 9


def test_brute_force_is_the_census():
    t = tcurves.named("honeycomb-5")
    found = tcurves.census(t)
    counts = tcurves.brute_force(t, dict(found.fixed))
    assert counts == {e.scheme: e.count for e in found.entries}
    with pytest.raises(ValueError, match="would take months"):
        tcurves.brute_force(tcurves.honeycomb(8), {})
