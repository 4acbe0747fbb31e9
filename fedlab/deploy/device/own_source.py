"""Which source reads the file or folder that a device's user names."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedlab.data.hf import OWN, is_saved
from fedlab.data.image_tree import SPLITS, has_classes
from fedlab.data.text_rows import PLAIN, TABLES
from fedlab.deploy.device.own_columns import without_absent
from fedlab.errors import InputError

Values = dict[str, Any]

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
OWNERS = ("owner_train", "owner_test")


def own_source(path: Path, domain: str | None, sources: Sequence[Values]) -> Values:
    """The values of a source that reads a path.

    Where the scenario has a source of the same kind, its parameters (the array's names in a file,
    the label's column, the share that is tested) hold for the device's data, too.

    Args:
        path: The device's file or folder.
        domain: Name of its domain; by default that of the file, the folder or the data set.
        sources: The values of the scenario's sources.

    Raises:
        InputError: If no source reads the path.
    """
    path = path.expanduser().absolute()
    found = None
    if path.is_file():
        found = _of_file(path, domain or path.stem, sources)
    elif path.is_dir():
        found = _of_folder(path, domain, sources)
    if found is None:
        is_there = "is neither" if path.exists() else "is not there; name"
        raise InputError(
            f"--data: '{path}' {is_there} a .npz or .csv file, a folder with a folder of images "
            "for each class, a .parquet file or a folder of some, a file of texts (.jsonl, "
            ".parquet, .txt), a folder of .npy files called as the scenario's, one of LEAF's .json "
            "files, one that Hugging Face's library has saved, or one that torchvision reads "
            "(MNIST, USPS, SVHN, CIFAR10, ...)"
        )
    return found


def _of_file(path: Path, name: str, sources: Sequence[Values]) -> Values | None:
    """The source of a file; that of a table depends on what the scenario reads tables with."""
    kinds = {source["name"] for source in sources}
    file = str(path)
    if path.suffix == ".npz":
        known = _known("npz", name, sources) | {"files": {}, "path": file, "domain": name}
        return _of_one_owner(_with_own_owners(known, path))
    if path.suffix == ".csv" and "image_table" in kinds:
        known = without_absent(_known("image_table", name, sources), path)
        known |= {"test": None, "images": None}
        return known | {"train": file, "domain": name, "domain_column": None}
    if path.suffix == ".csv" and "text" not in kinds:
        known = without_absent(_of_one_domain("csv", name, sources), path)
        return _of_one_owner(known | {"files": {name: file}, "domain": None})
    if path.suffix == ".parquet" and "text" not in kinds:
        return _parquet(name, sources, [file])
    if path.suffix in (*TABLES, PLAIN):
        known = _known("text", name, sources) | {"path": None, "domain_column": None}
        return known | {"files": {name: file}}
    return None


def _of_folder(path: Path, domain: str | None, sources: Sequence[Values]) -> Values | None:
    """The source of a folder, by the files in it."""
    name = domain or path.name
    if is_saved(path):
        known = _of_one_domain("hf", name, sources)
        own = {"dataset": None, "config": None, "revision": None}
        return known | own | {"path": str(path), "domain": name}
    data_set = _data_set(path, domain, sources)
    if data_set:
        name = domain or data_set.lower()
        known = _known("torchvision", name, sources)
        return known | {"dataset": data_set, "root": str(path), "domain": name}
    known = _known("npy", name, sources)
    files = {key: path / Path(known.get(key) or f"{key}.npy").name for key in (*ARRAYS, *OWNERS)}
    if any(files[key].is_file() for key in ARRAYS):
        has_owners = all(files[key].is_file() and known.get(key) for key in OWNERS)
        owners = {key: str(files[key]) if has_owners else None for key in OWNERS}
        return known | {key: str(files[key]) for key in ARRAYS} | owners | {"domain": name}
    readers = {"image_folder": _image_folder, "parquet": _parquet_folder, "leaf": _leaf}
    kinds = ["parquet" if source["name"] == "hf" else source["name"] for source in sources]
    meant = sorted(readers, key=lambda kind: kind not in kinds)  # those of the scenario first
    made = (readers[kind](path, name, sources) for kind in meant)
    return next((each for each in made if each is not None), None)


def _image_folder(path: Path, name: str, sources: Sequence[Values]) -> Values | None:
    """The source of folders of pictures."""
    if not has_classes(path):
        return None
    known = _known("image_folder", name, sources) | {"domains": None}
    return known | {"path": str(path), "domain": name}


def _leaf(path: Path, name: str, sources: Sequence[Values]) -> Values | None:
    """The source of LEAF's files."""
    if not _holds(path, ".json"):
        return None
    return _known("leaf", name, sources) | {"path": str(path), "domain": name}


def _parquet_folder(path: Path, name: str, sources: Sequence[Values]) -> Values | None:
    """The source of Parquet files, whose folders or names may say what is tested."""
    if not _holds(path, ".parquet"):
        return None
    if all(_holds(path / split, ".parquet", deep=False) for split in SPLITS):
        return _parquet(name, sources, *([str(path / split)] for split in SPLITS))
    if all([*path.glob(f"{split}*.parquet")] for split in SPLITS):
        return _parquet(name, sources, *([str(path / f"{s}*.parquet")] for s in SPLITS))
    return _parquet(name, sources, [str(path)])


def _holds(path: Path, ending: str, deep: bool = True) -> bool:
    """Whether files of a kind are in a folder or, if `deep`, in its folder ``train``."""
    return any(path.glob(f"*{ending}")) or (deep and any((path / SPLITS[0]).glob(f"*{ending}")))


def _parquet(
    name: str, sources: Sequence[Values], train: Sequence[str], test: Sequence[str] = ()
) -> Values:
    """A source of Parquet files, with the columns of the scenario's ``parquet`` or ``hf``."""
    kind = "parquet" if any(source["name"] == "parquet" for source in sources) else "hf"
    known = _of_one_domain(kind, name, sources)
    known = {key: value for key, value in known.items() if key not in OWN}
    where = Path(train[0])
    folder, pattern = (where, "*.parquet") if where.is_dir() else (where.parent, where.name)
    files = sorted(folder.glob(pattern))
    known = without_absent(known, files[0]) if files else known
    given = {"name": "parquet", "domain": name, "train": [*train], "test": [*test]}
    if test:  # the split is theirs
        known = {k: value for k, value in known.items() if k not in ("test_share", "split")}
    return known | given


def _of_one_owner(known: Values) -> Values:
    """Of files that are owners, a device has one."""
    if known.get("files_are") != "owners":
        return known
    return known | {"files_are": "domains", "split": "within_owners"}


def _with_own_owners(known: Values, path: Path) -> Values:
    """Without the arrays of owners where the file has none: then its samples are of one owner."""
    owner = known.get("owner_train")
    if owner is None or not zipfile.is_zipfile(path):  # the source says what is wrong with it
        return known
    with zipfile.ZipFile(path) as archive:
        if f"{owner}.npy" in archive.namelist():
            return known
    return known | {"owner_train": None, "owner_test": None, "split": "within_owners"}


def _of_one_domain(kind: str, domain: str, sources: Sequence[Values]) -> Values:
    """As `_known`; a column that names domains is left out, for the device is of one."""
    known = _known(kind, domain, sources)
    column = known.pop("domain_column", None)
    if column is None or known.get("columns"):
        return known
    return known | {"ignore": [*known.get("ignore", ()), column]}


def _known(kind: str, domain: str, sources: Sequence[Values]) -> Values:
    """The parameters of the scenario's source of a kind; that of the domain, if there is one."""
    alike = [source for source in sources if source["name"] == kind]
    for source in alike:
        listed = source.get("files")
        domains = listed if isinstance(listed, dict) else ()
        if domain in (source.get("domain"), *domains):
            alike.insert(0, source)
            break
    chosen = alike[0] if alike else {}
    made = ("make_domains", "share_samples")  # a device has real domains
    return {key: value for key, value in chosen.items() if key not in made} | {"name": kind}


def _data_set(path: Path, domain: str | None, sources: Sequence[Values]) -> str | None:
    """The torchvision data set in a folder."""
    from fedlab.data.torchvision_source import EXPECTED  # torchvision takes seconds to import

    first = {name: pattern.partition("{")[0] for name, pattern in EXPECTED.items()}
    files = {"USPS": "usps.bz2", "SVHN": "train_32x32.mat"}
    found = [name for name in EXPECTED if (path / files.get(name, first[name])).exists()]
    if len(found) <= 1:
        return found[0] if found else None
    meant = [
        source["dataset"]
        for source in sources
        if source["name"] == "torchvision"
        and domain in (source.get("domain"), source["dataset"].lower())
    ]
    if len(meant) == 1 and meant[0] in found:
        return meant[0]
    raise InputError(
        f"--data: '{path}' has several data sets ({', '.join(found)}); say which with --domain, by "
        "its name in lower case, or give each a folder"
    )
