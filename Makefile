.PHONY: check format slow gpu docs

check: ## form, types and tests: what to run before a commit
	uv run --all-extras ruff format --check
	uv run --all-extras ruff check
	uv run --all-extras lint-imports --no-logo
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 uv run --all-extras pyright
	uv run --all-extras pytest

format: ## put the code into its form
	uv run --all-extras ruff check --fix
	uv run --all-extras ruff format

slow: ## tests that take minutes or several processes
	uv run --all-extras pytest -m slow

gpu: ## tests that need a CUDA device
	uv run --all-extras pytest -m gpu

docs: ## the documentation as a site, notebooks run: open site/index.html
	FEDLAB_DOCS_NOTEBOOKS=1 NO_MKDOCS_2_WARNING=1 uv run --all-extras mkdocs build --strict
