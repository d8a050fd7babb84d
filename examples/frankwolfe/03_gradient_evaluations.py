"""Loss against gradient evaluations and time: stochastic estimators for a convex finite sum.

Run: python examples/frankwolfe/03_gradient_evaluations.py --out figures [--svm FILE --radius R]

Logistic regression over an L1 ball, by default breast cancer with radius 5, every method with the
same batches of 2 % and its own steps. With batches that do not grow plain SFW stalls, and AdaSFW
with it; averaging or variance reduction helps first, the adaptive metric second.
"""

import argparse
import tempfile
from pathlib import Path

from extremal import frankwolfe as fw
from extremal.frankwolfe import read_svmlight
from extremal.lab import PALETTE, figure_bytes, new_figure

METHODS = {
    "SFW": {"method": "sfw"},
    "MSFW": {"method": "msfw"},
    "SVRF": {"method": "svrf"},
    "SPIDER-FW": {"method": "spider"},
    "1-SFW": {"method": "1-sfw"},
    "ORGFW": {"method": "orgfw"},
    "CSFW": {"method": "csfw"},
    "SCGS": {"method": "scgs"},
    "AdaSFW": {"method": "sfw", "adaptive": True},
    "AdamSFW": {"method": "sfw", "adaptive": True, "adam": True, "eta": 0.1},
    "AdaSVRF": {"method": "svrf", "adaptive": True},
    "AdaCSFW": {"method": "csfw", "adaptive": True},
}


def main() -> None:
    """Run every method and draw."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--svm", type=Path)
    parser.add_argument("--radius", type=float, default=5.0)
    parser.add_argument("--passes", type=float, default=20.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.svm:
        X, y = read_svmlight(options.svm)
    else:
        from sklearn.datasets import load_breast_cancer

        X, y = load_breast_cancer(return_X_y=True)
        X = (X - X.mean(0)) / X.std(0)
    model, region = fw.LogisticLoss(X, y), fw.L1Ball(options.radius)
    best = fw.minimize(model, region, gap=1e-10)
    least = best.value - best.gap
    batch = max(1, model.n // 50)

    figure, left = new_figure(width=9.0, height=4.2)
    left.set_axis_off()
    left, right = figure.subplots(1, 2, sharey=True)
    for i, (name, chosen) in enumerate(METHODS.items()):
        found = fw.minimize(
            model, region, batch_size=batch, passes=options.passes, iterations=1_000_000, **chosen
        )
        above = [max(row.value - least, 1e-16) for row in found.trace]
        print(
            f"{name:10} above the least {min(above):.1e} after {found.gradients:.0f} passes, "
            f"{found.lmo_calls} oracle calls, {found.trace[-1].seconds:.2f} s"
        )
        style = {"color": PALETTE[i % len(PALETTE)], "linestyle": "-" if i < 8 else "--"}
        left.semilogy([row.gradients for row in found.trace], above, label=name, **style)
        right.semilogy([row.seconds for row in found.trace], above, **style)
    left.set_xlabel("gradient evaluations / examples")
    left.set_ylabel("loss above the least")
    right.set_xlabel("seconds")
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", fontsize=8)
    out = options.out or Path(tempfile.mkdtemp())
    out.mkdir(parents=True, exist_ok=True)
    (out / "gradient-evaluations.svg").write_bytes(figure_bytes(figure))
    (out / "gradient-evaluations.png").write_bytes(figure_bytes(figure, "png"))
    print(f"pictures in {out}")


if __name__ == "__main__":
    main()
