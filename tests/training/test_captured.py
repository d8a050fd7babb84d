"""Training steps recorded as CUDA graphs: what is refused without a GPU (test_gpu has the rest)."""

import pytest

import extremal.pruning  # noqa: F401 - its hooks are asked too
from extremal.training import Hooks, LoopConfig


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "cpu"}, "needs a CUDA device"),
        ({"device": "cuda", "precision": "float16"}, "cannot skip the steps"),
    ],
)
def test_what_no_graph_can_do_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        LoopConfig(graph=True, **options)


def test_the_hooks_of_this_library_say_what_they_change():
    kinds: list[type[Hooks]] = [Hooks]
    for kind in kinds:
        kinds += kind.__subclasses__()
    ours = [k for k in kinds[1:] if k.__module__.startswith("extremal.")]
    assert len(ours) > 5
    assert all(kind.values_only for kind in ours)
    assert not Hooks.values_only  # a hook that says nothing is not trusted
