"""Profiles and fixtures that every area's tests share."""

import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# One numerical thread a test process: the suite runs on all cores through xdist, and results are
# bit-identical only with a fixed number of threads. Set before numpy or torch is loaded.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

settings.register_profile("dev", deadline=None)
settings.register_profile(
    "ci", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; tests that need it skip where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data sets are not beside this checkout")
    return folder


@pytest.fixture
def ray_cluster() -> Iterator[None]:
    """A local Ray cluster with two worker processes that find this checkout."""
    ray = pytest.importorskip("ray")
    path = os.pathsep.join(p for p in sys.path if p)
    variables = {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray's own
        ray.init(
            "local", num_cpus=2, include_dashboard=False, configure_logging=False,
            log_to_driver=False, runtime_env={"env_vars": variables},
        )  # fmt: skip
        try:
            yield
        finally:
            ray.shutdown()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where everything is installed and at hand, a skipped test is a failure: it checks nothing."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not os.environ.get("EXTREMAL_NO_SKIPS"):
        return
    skipped = [r for r in reporter.stats.get("skipped", []) if "gpu" not in r.keywords]
    if skipped:
        reporter.write_line(f"{len(skipped)} test(s) were skipped although none may be here.")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
