"""The page that plays motion is one file, and shows the bodies where they are."""

import base64
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from playwright.sync_api import sync_playwright

from humor import BodyModel
from humor.data import RawClip
from humor.data.synthetic.walker import synthetic_clip
from humor.motion.generation import joints_of, rotmats_of
from humor.motion.page import page_data, write_joints_page, write_page
from humor.rotations import quat_to_rotmat
from humor.skeleton import BODY_PARENTS

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FRAME = 7
# What is asked of the page once it has drawn: where it has a body's joints, and the colour of the picture there.
PROBE = """number => new Promise(answer => requestAnimationFrame(() => {
  const motion = motions[number], { joints } = pose(motion, 7), rect = motion.tile.getBoundingClientRect();
  draw(motion, rect, colours(), devicePixelRatio);
  const matrix = camera(motion, middleOf(motion, 7), rect.width / rect.height);
  const coloured = (x, y) => {
    const [right, up] = [(x + 1) / 2 * rect.width, (y + 1) / 2 * rect.height], colour = new Uint8Array(4);
    const at = [rect.left + right, innerHeight - rect.bottom + up].map(pixel => pixel * devicePixelRatio);
    gl.readPixels(...at, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, colour);
    return Array.from(colour);
  };
  const seen = joints.map(at => {
    const [x, y, , w] = [0, 1, 2, 3].map(r => [...at, 1].reduce((sum, value, c) => sum + value * matrix[4 * c + r], 0));
    return coloured(x / w, y / w);
  });
  const { drawn, time, error } = page, tiles = motions.map(({ tile }) => tile.textContent);
  answer({ joints, seen, air: coloured(-.9, .9), drawn, time, error: error || null, tiles });
}))"""


@pytest.fixture(scope="module")
def bodies():
    return {"male": BodyModel.mannequin("male"), "female": BodyModel.mannequin("female")}


@pytest.fixture(scope="module")
def clips():
    made = []
    for seed, gender in enumerate(("male", "female")):
        clip = RawClip.from_arrays(synthetic_clip(seed, 1.0, gender=gender), f"{gender} walk")
        made.append(
            replace(clip, poses=np.pad(clip.poses[:40:4, :66], ((0, 0), (0, 90))), trans=clip.trans[:40:4], fps=30.0)
        )
    return made


def test_the_page_holds_the_motion(clips, bodies):
    data = page_data(clips, bodies, with_mesh=False)
    blob = base64.b64decode(data["blob"])
    for clip, motion in zip(clips, data["motions"], strict=True):
        quats, trans, rest = (
            np.frombuffer(blob, kind, count, at) for kind, at, count in (motion[k] for k in ("quats", "trans", "rest"))
        )
        rotmats = quat_to_rotmat(
            torch.nn.functional.normalize(torch.tensor(quats.reshape(-1, 22, 4) / 32767.0), dim=-1)
        )
        torch.testing.assert_close(rotmats.float(), rotmats_of(clip), atol=1e-4, rtol=0)
        np.testing.assert_allclose(trans.reshape(-1, 3), clip.trans, atol=1e-5)
        betas = torch.tensor(clip.betas, dtype=torch.float32)
        np.testing.assert_array_equal(rest.reshape(22, 3), bodies[clip.gender].rest_joints(betas))
    assert data["meshes"] == []
    assert "faces" not in data


def test_surfaces_are_in_the_page_only_where_they_are_wanted_and_once_a_shape(clips, bodies):
    data = page_data([*clips, clips[0]], bodies, with_mesh=True)
    assert [motion["mesh"] for motion in data["motions"]] == [0, 1, 0]
    kind, at, count = data["meshes"][1]
    found = np.frombuffer(base64.b64decode(data["blob"]), kind, count, at).reshape(-1, 3) / 1e4
    betas = torch.tensor(clips[1].betas, dtype=torch.float32)
    expected = bodies["female"](torch.eye(3).expand(22, 3, 3), betas, torch.zeros(3), vertices="all").vertices
    np.testing.assert_allclose(found, expected, atol=6e-5)


def test_the_page_asks_for_no_other_file_and_no_name_ends_its_script(clips, bodies, tmp_path):
    names = [replace(clip, name="</script><img src=x>") for clip in clips]
    text = write_page(tmp_path / "p.html", names, bodies, True, "<Walks>").read_text()
    assert text.count("</script>") == 2
    assert not re.search(r"https?:|\bsrc=|\bhref=|import\(|fetch\(", text.replace("img src=x", ""))
    assert "<title>&lt;Walks&gt;</title>" in text


def test_sixteen_shapes_for_ten_seconds_are_under_three_megabytes(clips, bodies, tmp_path):
    long = [
        replace(
            clips[0],
            betas=np.eye(16)[k],
            poses=np.tile(clips[0].poses, (30, 1)),
            trans=np.tile(clips[0].trans, (30, 1)),
        )
        for k in range(16)
    ]
    assert write_page(tmp_path / "p.html", long, bodies, True, "long").stat().st_size < 3e6


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium to open the page, and there is none here")
@pytest.mark.parametrize("view", ["mesh", "bones"])
def test_a_browser_shows_the_body_where_it_is(clips, bodies, tmp_path, view):
    page = write_page(tmp_path / "p.html", clips, bodies, view == "mesh", "walks")
    found = shown(page, view, motion=1)
    assert found["tiles"] == ["male walk", "female walk"]
    np.testing.assert_allclose(found["joints"], joints_of(clips[1], bodies["female"])[FRAME], atol=1e-3)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium to open the page, and there is none here")
def test_a_browser_shows_joints_that_have_no_body(clips, bodies, tmp_path):
    stretch = np.linspace(1, 1.2, 10)[:, None, None]  # bones that change their length
    joints = stretch * joints_of(clips[0], bodies["male"]).numpy()
    page = write_joints_page(tmp_path / "p.html", "lifted", joints, BODY_PARENTS, 30.0, "joints")
    found = shown(page, "bones", motion=0)
    assert found["tiles"] == ["lifted"]
    np.testing.assert_allclose(found["joints"], joints[FRAME], atol=1e-5)


def shown(page, view, motion):
    """What a browser has of a motion after it has drawn it; checks that each joint is on what it has drawn."""
    options = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=CHROMIUM, args=options) as browser:
        tab = browser.new_page(viewport={"width": 800, "height": 500})
        tab.goto(f"{page.as_uri()}#paused&t={FRAME / 30}&view={view}")
        tab.wait_for_function("page.drawn || page.error")
        found = tab.evaluate(PROBE, motion)
    assert found["error"] is None
    assert int(found["drawn"]) > 0
    assert float(found["time"]) == pytest.approx(FRAME / 30, abs=1e-3)
    body, air = np.array(found["seen"], dtype=float), np.array(found["air"])
    assert (np.abs(body - air).max(1) > 25).all(), "a joint is not on the body"
    return found
