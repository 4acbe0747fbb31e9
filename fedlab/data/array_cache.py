"""A cache of loaded arrays on disk, so that images are decoded or generated only once.

An entry is a folder of ``.npy`` files named by a hash of everything the arrays depend on. It is
written elsewhere and renamed into place, so that a process sees a whole entry or none, and sealed
with a checksum of every file, so that a flipped bit is found. Entries may be deleted at any time; a
run that reads a large one ends, and finds it made anew when it is resumed.
Their place is ``$FEDLAB_CACHE``, or else ``~/.cache/fedlab``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import uuid
import warnings
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from fedlab.data.ids import Ids
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext, Source
from fedlab.targets.base import CLASS

log = logging.getLogger("fedlab")

LAYOUT = 2  # raised when entries come to hold something else, so that older ones are not read
SEAL = "checksums.json"
PIECE = 2**22
ARRAYS = ("train_inputs", "train_labels", "test_inputs", "test_labels")
OWNERS = ("train_owners", "test_owners")  # there where a domain has owners


def folder() -> Path:
    """Folder of the cached data sets."""
    chosen = os.environ.get("FEDLAB_CACHE")
    home = Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "fedlab"
    return home / "data"


def load_cached(source: Source, context: LoadContext) -> Sequence[Domain]:
    """The domains of ``source.load(context)``, from the cache if they are in it.

    The arrays of a cached domain are mapped from disk, read-only: only what is used is read, from
    the first time on. Sequences of different lengths are no arrays, and are never kept.

    Raises:
        InputError: If the source cannot load.
    """
    entry = folder() / f"{type(source).__name__.lower()}-{_digest(source, context)}"
    domains = _read(entry) if is_sealed(entry) else None
    if domains is not None:
        return domains
    domains = source.load(context)
    if not (isinstance(domains, list | tuple) and all(map(_is_of_arrays, domains))):
        return domains
    kept = keep(entry, partial(_write, domains), "loaded data")
    return (_read(entry) if kept else None) or domains


def is_cached(source: Source) -> bool:
    """Whether a source's own class declares that its arrays are to be cached.

    A subclass is not asked: its code may load something else, without any key of the scenario
    that says so.
    """
    return bool(vars(type(source)).get("cached", False))


def _is_of_arrays(domain: Domain) -> bool:
    arrays = [getattr(domain, name, None) for name in ARRAYS]
    return all(isinstance(each, np.ndarray) and not each.dtype.hasobject for each in arrays)


def is_sealed(entry: Path) -> bool:
    """Whether an entry is there and every file in it has its checksum; damage is logged."""
    try:
        sums = json.loads((entry / SEAL).read_text(encoding="utf-8"))
        if sums == _checksums(entry):
            return True
    except (FileNotFoundError, NotADirectoryError):  # the latter where the cache itself is a file
        if not entry.exists():
            return False
    except (OSError, ValueError):
        pass
    log.warning("the cached arrays in '%s' are damaged, and are made anew", entry)
    return False


def keep(entry: Path, write: Callable[[Path], None], what: str) -> bool:
    """Writes an entry beside its place and renames it; the first of two writers wins.

    Args:
        entry: The folder to be.
        write: Writes the files of an entry into a folder that is there.
        what: What the entry holds, for the warning if the place cannot be written.

    Returns:
        Whether it is there now.
    """
    try:
        _put(entry, write)
        return True
    except OSError as error:
        warnings.warn(
            f"{what} cannot be kept in {entry.parent} ({error.strerror or error}), so every run "
            "makes them anew; set FEDLAB_CACHE to a folder that can be written",
            stacklevel=3,
        )
        return False


def _digest(source: Source, context: LoadContext) -> str:
    """A digest of everything that the arrays depend on."""
    stats = [(str(path), path.stat()) for path in source.reads(context)]
    depends_on = {
        "layout": LAYOUT,
        "class": f"{type(source).__module__}:{type(source).__qualname__}",
        "version": source.version,
        "recipe": source.recipe(),
        "context": [context.channels, context.image_size, context.seed],
        "further": source.depends_on(context),
        **({} if context.target.kind == CLASS else {"target": context.target.model_dump()}),
        "files": [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats],
    }
    text = json.dumps(depends_on, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _read(entry: Path) -> list[Domain] | None:
    """The domains of an entry, or None if it is missing or incomplete."""
    try:
        listed = json.loads((entry / "domains.json").read_text(encoding="utf-8"))
        return [
            Domain(
                name=domain["name"],
                class_names=tuple(domain["class_names"]),
                remarks=tuple(domain["remarks"]),
                ids=None if domain["ids"] is None else Ids.model_validate(domain["ids"]),
                owner_names=tuple(domain["owner_names"]),
                feature_names=tuple(domain["feature_names"]),
                **{
                    array: np.load(entry / f"{index}-{array}.npy", mmap_mode="r")
                    for array in ARRAYS + OWNERS * bool(domain["owner_names"])
                },
            )
            for index, domain in enumerate(listed)
        ]
    except (OSError, ValueError, EOFError, KeyError, TypeError):
        return None


def _write(domains: Sequence[Domain], folder: Path) -> None:
    """Writes the files of an entry."""
    for index, domain in enumerate(domains):
        for array in ARRAYS + OWNERS * bool(domain.owner_names):
            np.save(folder / f"{index}-{array}.npy", getattr(domain, array))
    listed = [
        {
            "name": each.name,
            "class_names": each.class_names,
            "remarks": each.remarks,
            "ids": each.ids and each.ids.model_dump(),
            "owner_names": each.owner_names,
            "feature_names": each.feature_names,
        }
        for each in domains
    ]
    (folder / "domains.json").write_text(json.dumps(listed), encoding="utf-8")


def _checksums(folder: Path) -> dict[str, int]:
    """CRC-32 of every file of an entry except the seal: detects every single flipped bit."""
    sums = {}
    for path in sorted(folder.iterdir()):
        if path.name != SEAL:
            with path.open("rb") as file:
                total = 0
                while piece := file.read(PIECE):
                    total = zlib.crc32(piece, total)
            sums[path.name] = total
    return sums


def _put(entry: Path, write: Callable[[Path], None]) -> None:
    """See `keep`.

    Raises:
        OSError: If the folder cannot be written.
    """
    entry.parent.mkdir(parents=True, exist_ok=True)
    unfinished = entry.parent / f".unfinished-{uuid.uuid4().hex}"
    unfinished.mkdir()
    try:
        write(unfinished)
        (unfinished / SEAL).write_text(json.dumps(_checksums(unfinished)), encoding="utf-8")
        if entry.exists() and not is_sealed(entry):
            shutil.rmtree(entry, ignore_errors=True)
        if not entry.exists():
            unfinished.rename(entry)
    except OSError:
        if not is_sealed(entry):  # else another process has just put the same entry there
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
