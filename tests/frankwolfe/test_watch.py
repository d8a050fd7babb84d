"""What the host learns of bad gradients on a GPU, with a stand-in for the GPU's events."""

import pytest

torch = pytest.importorskip("torch")

from extremal.frankwolfe import _cuda  # noqa: E402


class Event:
    """An event whose work is done when the test says so."""

    done = True

    def record(self):
        """Take note of nothing."""

    def query(self):
        """Whether the work is done."""
        return Event.done


@pytest.fixture
def watch(monkeypatch):
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *a, pin_memory=False, **k: empty(*a, **k))
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(Event, "done", True)
    return _cuda.Watch()


FINE, BAD = torch.tensor([0, 0, 0]).to(torch.int8), torch.tensor([0, 1, 0]).to(torch.int8)


def test_a_bad_gradient_is_reported_once_and_late(watch):
    assert watch.take(BAD) is None
    assert watch.take(FINE) == 1
    assert watch.take(FINE) is None
    assert watch.take(FINE) is None


def test_flags_that_come_while_others_are_on_their_way_are_kept(watch):
    assert watch.take(FINE) is None
    Event.done = False
    assert watch.take(BAD) is None
    assert watch.take(FINE) is None
    Event.done = True
    assert watch.take(FINE) is None  # sent now
    assert watch.take(FINE) == 1


def test_nothing_is_asked_while_a_graph_is_recorded(watch, monkeypatch):
    assert watch.take(BAD) is None
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert watch.take(FINE) is None
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    assert watch.take(FINE) == 1
