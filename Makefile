.PHONY: check quick format slow gpu coverage evidence pages docs release

RUN = uv run --all-extras
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

check: ## form, imports, types and tests of the default tier: what to run before a commit
	$(RUN) ruff format --check
	$(RUN) ruff check
	$(RUN) lint-imports --no-logo
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(RUN) pyright
	$(RUN) pytest

quick: ## half a minute of tests, without Ray and without whole runs: while one writes
	$(RUN) pytest -m quick

format: ## put the code into its form
	$(RUN) ruff check --fix
	$(RUN) ruff format

slow: ## tests that take long, need several processes, or try more values: many minutes
	$(RUN) pytest -m slow

gpu: ## tests that need a CUDA device
	$(RUN) pytest -m gpu

coverage: ## which lines no test of the default tier enters: open htmlcov/index.html
	$(RUN) pytest --cov --cov-report=term --cov-report=html

evidence: ## put claims to the test, all or one (CLAIM=ggeur), with DATA=folder where they need it: hours
	$(RUN) python -m benchmarks.evidence run $(CLAIM) $(if $(DATA),--data $(DATA)) \
		$(if $(DIGITS_FIVE),--digits-five $(DIGITS_FIVE)) $(if $(MINUTES),--for $(MINUTES))
	$(MAKE) pages

pages: ## write the pages of results anew from benchmarks/results
	$(RUN) python -m benchmarks.pages

docs: ## the documentation as a site, notebooks run: open site/index.html
	FEDLAB_DOCS_NOTEBOOKS=1 NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --strict

release: ## build the version of pyproject.toml, check the files, and tag it
	@test -z "$$(git status --porcelain)" || { echo "commit first: a tag names what is committed"; exit 1; }
	@grep -qE '^## $(VERSION) \([0-9]{4}-[0-9]{2}-[0-9]{2}\)$$' CHANGELOG.md || \
		{ echo 'CHANGELOG.md: give $(VERSION) its date, as "## $(VERSION) (2026-01-31)"'; exit 1; }
	@! git rev-parse -q --verify 'refs/tags/v$(VERSION)' >/dev/null || \
		{ echo 'v$(VERSION) is there already: raise the version in pyproject.toml'; exit 1; }
	rm -rf dist
	uv build
	$(RUN) twine check --strict dist/*
	git tag -a 'v$(VERSION)' -m 'fedlab $(VERSION)'
	@echo 'now: git push origin v$(VERSION), and uv publish'
