"""The pictures of a folder by domain and class, and the files that belong to none."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedlab.data.class_names import normal
from fedlab.data.picture import endings
from fedlab.data.remarks import counted, listed
from fedlab.errors import InputError

SPLITS = ("train", "test")
LAYOUT = "images lie in <path>/<domain>/<class>/ or <path>/<domain>/{train,test}/<class>/"
SYSTEM = {"__macosx", "@eadir", "thumbs.db", "desktop.ini", "icon\r"}
MOST_WALKED = 1_000_000  # files looked at in folders that are left out anyway
DOMAINS_LISTED = 8


@dataclass
class LeftOut:
    """The files that were found and not read, by reason.

    Attributes:
        loose: Pictures that lie in no class folder.
        deeper: Pictures in folders below a class folder, by that folder's name.
        odd: Pipes, devices and links to nothing that are called like pictures.
        others: Files that are no pictures, by their ending.
        system: Files and folders that systems put there, and hidden ones.
    """

    loose: int = 0
    deeper: Counter[str] = field(default_factory=Counter)
    odd: int = 0
    others: Counter[str] = field(default_factory=Counter)
    system: int = 0

    def summary(self) -> str:
        """The counts in a phrase; empty where only the system's files were left out."""
        others = self.others.elements()
        return counted(
            {
                "picture{s} in no class folder": self.loose,
                f"picture{{s}} in deeper folders ({listed(self.deeper)})": self.deeper.total(),
                "pipe{s} or broken link{s}": self.odd,
                f"file{{s}} of other kinds ({listed(others)})": self.others.total(),
            }
        )


@dataclass(frozen=True)
class Folder:
    """The image files of one domain, or of one split of it, by class."""

    path: Path
    images: dict[str, list[Path]]
    owned: bool = False

    @property
    def owners(self) -> list[str]:
        """The owner of every image, in the order of the classes; of folders with owners alone."""
        if not self.owned:
            return []
        return [normal(path.parent.parent.name) for own in self.images.values() for path in own]


@dataclass(frozen=True)
class Tree:
    """The folders of all domains.

    Attributes:
        folders: For each domain its folder, or those of its train and its test split.
        left_out: What was not read, by domain; "" is the folder of the domains itself.
    """

    folders: dict[str, list[Folder]]
    left_out: dict[str, LeftOut]

    def files(self) -> list[Path]:
        """All pictures."""
        return [
            path
            for folders in self.folders.values()
            for folder in folders
            for paths in folder.images.values()
            for path in paths
        ]

    def remarks(self, key: str) -> list[str]:
        """One line on what was left out, if anything was."""
        summaries = {domain: left.summary() for domain, left in self.left_out.items()}
        parts = [
            f"of domain '{domain}': {what}" if domain else f"beside the domains' folders: {what}"
            for domain, what in summaries.items()
            if what
        ]
        if not parts:
            return []
        more = f"; and of {len(parts) - DOMAINS_LISTED} more" * (len(parts) > DOMAINS_LISTED)
        return [f"{key}: left out {'; '.join(parts[:DOMAINS_LISTED])}{more}"]


def find(
    path: Path,
    domain: str | None,
    domains: Sequence[str] | None,
    key: str,
    owners: bool = False,
) -> Tree:
    """Looks through the folders, without opening a file.

    Args:
        path: The folder of the domains, or of the one domain.
        domain: Name of the one domain.
        domains: Those to read, by name; all by default.
        key: Key of the source in the scenario.
        owners: Whether there is a level of owners above the classes.

    Raises:
        InputError: If a folder is missing or empty.
    """
    if not path.is_dir():
        raise InputError(
            f"{key}.path: there is no folder '{path}'; correct the path, or data.root "
            "if the path is relative"
        )
    left_out: dict[str, LeftOut] = {}
    if domain:
        folders = {domain: path}
    else:
        folders = _domain_folders(path, domains, key, left_out.setdefault("", LeftOut()))
    found = {
        name: _splits(folder, key, left_out.setdefault(name, LeftOut()), owners)
        for name, folder in folders.items()
    }
    return Tree(found, left_out)


def has_classes(path: Path) -> bool:
    """Whether a folder looks like that of one domain: class folders with pictures in them."""
    folders, _ = _entries(path, LeftOut())
    if {each.name for each in folders} >= set(SPLITS):
        folders, _ = _entries(path / SPLITS[0], LeftOut())
    return any(_pictures(each, LeftOut()) for each in folders)


def _domain_folders(
    path: Path, domains: Sequence[str] | None, key: str, left: LeftOut
) -> dict[str, Path]:
    """The folders of the domains to read, by name."""
    subfolders, files = _entries(path, left)
    _leave_out(files, left)
    folders: dict[str, Path] = {}
    for each in subfolders:
        other = folders.setdefault(normal(each.name), each)
        if other != each:
            raise InputError(
                f"{key}.path: '{path}' has two folders of the name '{normal(each.name)}', spelt "
                "with other characters; give each domain one name"
            )
    for name in domains or ():
        if name not in folders:
            raise InputError(
                f"{key}.domains names '{name}', but '{path}' has only the folders "
                f"{', '.join(folders) or '(none)'}; correct the name"
            )
    if not folders:
        raise InputError(
            f"{key}.path: '{path}' has no folders; it must hold one for each domain, "
            "with one for each class in it"
        )
    if not folders.keys() - {*SPLITS, "val"}:
        raise InputError(
            f"{key}.path: '{path}' holds {' and '.join(folders)}, which are no "
            f"domains; {LAYOUT}, or set {key}.domain to the name of its one domain"
        )
    return {name: folders[name] for name in domains or folders}


def _splits(path: Path, key: str, left: LeftOut, owners: bool) -> list[Folder]:
    """A domain's folder, or its train and its test folder where it holds just these."""
    look = _owned if owners else _classes
    folders, files = _entries(path, LeftOut())
    if {each.name for each in folders} == set(SPLITS):
        _leave_out(files, left)
        return [look(path / split, key, left) for split in SPLITS]
    return [look(path, key, left)]


def _owned(path: Path, key: str, left: LeftOut) -> Folder:
    """The images below the folders of owners, by class."""
    folders, files = _entries(path, left)
    _leave_out(files, left)
    if not folders:
        raise InputError(
            f"{key}.path: '{path}' has no folders; with owners: true it must hold one for each "
            "owner, and that one for each class"
        )
    images: dict[str, list[Path]] = {}
    for folder in folders:
        for name, paths in _classes(folder, key, left).images.items():
            images.setdefault(name, []).extend(paths)
    return Folder(path, {name: images[name] for name in sorted(images)}, owned=True)


def _classes(path: Path, key: str, left: LeftOut) -> Folder:
    """The images below a folder by class; each class folder must hold some."""
    images: dict[str, list[Path]] = {}
    folders, files = _entries(path, left)
    loose = _leave_out(files, left)
    for folder in folders:
        own = _pictures(folder, left)
        images.setdefault(normal(folder.name), []).extend(own)
        if not own:
            further = ", ".join(each.name for each in _entries(folder, LeftOut())[0][:5])
            raise InputError(
                f"{key}.path: the class folder '{folder}' has no image of a format that Pillow "
                "reads (.jpg, .png, .tif, ...); "
                + (
                    f"it has the folders {further}, but {LAYOUT}"
                    if further
                    else "add some or remove the folder"
                )
            )
    if not images:
        raise InputError(
            f"{key}.path: '{path}' has no class folders; "
            + (
                f"its images would be of one class, but {LAYOUT}; where there is one domain, set "
                f"{key}.domain to its name"
                if loose
                else "it must hold one for each class"
            )
        )
    return Folder(path, {name: images[name] for name in sorted(images)})


def _pictures(folder: Path, left: LeftOut) -> list[Path]:
    """The pictures in a class folder; other files are counted."""
    folders, files = _entries(folder, left)
    pictures = [each for each in files if each.suffix.lower() in endings()]
    _leave_out([each for each in files if each.suffix.lower() not in endings()], left)
    walked = 0
    for below in folders:
        for _, _, names in os.walk(below):
            walked += len(names)
            inside = sum(Path(name).suffix.lower() in endings() for name in names)
            left.deeper[f"{folder.name}/{below.name}"] += inside
            if walked > MOST_WALKED:
                break
    return pictures


def _leave_out(files: Sequence[Path], left: LeftOut) -> int:
    """Counts files outside of class folders, and returns the number of pictures."""
    pictures = [each for each in files if each.suffix.lower() in endings()]
    left.loose += len(pictures)
    left.others.update(
        each.suffix.lower() or "without ending" for each in files if each not in set(pictures)
    )
    return len(pictures)


def _entries(path: Path, left: LeftOut) -> tuple[list[Path], list[Path]]:
    """The folders and the files in a folder, sorted by name; system files are counted only."""
    folders, files = [], []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower() in SYSTEM:
                left.system += 1
            elif entry.is_dir():
                folders.append(path / entry.name)
            elif entry.is_file():
                files.append(path / entry.name)
            elif Path(entry.name).suffix.lower() in endings():
                left.odd += 1
            else:
                left.others["no ordinary file"] += 1
    return sorted(folders), sorted(files)
