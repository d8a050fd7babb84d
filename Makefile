# The only list of commands, for a laptop and for CI. `make demo` and `make test` need nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed
PLAIN = .venv-plain

.PHONY: demo test check slow bench gpu docs wheel clean lint types plain

demo: $(INSTALLED)  ## the main job on embedded data, with pictures: runs/demo/report.html
	$(BIN)/extremal demo --out runs/demo --force

test: $(INSTALLED)  ## the whole default suite
	CI=1 $(BIN)/python -m pytest -n auto -m "not slow and not gpu and not network and not peer"

# Nothing here waits for anything else but the wheel: `make -j2 check` takes three quarters of the time.
check: plain types docs lint alone-none alone-sos  ## format, lint, types, layers, docs, and an installation without torch

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(INSTALLED)
	$(BIN)/pyright

slow: $(INSTALLED)  ## tests over 5 seconds
	CI=1 $(BIN)/python -m pytest -n auto -m slow --timeout 3000
	for extra in training frankwolfe pruning compression llm interpret coloring sos flows tcurves; do \
	  $(MAKE) alone-$$extra || exit 1; done

gpu: $(INSTALLED)  ## tests that need CUDA
	CI=1 $(BIN)/python -m pytest -m gpu

bench: $(INSTALLED)  ## every benchmark; appends to benchmarks/*/results and renews docs/benchmarks
	for file in benchmarks/*/[a-z]*.py; do $(BIN)/python $$file || exit 1; done
	$(BIN)/python benchmarks/tables.py

docs: $(INSTALLED)
	DISABLE_MKDOCS_2_WARNING=true NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

wheel:
	test -x .venv-wheel/bin/pip || $(PYTHON) -m venv .venv-wheel
	rm -f dist/extremal-*.whl
	.venv-wheel/bin/pip wheel --quiet --no-deps --wheel-dir dist .

# From a wheel, without torch: the core and the areas that work without it.
plain: wheel
	rm -rf $(PLAIN)
	$(PYTHON) -m venv $(PLAIN)
	$(PLAIN)/bin/pip install --quiet --no-compile -c constraints.txt "$$(ls dist/extremal-*.whl)[flows,sos,tcurves]" scikit-learn \
	  pytest pytest-timeout pytest-xdist pytest-benchmark hypothesis beartype
	$(PLAIN)/bin/python -c "import importlib.util as u; assert not u.find_spec('torch')"
	$(PLAIN)/bin/python -m pytest -q -n auto -m "not slow and not gpu and not peer" tests/lab tests/verify tests/frankwolfe tests/flows tests/sos tests/tcurves tests/interpret tests/test_cli.py \
	  --ignore tests/verify/test_llm_model.py --ignore tests/verify/test_pruning_model.py \
	  --ignore tests/verify/test_pruning_soup.py --ignore tests/verify/test_compression_model.py  # these make their files with torch
	$(PLAIN)/bin/extremal --help > /dev/null

# The wheel with one extra (alone-none: without) and nothing else: an answer of its area is verified.
alone-%: wheel
	rm -rf .venv-alone-$*
	$(PYTHON) -m venv .venv-alone-$*
	.venv-alone-$*/bin/pip install --quiet --no-compile -c constraints.txt "$$(ls dist/extremal-*.whl)$(if $(filter-out none,$*),[$*])"
	.venv-alone-$*/bin/python tests/wheel.py $(filter-out none,$*)
	rm -rf .venv-alone-$*

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e ".[all,dev]"
	touch $@

clean:
	rm -rf .venv .venv-* dist site runs
