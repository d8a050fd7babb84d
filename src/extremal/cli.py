"""The shell: `extremal AREA VERB` is `extremal.AREA.VERB(...)`, and nothing more happens here.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done or accepted, 1 rejected or
refuted, 2 unusable input, 3 an honest open end. The table below is what `extremal --help` prints
without importing anything; a test compares it with the areas' doors.
"""

import contextlib
import dataclasses
import importlib
import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

from extremal import __version__

AREAS: dict[str, tuple[str, dict[str, str]]] = {
    "training": (
        "data sets, networks and one readable training loop",
        {"fit": "train a network"},
    ),
    "frankwolfe": (
        "convex regions, optimizers over them, optima with certificates",
        {"minimize": "minimise a convex function over a region"},
    ),
    "pruning": (
        "prune and retrain, with exact counts",
        {
            "prune": "prune a trained network to a stated sparsity and retrain it",
            "soup": "prune, retrain several times from there, and average",
        },
    ),
    "compression": (
        "one training, any ratio; then a file that is smaller and a network that is faster",
        {
            "sweep": "measure one network at every kind and ratio",
            "compress": "make it smaller, by a ratio or to a target",
            "export": "write it for deployment and measure it on this machine",
        },
    ),
    "flows": (
        "Nash flows over time, packet simulation, and how far apart they are",
        {
            "nash": "compute the exact dynamic equilibrium of a network",
            "nash-to": "the same from many origins to one destination",
            "simulate": "load fluid, packets or MATSim-like vehicles on fixed routes",
            "refine": "measure how far packets are from the equilibrium, level by level",
            "gap": "say how far from equilibrium a run of any simulator is",
            "plot": "draw phases, queues, curves or an animation",
            "optimum": "compare it with the quickest flow; find arcs better closed",
        },
    ),
    "llm": (
        "prune language models in a stream, repair them, save a plain folder",
        {
            "prune": "prune a Hugging Face causal language model block by block",
            "retrain": "train few parameters of a pruned model, zeros kept",
            "evaluate": "measure the perplexity of a model on a text",
            "pack": "write a pruned folder without its zeros",
            "unpack": "write a packed folder as the dense folder it came from",
        },
    ),
    "sos": (
        "sums of squares: exact proofs, exact refutations, learned bases",
        {
            "certify": "decide whether a polynomial is a sum of squares, with a proof",
            "bound": "find the best certified lower bound, everywhere or on a set",
            "train": "train an oracle that proposes the monomials of squares",
            "bench": "measure how proofs are found on sums of squares with a known basis",
        },
    ),
    "interpret": (
        "explanations with a guarantee, and an audit of any explainer",
        {
            "train": "train a Merlin-Arthur classifier",
            "explain": "decide one row and show why, or abstain",
            "certify": "attack a classifier and bound what its explanations are worth",
        },
    ),
    "coloring": (
        "colourings of the plane and of space, with proofs for all of it",
        {
            "find": "look for a colouring that keeps every rule, certify and draw it",
            "formalise": "turn a pattern into exact cells on a grid",
            "repair": "remove conflicts, or free cells, of a cell colouring",
            "refine": "trace polygons, optimise their vertices, round them to rationals",
            "certify": "decide exactly whether a colouring keeps its rules",
            "plot": "draw several periods, circles and conflicts",
        },
    ),
    "tcurves": (
        "real curves patched from triangulations: schemes, exact census, search",
        {
            "scheme": "the real scheme of one sign vector",
            "census": "count the sign vectors of every scheme that a triangulation reaches",
            "sample": "draw sign vectors of a scheme, uniformly",
            "search": "look for triangulations that reach schemes",
            "draw": "draw a curve, or a sheet of all of them",
            "catalogue": "show a witness of every scheme of a degree",
        },
    ),
}
TOP = {
    "demo": "the main job and one checkable answer from every area",
    "verify": "check a certificate with independent code",
    "report": "write one page about a run, its certificate checked anew",
    "reproduce": "run a row of a benchmark table again and say whether it agrees",
    "cite": "print the papers behind an area",
}
_MODULES = {
    "demo": "extremal.demo",
    "report": "extremal.lab",
    "reproduce": "extremal.reproduce",
}

_PAPERS = {
    "coloring": (
        "Mundinger, Zimmer, Kiem, Spiegel, Pokutta: Neural discovery in mathematics: do machines "
        "dream of colored planes? ICML 2025, arXiv:2501.18527 (relaxation, formalisation).",
        "Mundinger, Pokutta, Spiegel, Zimmer: Extending the continuum of six-colorings. 2024, "
        "arXiv:2404.05509.",
        "Croft: Incidence incidents. Eureka 30, 1967 (tortoises).",
        "Soifer: A six-coloring of the plane. J. Combin. Theory A 61, 1992. Hoffman, Soifer: "
        "Another six-coloring of the plane. Discrete Math. 150, 1996.",
        "Coulson: A 15-colouring of 3-space omitting distance one. Discrete Math. 256, 2002.",
        "Pritikin: All unit-distance graphs of order 6197 are 6-colorable. J. Combin. Theory B "
        "73, 1998. Parts: What percent of the plane can be properly 5- and 6-colored? 2020.",
        "Ambrus, Csiszarik, Matolcsi, Varga, Zsamboki: The density of planar sets avoiding unit "
        "distances. Math. Programming, 2023.",
    ),
    "frankwolfe": (
        "Pokutta, Spiegel, Zimmer: Deep neural network training with Frank-Wolfe. 2020, "
        "arXiv:2010.07243 (SFW over regions, rescaling, region sizes).",
        "Combettes, Spiegel, Pokutta: Projection-free adaptive gradients for large-scale "
        "optimization. 2020, arXiv:2009.14114 (AdaSFW, AdaSVRF, AdaCSFW, AdamSFW).",
        "Zimmer, Spiegel, Pokutta: Compression-aware training of neural networks using "
        "Frank-Wolfe. 2022, arXiv:2205.11921 (k-support regions of entries, groups, spectra).",
        "Pethick et al.: Training deep learning models with norm-constrained LMOs. 2025, "
        "arXiv:2502.07529 (Scion).",
        "Amsel, Persson, Musco, Gower: The Polar Express. 2025, arXiv:2505.16932.",
        "Jaggi: Revisiting Frank-Wolfe. ICML 2013. Lacoste-Julien, Jaggi: On the global linear "
        "convergence of Frank-Wolfe optimization variants. NeurIPS 2015 (away, pairwise).",
        "Braun, Pokutta, Zink: Lazifying conditional gradient algorithms. ICML 2017 (lazy).",
        "Pedregosa, Negiar, Askari, Jaggi: Linearly convergent Frank-Wolfe with backtracking "
        "line-search. AISTATS 2020.",
        "Argyriou, Foygel, Srebro: Sparse prediction with the k-support norm. NeurIPS 2012.",
    ),
    "compression": (
        "Zimmer, Spiegel, Pokutta: Compression-aware training of neural networks using "
        "Frank-Wolfe. 2022, arXiv:2205.11921 (regions of filters and ranks, one training).",
        "Miao, Luo, Chen, Chen, Liu, Wang: Learning pruning-friendly networks via Frank-Wolfe: "
        "one-shot, any-sparsity, and no retraining. ICLR 2022 (SFW-pruning, SFW-Init).",
        "Wen et al.: Learning structured sparsity in deep neural networks. NeurIPS 2016 (SSL).",
        "Alvarez, Salzmann: Learning the number of neurons in deep networks. NeurIPS 2016 (GLT).",
        "Ding et al.: Auto-balanced filter pruning. AAAI 2018 (ABFP).",
        "Idelbayev, Carreira-Perpiñán: Low-rank compression of neural nets. CVPR 2020 (LC).",
        "Fang, Ma, Song, Mi, Wang: DepGraph. CVPR 2023 (dependency graph, torch-pruning).",
        "Li et al.: Pruning filters for efficient ConvNets. ICLR 2017 (norms of filters).",
        "He et al.: Filter pruning via geometric median. CVPR 2019 (FPGM).",
        "Liu et al.: Network slimming. ICCV 2017 (scales of normalisation).",
        "Molchanov et al.: Importance estimation for neural network pruning. CVPR 2019 (Taylor).",
    ),
    "flows": (
        "Ziemke, Sering, Vargas Koch, Zimmer, Nagel, Skutella: Flows over time as continuous "
        "limits of packet-based network simulations. Transp. Res. Procedia 52, 2021.",
        "Zimmer: Nash flows over time: models and computation. BSc thesis, 2017 (MILP baselines).",
        "Koch, Skutella: Nash equilibria and the price of anarchy for flows over time. 2011.",
        "Cominetti, Correa, Larré: Dynamic equilibria in fluid queueing networks. Oper. Res. 2015.",
        "Sering, Vargas Koch: Nash flows over time with spillback. SODA 2019, arXiv:1807.05862.",
        "Sering, Vargas Koch, Ziemke: Convergence of a packet routing model to flows over time. "
        "2021, arXiv:2105.13202.",
        "Olver, Sering, Vargas Koch: Continuity, uniqueness and long-term behavior of Nash flows "
        "over time. 2021, arXiv:2111.06877; Convergence of approximate and packet routing "
        "equilibria to Nash flows over time. 2024, arXiv:2402.04935.",
        "Kaiser: Computation of dynamic equilibria in series-parallel networks. arXiv:2002.11428.",
        "Ziemke, Sering, Nagel: Flows over time and spillback in MATSim. ATMOS 2023.",
        "Ford, Fulkerson: Flows in networks. 1962 (temporally repeated flows).",
    ),
    "llm": (
        "Zimmer, Andoni, Spiegel, Pokutta: PERP: Rethinking the Prune-Retrain Paradigm in the Era "
        "of LLMs. arXiv:2312.15230 (parameter-efficient retraining, MaskLoRA, ScaleLoRA).",
        "Wagner, Roux, Zimmer, Pokutta: A Free Lunch in LLM Compression: Revisiting Retraining "
        "after Pruning. arXiv:2510.14444 (reconstruction).",
        "Sun, Liu, Bair, Kolter: A Simple and Effective Pruning Approach for Large Language "
        "Models. arXiv:2306.11695 (Wanda).",
        "Frantar, Alistarh: SparseGPT. arXiv:2301.00774.",
        "Zhang et al.: Plug-and-Play: An Efficient Post-Training Pruning Method for Large "
        "Language Models. ICLR 2024 (RIA).",
        "Yin et al.: Outlier Weighed Layerwise Sparsity. arXiv:2310.05175 (OWL).",
        "Zhang et al.: Dynamic Sparse No Training. arXiv:2310.08915 (DSnoT).",
        "Boža: Fast and Effective Weight Update for Pruned Large Language Models. "
        "arXiv:2401.02938 (ADMM).",
        "Meng, Behdin, Wang, Mazumder: ALPS. arXiv:2406.07831.",
        "Lu et al.: SPP: Sparsity-Preserved Parameter-Efficient Fine-Tuning. arXiv:2405.16057.",
    ),
    "pruning": (
        "Zimmer, Spiegel, Pokutta: How I Learned to Stop Worrying and Love Retraining. "
        "ICLR 2023, arXiv:2111.00843 (retraining schedules, BIMP).",
        "Zimmer, Spiegel, Pokutta: Sparse Model Soups. ICLR 2024, arXiv:2306.16788 (soup).",
        "Wortsman et al.: Model soups. ICML 2022, arXiv:2203.05482 (greedy merging).",
        "Hendrycks, Dietterich: Benchmarking neural network robustness to common corruptions. "
        "ICLR 2019 (corrupted images).",
        "Han, Pool, Tran, Dally: Learning both weights and connections for efficient neural "
        "networks. NeurIPS 2015 (magnitude pruning, FT).",
        "Renda, Frankle, Carbin: Comparing rewinding and fine-tuning in neural network pruning. "
        "ICLR 2020 (LRW).",
        "Le, Hua: Network pruning that matters. ICLR 2021 (SLR, CLR).",
        "Gale, Elsen, Hooker: The state of sparsity in deep neural networks. 2019 (uniform+).",
        "Evci, Gale, Menick, Castro, Elsen: Rigging the lottery. ICML 2020 (ERK).",
        "Lee, Park, Mo, Ahn, Shin: Layer-adaptive sparsity for the magnitude-based pruning. "
        "ICLR 2021 (LAMP).",
        "Zhu, Gupta: To prune, or not to prune. 2017 (GMP).",
        "Ding et al.: Global sparse momentum SGD. NeurIPS 2019 (GSM).",
        "Carreira-Perpiñán, Idelbayev: Learning-compression algorithms for neural net pruning. "
        "CVPR 2018 (LC).",
        "Lin, Stich, Barba, Dmitriev, Jaggi: Dynamic model pruning with feedback. ICLR 2020 (DPF).",
        "Wortsman, Farhadi, Rastegari: Discovering neural wirings. NeurIPS 2019 (DNW).",
        "Kusupati et al.: Soft threshold weight reparameterization. ICML 2020 (STR).",
        "Savarese, Silva, Maire: Winning the lottery with continuous sparsification. "
        "NeurIPS 2020 (CS).",
        "Liu, Xu, Shi, Cheung, So: Dynamic sparse training. ICLR 2020 (DST).",
    ),
    "sos": (
        "Pelleriti, Spiegel, Liu, Martínez-Rubio, Zimmer, Pokutta: Neural sum-of-squares: "
        "certifying the nonnegativity of polynomials with transformers. ICLR 2026, "
        "arXiv:2510.13444 (learned bases, repair, cascade).",
        "Reznick: Extremal PSD forms with few terms. Duke Math. J. 45, 1978 (Newton polytopes).",
        "Peyrl, Parrilo: Computing sum of squares decompositions with rational coefficients. "
        "Theor. Comput. Sci. 409, 2008 (rounding).",
        "Wang, Magron, Lasserre: TSSOS. SIAM J. Optim. 31, 2021, arXiv:1912.08899; Chordal-TSSOS. "
        "2021, arXiv:2003.03210 (term sparsity).",
        "Helmberg, Rendl, Vanderbei, Wolkowicz: An interior-point method for semidefinite "
        "programming. SIAM J. Optim. 6, 1996 (the solver).",
        "Rump: Verification of positive definiteness. BIT 46, 2006 (exact tests by floats).",
        "Putinar: Positive polynomials on compact semi-algebraic sets. Indiana Univ. Math. J. 42, "
        "1993 (constraints).",
        "Scheiderer: Sums of squares of polynomials with rational coefficients. J. Eur. Math. "
        "Soc. 18, 2016 (real squares without rational ones).",
    ),
    "interpret": (
        "Wäldchen, Sharma, Turan, Zimmer, Pokutta: Interpretability guarantees with Merlin-Arthur "
        "classifiers. AISTATS 2024, arXiv:2206.00759.",
        "Wäldchen: Hardness of deceptive certificate selection. 2023, arXiv:2306.04505 "
        "(correlation of features).",
        "Macdonald, Besançon, Pokutta: Interpretable neural networks with Frank-Wolfe: sparse "
        "relevance maps and relevance orderings. ICML 2022, arXiv:2110.08105 (FW-RDE).",
        "Chen, Song, Wainwright, Jordan: Learning to explain. ICML 2018 (L2X).",
        "Jethani, Sudarshan, Aphinyanaphongs, Ranganath: Have we learned to explain? AISTATS 2021 "
        "(REAL-X, EVAL-X).",
        "Dabkowski, Gal: Real time image saliency for black box classifiers. NeurIPS 2017 (gate).",
        "Sundararajan, Taly, Yan: Axiomatic attribution for deep networks. ICML 2017 (integrated "
        "gradients).",
        "Clopper, Pearson: The use of confidence or fiducial limits illustrated in the case of the "
        "binomial. Biometrika 26, 1934.",
    ),
    "tcurves": (
        "Geiselmann, Joswig, Kastner, Mundinger, Pokutta, Spiegel, Wack, Zimmer: Fast isotopy "
        "computation for T-curves. 2026, arXiv:2604.09221.",
        "Geiselmann, Joswig, Kastner, Mundinger, Pokutta, Spiegel, Wack, Zimmer: 121 patchworked "
        "curves of degree seven. 2026, arXiv:2602.06888 (bat, moth, cen, spl, fra).",
        "Viro: Patchworking real algebraic varieties. 2006, arXiv:math/0611382.",
        "Itenberg, Viro: Patchworking algebraic curves disproves the Ragsdale conjecture. Math. "
        "Intelligencer 18, 1996.",
        "Haas: Les multilucarnes: nouveaux contre-exemples a la conjecture de Ragsdale. C. R. "
        "Acad. Sci. Paris 320, 1995.",
        "Joswig, Vater: Real tropical hyperfaces by patchworking in polymake. 2020, "
        "arXiv:2003.06326 (.pcom files).",
    ),
    "training": (
        "He, Zhang, Ren, Sun: Deep residual learning for image recognition. CVPR 2016 (ResNet).",
        "Simonyan, Zisserman: Very deep convolutional networks. ICLR 2015 (VGG).",
        "Zagoruyko, Komodakis: Wide residual networks. BMVC 2016 (WideResNet).",
        "Krizhevsky: Learning multiple layers of features from tiny images. 2009 (CIFAR-10).",
        "LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document "
        "recognition. Proc. IEEE 1998 (MNIST).",
        "Guo, Pleiss, Sun, Weinberger: On calibration of modern neural networks. ICML 2017 (ECE).",
    ),
}


class _Usage(Exception):
    """The words of a command are off; the text says which."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; the `extremal` script exits with it."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            from extremal.lab import full_disk_said

            with full_disk_said(None):
                return _run(words)
    except _Usage as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        return _complain("interrupted; what was finished is kept, continue with --resume.")
    except BrokenPipeError:  # the reader of our output has gone, as in `| head`
        sys.stderr.close()
        return 2
    except Exception as error:
        if not _is_for_the_user(error):
            raise
        return _complain(_text_of(error))


def _run(words: list[str]) -> int:
    if not words or words[0] in {"-h", "--help"}:
        print(_help())
        return 0
    if words[0] == "--version":
        print(__version__)
        return 0
    first, rest = words[0], words[1:]
    if first == "verify":
        return _verify(rest)
    if first == "cite":
        return _cite(rest)
    if first in _MODULES:
        with _extra("all"):
            verb = getattr(importlib.import_module(_MODULES[first]), first)
            return _call(verb, f"extremal {first}", rest)
    if first not in AREAS:
        raise _Usage(
            f"{first!r} is neither an area nor a command; there are "
            f"{', '.join([*AREAS, *TOP])}. See extremal --help."
        )
    verbs = AREAS[first][1]
    if not rest or rest[0] in {"-h", "--help"}:
        print(_help_of(first))
        return 0
    if rest[0] not in verbs:
        raise _Usage(f"{first} has no verb {rest[0]!r}; it has {', '.join(verbs)}.")
    with _extra(first):
        verb = getattr(importlib.import_module(f"extremal.{first}"), rest[0].replace("-", "_"))
        return _call(verb, f"extremal {first} {rest[0]}", rest[1:])


@contextlib.contextmanager
def _extra(area: str) -> Generator[None]:
    """Name the line to type where a package of an extra is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        from extremal.lab import explain_missing

        raise explain_missing(error, area) from error


def _call(verb: Callable[..., Any], name: str, words: list[str]) -> int:
    from extremal.lab import command_of

    how = command_of(verb)
    parsed = _parse(how, name, words, verb.__doc__ or "")
    inputs = [getattr(parsed, _attribute(i)) for i in how.inputs]
    extra = {flag: getattr(parsed, flag) for flag in how.flags}
    answer = verb(*inputs, config=parsed.options, **extra)
    if _rank() == 0:
        print(json.dumps(answer.as_json(), indent=1) if parsed.json else answer.table().as_text())
    return int(getattr(answer, "exit_code", 0))


def _parse(how: Any, name: str, words: list[str], about: str) -> Any:
    import tyro

    positional: list[Any] = []
    for word in how.inputs:
        kind = str | None if word.endswith("?") else str
        default: dict[str, Any] = {"default": None} if word.endswith("?") else {}
        marked = Annotated[
            kind, tyro.conf.Positional, tyro.conf.arg(metavar=word.strip("?").upper())
        ]
        positional.append((_attribute(word), marked, dataclasses.field(**default)))
    flags: dict[str, Any] = {
        "out": (Path | None, "Where the results go: a folder for a run, a file for a picture."),
        "resume": (bool, "Continue the interrupted run in --out."),
        "force": (bool, "Replace what is in --out."),
    }
    fields = [
        *positional,
        (
            "options",
            tyro.conf.OmitArgPrefixes[how.options],
            dataclasses.field(default_factory=how.options),
        ),
        *(
            (
                flag,
                Annotated[flags[flag][0], tyro.conf.arg(help=flags[flag][1])],
                dataclasses.field(default=None if flag == "out" else False),
            )
            for flag in how.flags
        ),
        (
            "json",
            Annotated[bool, tyro.conf.arg(help="Print the result for a machine.")],
            dataclasses.field(default=False),
        ),
    ]
    shape = dataclasses.make_dataclass("Arguments", fields, kw_only=True)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                shape,
                args=words,
                prog=name,
                description=about.split("\n\n")[0],
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise _Usage(f"{_first_words(said.getvalue())} See {name} --help.") from None


def _attribute(word: str) -> str:
    return "input_" + word.strip("?")


def _first_words(box: str) -> str:
    """The message inside the box that the parser draws, as one line."""
    words: list[str] = []
    for line in box.splitlines():
        inner = line.strip("│╭╮╰╯ ")
        if inner.startswith("─"):
            if words:
                break
            continue
        if line.startswith("│"):
            words.append(inner)
    text = " ".join(words) or " ".join(box.split())
    text = text.removeprefix("Error parsing options: ")  # the message names the option itself
    return text if text.endswith((".", "!", "?")) else text + "."


def _verify(words: list[str]) -> int:
    from extremal import verify

    machine, thorough = "--json" in words, "--thorough" in words
    files = [w for w in words if w not in {"--json", "--thorough"}]
    if any(w in {"-h", "--help"} for w in files):
        print(
            "usage: extremal verify FILE [--json] [--thorough]\n\n--thorough repeats also what "
            "takes long, where a kind has such a thing.\n"
            "Exit code: 0 accepted, 1 rejected, 2 unusable."
        )
        return 0
    if len(files) != 1 or files[0].startswith("-"):
        raise _Usage("verify takes one certificate: extremal verify FILE [--json] [--thorough].")
    verdict = verify.file(files[0], thorough=thorough)
    if machine:
        print(json.dumps(verdict.as_json(), indent=1))
    elif verdict.status == "unusable":
        return _complain(f"{verdict.path} is unusable as a certificate: {verdict.reason}")
    else:
        print(verdict.as_text())
    return verdict.exit_code


def _cite(words: list[str]) -> int:
    if len(words) != 1 or words[0] not in _PAPERS:
        raise _Usage(f"cite takes one area: {', '.join(_PAPERS)}.")
    print("\n".join(_PAPERS[words[0]]))
    return 0


def _help() -> str:
    lines = [
        "usage: extremal AREA VERB INPUT --option value --out PATH",
        "",
        "areas and their verbs:",
        *(
            f"  {area:<12} {about}\n{'':<15}{', '.join(verbs)}"
            for area, (about, verbs) in AREAS.items()
        ),
        "",
        "commands:",
        *(f"  {name:<12} {about}" for name, about in TOP.items()),
        "",
        "extremal AREA VERB --help lists the options of a verb.",
    ]
    return "\n".join(lines)


def _help_of(area: str) -> str:
    about, verbs = AREAS[area]
    return "\n".join(
        [f"extremal {area}: {about}", "", *(f"  {verb:<12} {text}" for verb, text in verbs.items())]
    )


def _is_for_the_user(error: Exception) -> bool:
    from extremal.lab import ExtremalError

    return isinstance(error, (ExtremalError, ValueError, OSError, MemoryError))


def _text_of(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:  # without "[Errno 2]"
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return str(error) or f"{type(error).__name__}, without a reason given"


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"extremal: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _complain(text: str) -> int:
    who = f"rank {_rank()}: " if _rank() else ""
    print(f"extremal: {who}{' '.join(text.split())}", file=cast("Any", sys.stderr))
    return 2


def _rank() -> int:
    """Which of the processes of `torchrun` this is; the first one speaks for all."""
    return int(os.environ["RANK"]) if {"RANK", "MASTER_ADDR"} <= os.environ.keys() else 0


if __name__ == "__main__":
    sys.exit(main())
