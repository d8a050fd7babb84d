"""One short, checkable answer from every area beside the main job."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from extremal.lab import Picture, Text

from ._tour import Stop


def other_areas(folder: Path) -> Iterator[Stop]:
    """Yield an answer from each area, in the order of the table below."""
    for answer in _ANSWERS:
        yield answer(folder)


def _compression(folder: Path) -> Stop:
    """One small network over a region, cut to a third of its cost."""
    from extremal import compression, training

    begun = time.perf_counter()
    aware = training.fit(
        model="cnn", epochs=8, threads=1, optimizer="sfw", region="group-k-support",
        coupled=True, width=10.0, dampening=0.0, momentum_seed="gradient",
    )  # fmt: skip
    small = compression.compress(
        aware, kind="filters", target="3x macs", threads=1, out=folder / "compression"
    )
    assert small.certificate is not None  # it was written
    fewer = small.before["macs"] / small.after["macs"]
    return Stop(
        "compression",
        "How well does a third of a network read digits, without retraining?",
        f"{small.accuracy['recalibrated']:.1%} (whole {small.accuracy['dense']:.1%}) with "
        f"{fewer:.1f} times fewer multiply-accumulates, channels really gone",
        small.certificate,
        time.perf_counter() - begun,
        [
            Text("A smaller network", heading=True),
            small.table(),
            Picture(
                (folder / "compression" / "figures" / "layers.svg").read_bytes(),
                "Cost of each layer before and after its channels were cut out.",
            ),
        ],
    )


def _frankwolfe(folder: Path) -> Stop:
    """A sparse logistic regression with a bound on how far it is from the best."""
    from extremal import frankwolfe as fw

    begun = time.perf_counter()
    best = fw.minimize("breast-cancer", region="l1", radius=5, gap=1e-6, out=folder / "frankwolfe")
    assert best.certificate is not None  # it was saved
    used = int((best.x != 0).sum())
    return Stop(
        "frankwolfe",
        "Which few measurements tell breast cancer apart?",
        f"{used} of {best.x.size} weights in an L1 ball; the loss {best.value:.6f} is within "
        f"{best.gap:.1e} of the best possible",
        best.certificate,
        time.perf_counter() - begun,
        [Text("An optimum with a bound", heading=True), best.table()],
    )


def _flows(folder: Path) -> Stop:
    """Selfish routing on Braess' network; all in rationals, so nothing is compiled."""
    from extremal import flows

    begun = time.perf_counter()
    flow = flows.nash("braess")
    best = flows.optimum("braess", volume=100, braess=True)
    certificate = flow.save(folder / "flows")
    drawn = flows.plot(flow, kind="phases", out=folder / "flows" / "phases.svg", force=True)
    return Stop(
        "flows",
        "When have 100 selfish drivers crossed Braess' network?",
        f"at {best.completion}, a plan needs {best.quickest}: price of anarchy "
        f"{best.price_of_anarchy}; without road {best.braess_arcs[0]} they are faster",
        certificate,
        time.perf_counter() - begun,
        [
            Text("Selfish traffic", heading=True),
            Picture(
                drawn.path.read_bytes(),
                "The four phases of the equilibrium: width says flow, orange roads have a queue.",
            ),
        ],
    )


def _sos(folder: Path) -> Stop:
    """A proof with its squares, and a polynomial that is nonnegative without being one."""
    from extremal import sos

    begun = time.perf_counter()
    text = "2*x^4 + 2*x^3*y - x^2*y^2 + 5*y^4"
    proved = sos.certify(text, out=folder / "sos")
    motzkin = sos.certify("x^4*y^2 + x^2*y^4 + 1 - 3*x^2*y^2", multipliers=1)
    assert isinstance(proved, sos.Result)  # one polynomial, one result
    assert isinstance(motzkin, sos.Result)
    assert proved.path is not None  # it was proved
    shown = folder / "sos" / "figures" / "basis.svg"
    return Stop(
        "sos",
        "Is 2x^4 + 2x^3y - x^2y^2 + 5y^4 a sum of squares, is Motzkin's polynomial?",
        f"yes, of {len(proved.squares)}; Motzkin's is not, which a functional proves, and yet it "
        f"is {'' if motzkin.nonnegative else 'not '}nonnegative, which a multiplier proves",
        proved.path,
        time.perf_counter() - begun,
        [
            Text("Sums of squares", heading=True),
            Text(f"{text} = {proved.as_text()}"),
            Picture(shown.read_bytes(), "What its squares may use, and what they do use."),
        ],
    )


def _tcurves(folder: Path) -> Stop:
    """Every sextic that one triangulation reaches, and one of them drawn."""
    from extremal import tcurves

    begun = time.perf_counter()
    found = tcurves.census("bat", out=folder / "tcurves")
    assert found.certificate is not None  # it was saved
    entry = found["<5 u 1<5>>"]
    drawn = tcurves.draw(found, scheme=str(entry.scheme))
    return Stop(
        "tcurves",
        "Which sextics does one triangulation reach?",
        f"{len(found)} of the 55, over {found.total:,} sign vectors; {entry.scheme} by "
        f"{entry.count} of them, <10> by none",
        found.certificate,
        time.perf_counter() - begun,
        [
            Text("Real curves of degree six", heading=True),
            Picture(
                drawn.svg.encode(),
                f"One of the {entry.count} curves with scheme {entry.scheme}; opposite points of "
                "the square's boundary are the same point.",
            ),
        ],
    )


def _llm(folder: Path) -> Stop:
    """A small random language model, built here, pruned block by block to 2:4 and repaired."""
    import json
    import string

    import torch

    from extremal import llm
    from extremal.lab import require

    tokenizers, transformers = require("tokenizers", "llm"), require("transformers", "llm")
    begun = time.perf_counter()
    model, text = folder / "llm" / "dense", folder / "llm" / "text.txt"
    model.mkdir(parents=True)
    letters = string.ascii_lowercase + " ."
    torch.manual_seed(0)
    transformers.utils.logging.disable_progress_bar()
    transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=len(letters) + 1, hidden_size=32, intermediate_size=64,
            num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=64,
        )
    ).save_pretrained(model)  # fmt: skip
    words = {c: i for i, c in enumerate([*letters, "?"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "?"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(
        tokenizers.Regex(r"[\s\S]"), "isolated"
    )
    tokenizer.save(str(model / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (model / "tokenizer_config.json").write_text(json.dumps(about))
    text.write_text("the cat sat on the mat. the dog sat on the log. " * 60)
    pruned = llm.prune(
        model, out=folder / "llm" / "pruned", pattern="2:4", update="ls", calibration=str(text),
        samples=32, window=32,
    )  # fmt: skip
    layers = [x for x in pruned.layers if x.error_masked and x.error_updated is not None]
    kept = sum((x.error_updated or 0) / (x.error_masked or 1) for x in layers) / len(layers)
    return Stop(
        "llm",
        "Prune a language model to 2:4, one block in memory at a time",
        f"{pruned.pruned:,} of {pruned.size:,} weights are zero; least squares leaves "
        f"{kept:.0%} of the layers' error (a random model: it says nothing about quality)",
        pruned.certificate,
        time.perf_counter() - begun,
        [Text("A language model", heading=True), pruned.table()],
    )


def _interpret(folder: Path) -> Stop:
    """Rules on robots under every Morgana, and what they are worth without one column."""
    from extremal import interpret

    begun = time.perf_counter()
    found = interpret.certify(data="monks", k=3, out=folder / "interpret")
    without = interpret.certify(data="monks", k=3, hide=("jacket",))
    assert found.certificate is not None  # it was saved
    return Stop(
        "interpret",
        "How far can rules on three columns of a table be trusted?",
        f"at least {100 * found.bound:.1f} % precise under every attack; without the jacket "
        f"{without.verdict}",
        found.certificate,
        time.perf_counter() - begun,
        [
            Text("Explanations with a guarantee", heading=True),
            Text("\n".join(found.sentences())),
            Picture(
                (folder / "interpret" / "figures" / "rates.svg").read_bytes(),
                "How often Merlin, the explainer, convinces, and how often each attack fails.",
            ),
        ],
    )


def _coloring(folder: Path) -> Stop:
    """Seven colours for the plane, from nothing."""
    from extremal import coloring

    begun = time.perf_counter()
    found = coloring.find(coloring.Problem.plane(7), budget="60s", grid=24, out=folder / "coloring")
    assert found.certificate is not None  # the search is deterministic and succeeds
    low, high = next((a, b) for a, b in found.spectrum(0).intervals if a <= 1 <= b)
    return Stop(
        "coloring",
        "Do seven colours suffice for the plane?",
        f"yes: {found.colouring.cells.size} cells, repeated, have no two points of one colour at "
        f"distance 1; colour 0 avoids all of [{low:.3f}, {high:.3f}]",
        found.certificate,
        time.perf_counter() - begun,
        [
            Text("Colours of the plane", heading=True),
            Picture(
                (folder / "coloring" / "figures" / "colouring.png").read_bytes(),
                "Three periods; points on the circle are at distance 1 from its centre.",
            ),
        ],
    )


_ANSWERS: tuple[Callable[[Path], Stop], ...] = (
    _frankwolfe,
    _compression,
    _llm,
    _interpret,
    _flows,
    _coloring,
    _sos,
    _tcurves,
)
