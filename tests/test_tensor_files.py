import torch
from safetensors.torch import save_file

from fedlab.tensor_files import read_tensors, write_tensors


def test_tensors_come_back_in_the_order_they_were_given_in(tmp_path):
    """The format itself would give big types first, and sort names."""
    given = {
        "z": torch.tensor([1.0]),
        "steps": torch.tensor([3], dtype=torch.int64),
        "a": torch.tensor([[2.0, 3.0]], dtype=torch.float64),
        "b": torch.tensor(True),
    }
    write_tensors(tmp_path / "kept.safetensors", given, {"task": "7"})
    tensors, notes = read_tensors(tmp_path / "kept.safetensors")
    assert list(tensors) == ["z", "steps", "a", "b"]
    assert all(torch.equal(tensors[name], given[name]) for name in given)
    assert notes == {"task": "7"}


def test_a_file_of_another_program_is_read_in_its_own_order(tmp_path):
    save_file({"w": torch.ones(2), "b": torch.zeros(1)}, tmp_path / "other.safetensors")
    assert set(read_tensors(tmp_path / "other.safetensors")[0]) == {"w", "b"}
