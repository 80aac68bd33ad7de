"""Pictures show what is there, the nearer before the farther."""

import numpy as np
from matplotlib.image import imread

from humor.mannequin.drawing import OrthographicCamera, draw_mannequins, draw_meshes
from humor.mannequin.proportions import BUILDS
from humor.mannequin.smplh_arrays import surface, triangles

BODY = surface(BUILDS["neutral"]), triangles()


def test_a_picture_shows_the_mesh_where_the_camera_sees_it(tmp_path):
    path = draw_meshes(tmp_path / "front.png", [BODY], OrthographicCamera(height=2.4), (240, 120), floor=-1.1665)
    picture = imread(path)[..., :3]
    assert picture.shape == (120, 240, 3)
    body = np.ptp(picture, axis=2) > 0.08  # clay on a grey ground
    rows, columns = np.flatnonzero(body.any(1)), np.flatnonzero(body.any(0))
    assert abs(np.ptp(rows) - 1.70 * 120 / 2.4) < 4
    assert abs(np.ptp(columns) - 1.716 * 120 / 2.4) < 4
    assert (body != body[:, ::-1]).mean() < 0.02


def test_the_nearer_of_two_meshes_hides_the_other(tmp_path):
    vertices, faces = BODY
    far, near = (vertices, faces), (vertices + np.array([0, 0, 1.0]), faces)
    red, green = (1.0, 0.1, 0.1), (0.1, 1.0, 0.1)
    for meshes, colours in (((far, near), (red, green)), ((near, far), (green, red))):
        picture = imread(draw_meshes(tmp_path / "two.png", list(meshes), None, (120, 60), colours))
        red_pixels = (picture[..., 0] > picture[..., 1] + 0.1).mean()
        assert red_pixels < 0.01


def test_the_readme_picture_can_be_made_again(tmp_path):
    path = draw_mannequins(tmp_path / "new" / "mannequin.png", (300, 150))
    assert imread(path).shape[:2] == (150, 300)
