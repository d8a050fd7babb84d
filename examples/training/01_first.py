"""Train a small network on the embedded digits, look at it, and open its run again.

Run: python examples/training/01_first.py
"""

import tempfile
from pathlib import Path

from extremal import training

folder = Path(tempfile.mkdtemp())

# The data are in memory: 1,437 training and 360 test images of 8x8 pixels.
data = training.load_data("digits")
print(data.name, data.shape, len(data.train), len(data.test))

# One verb trains, measures and writes a run that can be checked.
dense = training.fit(model="cnn", data=data, epochs=5, schedule="linear", out=folder / "dense")
print(dense.table().as_text())

# What the run knows: every learning rate, and for every test image whether it was right.
print(f"{dense.history.steps} steps, the rate fell from {max(dense.history.lr)}")
print(f"{int(dense.evaluation.correct.sum())} of {dense.evaluation.n} right")
print(f"worst class: {min(dense.evaluation.per_class):.1%}")

# A run is opened again by its folder; weights that changed in the meantime are refused.
again = training.load_run(folder / "dense")
assert again.accuracy == dense.accuracy

# Below the verb lies the loop. It takes any module, and hooks at fixed places of a step.
model = training.network("mlp", in_channels=1, classes=10, image_size=8)


class CountSteps(training.Hooks):
    """The smallest hook: it counts."""

    count = 0

    def after_step(self, step: int) -> None:
        """Count one."""
        self.count += 1


hook = CountSteps()
steps = 3 * training.steps_per_epoch(data, batch_size=64)
history = training.train(
    model,
    data,
    epochs=3,
    lr=training.schedule("cosine", steps, 0.05, warmup=0.1),
    loop=training.LoopConfig(batch_size=64, weight_decay=1e-4),
    hooks=[hook],
)
assert hook.count == history.steps == steps
print(f"mlp: {training.evaluate(model, data).top1:.1%}")
