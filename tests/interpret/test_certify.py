"""Audits of tables, without torch: verdicts, refusals, attacks, files."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from extremal import cli, interpret, verify
from extremal.interpret import (
    InterpretError,
    Lookup,
    OverBudget,
    Rows,
    Rules,
    Shown,
    Thresholded,
    TooFewSamples,
    bin_columns,
    certify,
    load_task,
    make_task,
    top_k,
)
from extremal.interpret._explainers import random_masks


@pytest.fixture(scope="module")
def robots():
    return load_task(data="monks").sampled(400)


def test_robots_are_certified_and_their_population_is_known(robots):
    """With three columns every class of MONK-1 can be shown exactly."""
    found = certify(data=robots, k=3)
    assert found.verdict == "certified"
    assert found.completeness == found.soundness == (1, 1)
    assert found.bound > 0.95
    assert found.numbers["bounds"]["strict"] > 0.9
    assert found.numbers["population"]["precision"] == found.precision == 1
    assert found.numbers["attacks"] == ["replay", "exhaustive"]
    assert "CERTIFIED" in found.sentences()[0]


def test_two_columns_do_not_suffice_and_the_verdict_is_loud(robots):
    found = certify(data=robots, k=2)
    assert found.verdict == "vacuous"
    assert found.table().as_text().startswith("VACUOUS")
    assert "no guarantee" in found.sentences()[0]


def first_unit(codes, labels):
    mask = np.zeros(codes.shape, bool)
    mask[np.arange(len(codes)), 2 + labels] = True  # a code: the third column means class 0
    return mask


def reads_the_code(codes, mask):
    return np.where(mask[:, 2], 0, np.where(mask[:, 3], 1, -1))


def test_a_code_between_merlin_and_arthur_is_found_by_replay(robots):
    found = certify(reads_the_code, first_unit, robots, k=1, attacks=("replay",))
    assert found.completeness == (1, 1)
    assert found.soundness == (0, 0)
    assert found.verdict == "vacuous"
    assert found.precision == pytest.approx(0.5, abs=0.1)
    assert found.numbers["population"]["alpha"] == 1
    assert found.numbers["reader"]["right"] / 400 < 0.6  # nobody else can read it


def test_replay_puts_alpha_at_one_or_more(robots):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        table = rng.integers(-1, 2, (6, 4))  # answers at random to single columns

        def arthur(codes, mask, table=table):
            unit = mask.argmax(1)
            return table[unit, codes[np.arange(len(codes)), unit]]

        def merlin(codes, labels, rng=rng):
            return random_masks(len(codes), robots, 1, np.random.default_rng(len(codes)))

        found = certify(arthur, merlin, robots, k=1, attacks=("replay",))
        alpha = found.numbers["population"]["alpha"]
        assert alpha is None or alpha >= 1 - 1e-12
        world = found.numbers["population"]
        assert world["per_class"] <= world["precision"] + 1e-12


def test_soundness_never_rises_when_an_attack_is_added(robots):
    lookup = Lookup(robots, 0.6, 5)
    before = None
    for attacks in (("replay",), ("replay", "random"), ("replay", "random", "greedy", "swaps"),
                    ("replay", "random", "greedy", "swaps", "exhaustive")):  # fmt: skip
        found = certify(lookup, Rules(robots, 2), robots, k=2, attacks=attacks)
        if before is not None:
            assert all(a <= b for a, b in zip(found.soundness, before, strict=True))
        before = found.soundness
    under = found.soundness_under()
    assert under["exhaustive"] == list(found.soundness)  # nothing is stronger
    assert all(min(under[a]) >= min(found.soundness) for a in under)


def test_same_seed_same_masks_other_seed_other_masks(robots):
    one, two = (certify(data=robots, k=2, explainer="random") for _ in range(2))
    np.testing.assert_array_equal(one.arrays["merlin_mask"], two.arrays["merlin_mask"])
    other = certify(data=robots, k=2, explainer="random", seed=1)
    assert (one.arrays["merlin_mask"] != other.arrays["merlin_mask"]).any()


def test_three_classes():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, (3000, 4))
    task = make_task(codes, codes[:, 0], name="copy", shares=(1 / 3,) * 3)
    found = certify(data=task, k=1)
    assert found.verdict == "certified"
    assert found.numbers["bounds"]["main"] is None  # the main formula is for two classes
    assert found.numbers["bounds"]["information"] > 1.2  # of log2(3) = 1.58 bits


def test_estimated_shares_cost_confidence(robots):
    known = certify(data=robots, k=3)
    unknown = certify(data=replace(robots, shares=None), k=3)
    assert unknown.numbers["priors"] == "estimated"
    assert unknown.bound < known.bound
    assert unknown.verdict == "certified"


def test_hiding_and_avoiding_a_column(robots):
    hidden = certify(data=robots, k=3, hide=("jacket",))
    masks = np.unpackbits(hidden.arrays["merlin_mask"], axis=-1)
    hers = np.unpackbits(hidden.arrays["morgana_mask"], axis=-1)
    assert not masks[:, 4].any()
    assert not hers[..., 4].any()
    assert hidden.verdict == "vacuous"
    use = interpret.column_use("jacket", robots, k=3)
    assert use.audits["allowed"].verdict == "certified"
    assert use.audits["avoided"].numbers["attacks"] == ["replay", "exhaustive"]
    with pytest.raises(ValueError, match="no column 'coat'; it has head"):
        interpret.column_use("coat", robots)


def test_a_black_box_is_explained_in_place_of_the_labels(robots):
    task = robots.relabelled(lambda codes: (codes[:, 5] == 1).astype(int))
    found = certify(data=task, k=1)
    assert found.verdict == "certified"
    assert found.explanation(0)["feature"].startswith("tie ")
    assert "black box" in found.task.note


def test_a_scikit_learn_model_that_was_fitted_on_masked_rows(robots):
    sklearn_tree = pytest.importorskip("sklearn.tree")
    rng = np.random.default_rng(0)
    rows = robots.train
    codes = np.repeat(rows.codes, 8, axis=0)
    mask = rng.random(codes.shape) < 0.6
    tree = sklearn_tree.DecisionTreeClassifier(min_samples_leaf=20, random_state=0)
    tree.fit(np.where(mask, codes, -1), np.repeat(rows.labels, 8))
    arthur = Thresholded(lambda codes, mask: tree.predict_proba(codes), 0.9)
    found = certify(arthur, Rules(robots, 3), robots, k=3)
    assert min(found.completeness) > 0.5
    assert found.numbers["attacks"] == ["replay", "exhaustive"]


def test_attributions_become_masks_with_ties_broken_at_random(robots):
    flat = top_k(lambda codes, labels: np.zeros(codes.shape), 2, seed=3)
    mask = flat(robots.audit.codes, robots.audit.labels)
    assert (mask.sum(1) == 2).all()
    assert (mask.mean(0) > 0.2).all()  # not always the first units
    with pytest.raises(InterpretError, match="NaN"):
        top_k(lambda c, y: np.full(c.shape, np.nan), 1)(robots.audit.codes, robots.audit.labels)


def ones(codes, labels):
    return np.ones(codes.shape, bool)


def ties(codes, labels):
    return np.eye(6, dtype=bool)[np.full(len(codes), 5)]


@pytest.mark.parametrize(
    ("how", "error", "text"),
    [
        ({"k": 0}, ValueError, "k=0 units"),
        ({"k": 7}, ValueError, "k=7 units cannot be shown of the 6"),
        ({"kappa": 0.5}, ValueError, "kappa=0.5 is impossible"),
        ({"alpha": 0.0}, ValueError, "alpha=0.0 is impossible"),
        ({"confidence": 1.0}, ValueError, "no level"),
        ({"confidence": 0.0}, ValueError, "no level"),
        ({"shift": 1.0}, ValueError, "no distance of distributions"),
        ({"attacks": ("exhaustive",), "budget": 10}, OverBudget, "would look at 8,400 features"),
        ({"attacks": ("frank-wolfe",)}, ValueError, "needs an Arthur made by extremal interpret"),
        ({"attacks": ("magic",)}, ValueError, "there is no attack 'magic'"),
        ({"samples": 10**6}, ValueError, "cannot be taken"),
        ({"explainer": "merlin"}, ValueError, "name the run"),
        ({"classifier": "lookups"}, ValueError, "module:function"),
        ({"purity": 0.5}, ValueError, "0.5 < purity <= 1"),
    ],
)
def test_refused_options(robots, how, error, text):
    with pytest.raises(error, match=text):
        certify(data=robots, config=interpret.CertifyConfig(**how))


def test_refused_players(robots):
    def answers(value):
        return lambda codes, mask: np.broadcast_to(np.asarray(value, float), (len(codes), 2))

    rules = Rules(robots, 2)
    with pytest.raises(InterpretError, match="cannot say don't know"):
        certify(answers([0.5, 0.5]), rules, robots)
    with pytest.raises(InterpretError, match="NaN or infinity"):
        certify(lambda c, m: np.full((len(c), 3), np.nan), rules, robots)
    with pytest.raises(InterpretError, match=r"classes are 0\.\.1"):
        certify(lambda c, m: np.full(len(c), 2), rules, robots)
    with pytest.raises(InterpretError, match="array of shape"):
        certify(lambda c, m: np.zeros((len(c), 9)), rules, robots)
    with pytest.raises(InterpretError, match="shows 6 to 6 units"):
        certify(None, ones, robots, k=2)
    with pytest.raises(InterpretError, match="does not have"):
        certify(None, lambda c, y: Shown(rules(c, y), c + 1), robots, k=2)
    with pytest.raises(InterpretError, match="hidden unit"):
        certify(None, ties, robots.hide("tie"), k=2)


def test_arthur_never_sees_what_is_hidden(robots):
    seen = []

    def arthur(codes, mask):
        seen.append((codes[~mask] == -1).all())
        return np.full(len(codes), -1)

    certify(arthur, Rules(robots, 2), robots, k=2)
    assert seen
    assert all(seen)


def test_rows_that_overlap(robots):
    shared = replace(robots, reference=Rows(robots.audit.codes, robots.audit.labels,
                                            robots.audit.ids))  # fmt: skip
    with pytest.raises(InterpretError, match="400 audit rows are also in the reference pool"):
        certify(data=shared)
    trained = replace(robots, train=robots.audit)
    with pytest.warns(interpret.OverlapWarning, match="400 audit rows were used for training"):
        certify(data=trained, k=3)


def test_too_few_rows_say_how_many_are_needed(robots):
    few = robots.sampled(8)
    with pytest.raises(TooFewSamples, match=r"At least \d+ rows of each class are needed"):
        certify(data=few, k=3, confidence=0.999)


def test_data_that_are_refused():
    codes = np.array([[0.5, 1.0], [1.0, 0.0]])
    with pytest.raises(ValueError, match="hold fractions"):
        make_task(codes, np.array([0, 1]), name="x")
    with pytest.raises(ValueError, match="NaN"):
        make_task(codes * np.nan, np.array([0, 1]), name="x")
    with pytest.raises(ValueError, match="bins=0"):
        bin_columns(codes, codes, ["a", "b"], 0)
    labels = np.zeros(40, int)
    labels[0] = 1
    with pytest.raises(ValueError, match="has no audit row"):
        make_task(np.zeros((40, 2), int), labels, name="x", class_names=["a", "b", "c"])
    for options, text in (
        ({"data": "mons"}, "there are no data 'mons'"),
        ({"data": "adult"}, "give path="),
        ({"data": "monks", "path": "x"}, "is embedded"),
        ({"data": "monks", "target": "tie"}, "has one target"),
        ({"data": "monks", "classes": ("1",)}, "chosen of images only"),
    ):
        with pytest.raises(ValueError, match=text):
            load_task(**options)


def test_a_table_of_ones_own(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["age,colour,good"]
    for _ in range(900):
        age, colour = rng.integers(18, 80), rng.choice(["red", "blue"])
        lines.append(f"{age},{colour},{'yes' if age > 50 else 'no'}")
    lines.append("30,,no")  # a missing value: left out
    file = tmp_path / "own.csv"
    file.write_text("\n".join(lines))
    task = load_task(data="table", path=str(file), target="good")
    assert [u.name for u in task.units] == ["age", "colour"]
    assert sum(len(rows) for _, rows in task.parts()) == 900
    found = certify(data=task, k=1, purity=0.8)
    assert found.verdict == "certified"
    assert "age" in found.explanation(0)["feature"]
    file.write_text("a,b\n1\n")
    with pytest.raises(InterpretError, match="row 2 has 1 values for 2 columns"):
        load_task(data="table", path=str(file), target="a")


def test_run_folder_report_and_shell(tmp_path, capsys):
    out = tmp_path / "run"
    words = ["interpret", "certify", "--data", "monks", "--k", "3", "--samples", "300"]
    assert cli.main([*words, "--out", str(out)]) == 0
    assert "CERTIFIED" in capsys.readouterr().out
    assert verify.file(out).accepted
    report = (out / "report.html").read_text()
    assert "alpha &gt;= 1" in report
    assert "Morgana" in report
    assert cli.main([*words, "--out", str(out)]) == 2
    assert "--force" in capsys.readouterr().err
    assert cli.main([*words, "--out", str(out), "--resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "certified"
    assert cli.main(["interpret", "certify", "--k", "9"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_picture_over_k_and_gamma():
    drawn = interpret.sweep_picture([(2, 2.0, 0.8, 0.2), (6, 2.0, 0.97, 0.65), (2, 0.0, 0.5, 0.1)])
    assert drawn.data.startswith(b"<?xml")
    with pytest.raises(ValueError, match="no point"):
        interpret.sweep_picture([])


def test_an_audit_needs_no_torch():
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch':\n"
        "            raise ModuleNotFoundError('absent', name='torch')\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from extremal import interpret\n"
        "found = interpret.certify(data='monks', k=3, samples=200)\n"
        "assert found.verdict == 'certified'\n"
        "try:\n    interpret.train\nexcept ImportError as e:\n    print(e)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "pip install 'extremal[interpret]'" in ended.stdout


def test_adult(shared_data):
    """The real table: twelve columns, balanced classes, exhaustive Morgana."""
    task = load_task(data="adult", path=str(shared_data / "adult"), target="sex")
    assert task.d == 12
    assert len(task.audit) == 9826
    assert {u.name for u in task.units} >= {"income", "relationship", "age"}
    found = certify(data=task, k=1, purity=0.7)
    assert found.numbers["attacks"] == ["replay", "exhaustive"]
    assert found.verdict == "certified"
    assert found.bound < found.precision
    dropped = load_task(data="adult", path=str(shared_data / "adult"), target="sex",
                        drop=("marital-status", "relationship"))  # fmt: skip
    assert dropped.d == 10
