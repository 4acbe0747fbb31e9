"""Data sets of Hugging Face's hub by commit: looked up, fetched, or found where they were put.

The library ``datasets`` keeps what it has fetched below ``$HF_DATASETS_CACHE``, in a folder for
each configuration and commit. Where the hub cannot be reached it takes the latest of them, also if
another one was asked for; here a commit is that commit or an error. Nothing is asked of any server
but the hub (``$HF_ENDPOINT``): counts of downloads, exports of the data set viewer and telemetry
are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from fedlab.errors import InputError, format_error

COMMIT = re.compile(r"[0-9a-f]{40}")
"""The name of a commit in full."""

NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
"""The name of a data set."""


class Kept(NamedTuple):
    """A configuration of a data set that the library has fetched.

    Attributes:
        config: Its name.
        version: Its version, as its folder says.
        commit: The commit that it is of.
    """

    config: str
    version: str
    commit: str


def library(key: str) -> Any:
    """The library ``datasets``, which takes seconds to import.

    Raises:
        InputError: If it is not installed; `key` is that of the source.
    """
    try:
        return import_module("datasets")
    except ImportError as error:
        raise InputError(
            f"{key}: 'hf' needs the library datasets; install fedlab-sim[hf]"
        ) from error


def commit_of(name: str, revision: str | None, download: bool, key: str) -> str | None:
    """The commit that a revision of a data set is now.

    Args:
        name: The data set's name on the hub.
        revision: A commit, branch or tag; None for the latest one, or where nothing may be fetched
            for that which was fetched last.
        download: Whether the hub may be asked.
        key: Key of the source in the scenario.

    Returns:
        The commit; None where nothing has been fetched.

    Raises:
        InputError: If the hub has no such revision or cannot be reached, or it would have to be
            asked and must not.
    """
    if revision and COMMIT.fullmatch(revision):
        return revision
    if _may_ask(download, key):
        return _looked_up(name, revision, key)
    if revision:
        raise InputError(
            f"{key}.revision: what '{revision}' is now only the hub can say; give the commit in "
            "full (40 characters), or set data.download=true"
        )
    return next((kept.commit for kept in kept_of(name, key)), None)


def splits_of(
    name: str, config: str | None, commit: str | None, download: bool, key: str
) -> Mapping[str, Any]:
    """The splits of a data set at a commit, by name.

    Raises:
        InputError: If they are not there and cannot be fetched, or a configuration must be chosen.
    """
    kept = [
        each
        for each in kept_of(name, key)
        if each.commit == commit and config in (None, each.config)
    ]
    failure = None
    if commit is not None and _may_ask(download, key) and not (config and kept):
        try:
            return _fetched(name, config, commit, key)
        except Exception as error:  # of the library, of the network, of the files
            failure = error
    if len(kept) == 1:
        cache = import_module("datasets.packaged_modules.cache.cache").Cache
        builder = cache(
            repo_id=name,
            dataset_name=name.rpartition("/")[2],
            config_name=kept[0].config,
            version=kept[0].version,
            hash=kept[0].commit,
        )
        return builder.as_dataset()
    if failure is not None:
        raise _unavailable(name, failure, key) from failure
    if kept:
        raise InputError(
            f"{key}.config: '{name}' was fetched in the configurations "
            f"{', '.join(each.config for each in kept)}; set it to one of them"
        )
    what = f"'{name}'" + (f", configuration '{config}'," if config else "")
    at = f" at commit {commit}" if commit else ""
    raise InputError(
        f"{key}.dataset: {what}{at} has not been fetched on this machine; data.download=true "
        "fetches it"
    )


def kept_of(name: str, key: str) -> list[Kept]:
    """What the library has fetched of a data set, the latest first."""
    datasets = library(key)
    *owner, last = name.split("/")
    snake = import_module("datasets.naming").camelcase_to_snakecase(last)
    root = Path(datasets.config.HF_DATASETS_CACHE) / "___".join([*owner, snake])
    found = []
    for file in root.glob("*/*/*/dataset_info.json"):
        folder = file.parent
        config, version, commit = folder.parts[-3:]
        try:
            is_plain = json.loads(file.read_text(encoding="utf-8"))["config_name"] == config
        except (OSError, ValueError, KeyError, TypeError):
            continue  # being written by another process, or damaged
        if is_plain and COMMIT.fullmatch(commit):
            found.append((folder.stat().st_mtime, Kept(config, version, commit)))
    return [kept for _, kept in sorted(found, key=lambda each: each[0], reverse=True)]


def _may_ask(download: bool, key: str) -> bool:
    """Whether the hub may be asked: the scenario and the environment say so."""
    return download and not library(key).config.HF_HUB_OFFLINE


@lru_cache
def _looked_up(name: str, revision: str | None, key: str) -> str:
    """The commit that the hub names; asked once in a process, so that all its runs are of one."""
    hub, config = import_module("huggingface_hub"), library(key).config
    try:
        with _alone():
            found = hub.HfApi(endpoint=config.HF_ENDPOINT).dataset_info(
                name, revision=revision, timeout=100.0
            )
    except Exception as error:
        raise _unavailable(name, error, key) from error
    return str(found.sha)


def _fetched(name: str, config: str | None, commit: str, key: str) -> Mapping[str, Any]:
    """The splits of a commit, fetched unless they are there.

    Raises:
        Exception: Of the library's kinds.
    """
    datasets = library(key)
    with _alone():  # a bare name might be that of a local folder
        builder = datasets.load_dataset_builder(f"hf://datasets/{name}", config, revision=commit)
        if builder.hash != commit:
            raise ConnectionError(f"the library found commit {builder.hash} in place of {commit}")
        builder.download_and_prepare()
    return builder.as_dataset()


def _unavailable(name: str, error: Exception, key: str) -> InputError:
    """What went wrong on the hub, in one line with a remedy."""
    errors = import_module("huggingface_hub.errors")
    endpoint, said = library(key).config.HF_ENDPOINT, format_error(error)
    if isinstance(error, errors.RevisionNotFoundError):
        return InputError(
            f"{key}.revision: '{name}' has no such revision on {endpoint}; name a commit, branch "
            "or tag of it, or leave revision out for the latest"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return InputError(
            f"{key}.dataset: {endpoint} has no data set '{name}', or shows it to its members "
            "alone; correct the name, or log in with `hf auth login`"
        )
    if isinstance(error, OSError) or type(error).__module__.startswith("http"):
        return InputError(
            f"{key}.dataset: '{name}' cannot be fetched from {endpoint} ({said}); see "
            "whether the network is there and HF_ENDPOINT is right, or set data.download=false to "
            "take what was fetched before, or path to a folder that save_to_disk has written"
        )
    return InputError(
        f"{key}.dataset: '{name}': {said}; see the data set's page on {endpoint} for its "
        "configurations and splits"
    )


@contextmanager
def _alone() -> Generator[None]:
    """Within it, nothing is asked of any server but the hub."""
    config, constants = library("data").config, import_module("huggingface_hub.constants")
    quiet = [
        (config, "HF_UPDATE_DOWNLOAD_COUNTS", False),  # a request to a bucket
        (config, "USE_PARQUET_EXPORT", False),  # one to datasets-server.<endpoint>
        (constants, "HF_HUB_DISABLE_TELEMETRY", True),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in quiet]
    try:
        for module, name, value in quiet:
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
