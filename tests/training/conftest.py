"""What the tests of this area share."""

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test reads or fills the user's cache of decoded images."""
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / f"cache-{name}"))
