"""Classic SMPL and SMPL+H pickles are read as arrays, chumpy's and scipy's included, with neither needed."""

import pickle
import pickletools
import sys
import types

import numpy as np
import pytest
import torch
from scipy import sparse

from humor import BodyModel
from humor.errors import FileError
from humor.io.untrusted_arrays import read_pickle_arrays
from humor.rotations import rotvec_to_rotmat
from tests.support import golden_values as golden


@pytest.fixture
def chumpy(monkeypatch):
    """Stand-ins of chumpy's classes, enough to write what chumpy would have written."""
    modules = {name: types.ModuleType(name) for name in ("chumpy", "chumpy.ch", "chumpy.reordering")}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)

    def make(module, name):
        made = type(name, (), {"__module__": module, "__init__": lambda self, **state: self.__dict__.update(state)})
        setattr(modules[module], name, made)
        return made

    return types.SimpleNamespace(Ch=make("chumpy.ch", "Ch"), Select=make("chumpy.reordering", "Select"))


def smplh_dictionary(chumpy):
    arrays = golden.body_arrays("male")
    shapedirs = np.ascontiguousarray(arrays["shapedirs"])
    return arrays, {
        **arrays,
        "J_regressor": sparse.csc_matrix(arrays["J_regressor"]),
        "v_template": chumpy.Ch(x=np.asfortranarray(arrays["v_template"])),
        "shapedirs": chumpy.Select(
            a=chumpy.Ch(x=shapedirs.ravel()[::-1].copy()),
            idxs=np.arange(shapedirs.size)[::-1].copy(),
            preferred_shape=shapedirs.shape,
        ),
        "weights": arrays["weights"].astype(">f8"),
        "bs_type": "lrotmin",
    }


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_poses_like_its_npz(tmp_path, chumpy, protocol):
    arrays, content = smplh_dictionary(chumpy)
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps(content, protocol))
    body, expected = BodyModel.load(file), BodyModel(arrays)
    pose = rotvec_to_rotmat(torch.randn(2, 22, 3)), torch.randn(2, 16), torch.randn(2, 3)
    torch.testing.assert_close(body(*pose, vertices="all").vertices, expected(*pose, vertices="all").vertices)


def test_a_smpl_pickle_of_24_joints_is_a_body(tmp_path, chumpy):
    arrays = golden.body_arrays("female")
    weights = arrays["weights"][:, :24].copy()
    weights[:, 0] += 1 - weights.sum(1)
    content = {
        **arrays,
        "weights": weights,
        "J_regressor": sparse.csr_matrix(arrays["J_regressor"][:24]),
        "posedirs": arrays["posedirs"][..., :207],
        "shapedirs": chumpy.Ch(x=arrays["shapedirs"][..., :10]),
        "kintree_table": np.array([[2**32 - 1, *body_parents(), 20, 21], range(24)]),
    }
    file = tmp_path / "SMPL_FEMALE.pkl"
    file.write_bytes(pickle.dumps(content, 2))
    posed = BodyModel.load(file)(torch.eye(3).expand(1, 22, 3, 3), torch.zeros(1, 16), torch.zeros(1, 3), "all")
    np.testing.assert_allclose(posed.vertices[0], arrays["v_template"], atol=1e-6)


def body_parents():
    return golden.body_arrays("male")["kintree_table"][0, 1:22].tolist()


def test_bytes_written_by_python_2_are_read(tmp_path):
    """Python 2 wrote an array's bytes as a string, which Python 3 sees as text."""
    file = tmp_path / "old.pkl"
    file.write_bytes(pickle.dumps({"x": np.arange(5.0)}, 2))
    names = {argument for _, argument, _ in pickletools.genops(file.read_bytes()) if isinstance(argument, str)}
    assert "_codecs encode" in names  # Python 3's way to say the same
    old = (
        b"\x80\x02}U\x01xcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x05\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"U\x28" + np.arange(5.0).tobytes() + b"tbs."
    )
    file.write_bytes(old)
    np.testing.assert_array_equal(read_pickle_arrays(file, ["x"])["x"], np.arange(5.0))


def test_what_is_not_asked_for_may_be_anything(tmp_path):
    file = tmp_path / "more.pkl"
    file.write_bytes(pickle.dumps({"x": np.arange(3.0), "ragged": [[1], [2, 3]], "text": "smplh"}, 2))
    assert list(read_pickle_arrays(file, ["x", "absent"])) == ["x"]


def test_sparse_entries_at_one_place_are_added(tmp_path):
    matrix = sparse.csc_matrix((np.array([1.0, 2.0]), (np.array([0, 0]), np.array([1, 1]))), shape=(2, 3))
    matrix.data, matrix.indices, matrix.indptr = np.array([1.0, 2.0]), np.array([0, 0]), np.array([0, 0, 2, 2])
    file = tmp_path / "sparse.pkl"
    file.write_bytes(pickle.dumps({"x": matrix}, 2))
    np.testing.assert_array_equal(read_pickle_arrays(file, ["x"])["x"], [[0, 3, 0], [0, 0, 0]])


def test_a_sparse_matrix_whose_parts_do_not_fit_is_refused(tmp_path):
    matrix = sparse.csc_matrix((2, 1))
    matrix.indptr = np.array([0, 10**8])
    file = tmp_path / "sparse.pkl"
    file.write_bytes(pickle.dumps({"x": matrix}, 2))
    with pytest.raises(FileError, match="a sparse matrix whose parts do not fit"):
        read_pickle_arrays(file, ["x"])
