# Each target sets up what it needs, once: a stamp in .venv says what has been installed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: serve install test check format simulate fuzz kills guesses soak bench lock clean

# make serve PORT=7778 HOST=0.0.0.0. HOST and PORT of the environment mean something else: conda sets HOST.
given = $(if $(filter command,$(origin $1)),$2 $($1))
serve: $(VENV)/installed-run
	@STARTED_BY="$(strip make serve $(addprefix PORT=,$(call given,PORT)))" exec $(BIN)/python server.py $(call given,PORT) $(call given,HOST,--host)

install: $(VENV)/installed-run

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest --numprocesses 3

check: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q --numprocesses 2 -m "not slow"

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Days of chat from seeds: make simulate SEEDS=17, or SEEDS=0-9999.
SEEDS ?= 0-1999
simulate: $(VENV)/installed-dev
	SEEDS=$(SEEDS) $(BIN)/python -m pytest -q tests/simulation

# Coverage-guided, each target for FUZZ seconds, from the corpus in tests/fuzz.
FUZZ ?= 120
fuzz: $(VENV)/installed-fuzz
	for target in stream names server cost; do \
		$(BIN)/python tests/fuzz/fuzz.py $$target -max_total_time=$(FUZZ) -max_len=4096 -print_final_stats=1 || exit 1; done

# Kills a server so often while people chat; all that was confirmed must be there.
KILLS ?= 100
kills: $(VENV)/installed-dev
	cd tests && ../$(BIN)/python kills.py $(KILLS)

# Guesses passwords while a room chats, so many rounds; the room must not notice.
ROUNDS ?= 5
guesses: $(VENV)/installed-dev
	cd tests && ../$(BIN)/python guesses.py $(ROUNDS)

# Churn for SOAK seconds; memory and descriptors must be flat at the end.
SOAK ?= 600
soak: $(VENV)/installed-run
	$(BIN)/python tests/soak.py $(SOAK)

# Beside its peers, which are installed where they are missing; writes docs/performance.md.
bench: $(VENV)/installed-run
	$(BIN)/python bench/run.py $(BENCH)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "chatroom needs Python 3.11 or newer; name one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Hashes are checked; the package itself is installed in place, without fetching anything more.
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check

$(VENV)/installed-run: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	$(INSTALL) --requirement requirements/run.txt
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/installed-dev: requirements/dev.txt $(VENV)/installed-run
	$(INSTALL) --requirement requirements/dev.txt
	@touch $@

$(VENV)/installed-fuzz: requirements/fuzz.txt $(VENV)/installed-dev
	$(INSTALL) --requirement requirements/fuzz.txt
	@touch $@

# For maintainers: renews the pinned versions and their hashes.
LOCK = uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet pyproject.toml
lock:
	$(LOCK) --group build --output-file requirements/run.txt
	$(LOCK) --group fuzz --output-file requirements/fuzz.txt
	$(LOCK) --group build --group dev --output-file requirements/dev.txt

clean:
	rm -rf $(VENV) .venv-bench build dist .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
