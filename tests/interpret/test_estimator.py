"""The scikit-learn classifier: settings, abstention, columns, held-out rows."""

import numpy as np
import pytest

pytest.importorskip("torch")
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from extremal import interpret
from extremal.interpret import MerlinArthurClassifier

SHORT = {"epochs": 6, "pretrain": 5, "attacker_epochs": 0, "pool": 16}


def rows_of_two_bits(n=400, seed=0):
    """The class is the first column; the second is a quantity, the third noise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    x = np.column_stack([y, rng.normal(size=n) + 2 * y, rng.integers(0, 3, n)]).astype(float)
    return x, y


@pytest.fixture(scope="module")
def fitted():
    x, y = rows_of_two_bits()
    names = np.array(["no", "yes"])
    return MerlinArthurClassifier(k=1, options={**SHORT, "epochs": 30}).fit(x, names[y])


def test_decides_explains_and_is_audited(fitted):
    x, y = rows_of_two_bits(seed=1)
    said = fitted.predict(x)
    assert set(said) <= {"no", "yes", "don't know"}
    truth = np.array(["no", "yes"])[y]
    decided = said != "don't know"
    assert decided.mean() > 0.5
    assert (said[decided] == truth[decided]).mean() > 0.95
    # Abstentions count as mistakes in scikit-learn's score.
    assert fitted.score(x, truth) == (said == truth).mean()
    first = fitted.explain(x[:5])
    for e, one in zip(first, said[:5], strict=True):
        assert (e.decision or "don't know") == one
    held = fitted.audit()
    assert len(held.task.audit) == 100
    new = fitted.audit(x, truth)
    assert len(new.task.audit) == 400
    assert new.numbers["attacks"] == ["replay", "exhaustive"]
    assert not new.notes


def test_held_out_rows_do_not_make_the_bins_and_are_not_trained_on():
    x, y = rows_of_two_bits()
    model = MerlinArthurClassifier(k=1, options=SHORT).fit(x, y)
    task = model.game_.task
    held = {tuple(r) for r in x[task.audit.ids].tolist()}
    assert not held & {tuple(r) for r in model.columns_.tolist()}
    assert not np.intersect1d(task.audit.ids, task.train.ids).size
    # A binary column keeps its two values, the quantity has eight bins.
    assert task.units[0].levels == ("0", "1")
    assert len(task.units[1].levels) == 8
    again = MerlinArthurClassifier(k=1, options=SHORT).fit(x, y)
    np.testing.assert_array_equal(model.predict(x), again.predict(x))
    texts = MerlinArthurClassifier(k=1, abstain="unsure", options=SHORT).fit(x, y).predict(x)
    assert set(texts.tolist()) <= {0, 1, "unsure"}


def test_images():
    from sklearn.datasets import load_digits

    x, y = load_digits(n_class=2, return_X_y=True)
    x = (x > 7).astype(int)
    model = MerlinArthurClassifier(k=4, image=(8, 8), options=SHORT).fit(x, y)
    assert set(model.predict(x).tolist()) <= {-1, 0, 1}
    assert model.game_.task.image == (8, 8)
    with pytest.raises(ValueError, match="whole numbers from 0 to 1"):
        model.predict(x * 3)


def test_lives_among_the_tools_of_scikit_learn():
    x, y = rows_of_two_bits()
    model = MerlinArthurClassifier(k=2, options=SHORT)
    assert clone(model).get_params() == model.get_params()
    piped = make_pipeline(StandardScaler(), model).fit(x, y)
    assert piped.predict(x).shape == (400,)
    search = GridSearchCV(model, {"k": [1, 2]}, cv=2).fit(x, y)
    assert search.best_params_["k"] in (1, 2)


def test_refused(fitted):
    x, y = rows_of_two_bits()
    with pytest.raises(ValueError, match="all 400 rows have the class"):
        MerlinArthurClassifier(options=SHORT).fit(x, np.zeros(400, int))
    with pytest.raises(interpret.InterpretError, match="abstain=1 is a class too"):
        MerlinArthurClassifier(abstain=1, options=SHORT).fit(x, y)
    with pytest.raises(ValueError, match="both X and y"):
        fitted.audit(x)
    with pytest.raises(ValueError, match="were not in fit"):
        fitted.audit(x, np.array(["maybe"] * 400))
    with pytest.raises(ValueError, match="2 features"):
        fitted.predict(x[:, :2])
    with pytest.raises(ValueError, match="NaN"):
        fitted.predict(np.full((1, 3), np.nan))
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        MerlinArthurClassifier().predict(x)
