import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from fedlab.config import registry

pytestmark = pytest.mark.xdist_group("packaging")  # what is made for all of them is made once
ROOT = Path(__file__).parent.parent


def build(target: str, source: Path, folder: Path) -> Path:
    """Builds with the project's own backend, in place and without the network."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (built,) = folder.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def names(wheel):
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_holds_every_file_of_the_package(names):
    files = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "fedlab").rglob("*") if path.is_file()
    }
    wanted = {name for name in files if "__pycache__" not in name and not name.endswith(".pyc")}
    assert wanted
    assert wanted <= names


def test_the_wheel_holds_every_registered_component_and_scenario(names):
    for group, known in registry.BUILTIN.items():
        for name, path in known.items():
            file = path.partition(":")[0].replace(".", "/") + ".py"
            assert file in names, f"{group}: {name}"
    scenarios = list((ROOT / "fedlab" / "scenarios").glob("*.yaml"))
    assert scenarios
    assert {f"fedlab/scenarios/{path.name}" for path in scenarios} <= names


def test_the_wheel_installs_one_package_with_its_licence_types_and_command(wheel, names):
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"fedlab"}
    assert "fedlab/py.typed" in names
    (licence,) = (name for name in names if name.endswith("licenses/LICENSE"))
    (commands,) = (name for name in names if name.endswith("entry_points.txt"))
    with zipfile.ZipFile(wheel) as archive:
        assert "Apache License" in archive.read(licence).decode()
        assert "fedlab = fedlab.cli:main" in archive.read(commands).decode()


def test_a_wheel_built_from_the_sdist_is_the_same(names, tmp_path):
    sdist = build("sdist", ROOT, tmp_path)
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert (unpacked / "tests" / "test_packaging.py").is_file()
    again = build("wheel", unpacked, tmp_path / "again")
    assert set(zipfile.ZipFile(again).namelist()) == names


def test_the_folders_in_the_root_are_links_into_the_package():
    for name in ("strategies", "clients", "scenarios"):
        assert (ROOT / name).is_symlink()
        assert (ROOT / name).resolve() == (ROOT / "fedlab" / name).resolve()


def test_there_is_one_version():
    import fedlab

    text = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{fedlab.__version__}"' in text
