"""OpenPose's output: a folder with a JSON file for each frame, in which people stand as 25 keypoints (BODY_25)."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from ..errors import FileError, MotionError, listed

BODY_25_NAMES = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "pelvis", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye",
    "right_ear", "left_ear", "left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe",
    "right_heel",
)  # fmt: skip
_OTHER_MODELS = {15: "MPI", 18: "COCO", 19: "BODY_19", 23: "BODY_23", 135: "BODY_135"}

MOST_FRAMES = 200_000  # almost two hours at 30 frames a second
MOST_BYTES = 4_000_000  # of a frame's file; a hundred people with faces and hands take 1 MB
MOST_PEOPLE = 100  # in a frame
MOST_TRACKS = 200  # that are followed at once
LARGEST_PIXEL = 1e5
# How far a person moves from frame to frame, in diagonals of its box: a fast run at 30 frames a second, and the most.
USUAL_MOVE, FASTEST = 0.1, 0.5
USUAL_GAP = 5  # frames in which a person is not detected

_KEYPOINTS = "_keypoints"
_NUMBER = re.compile(r"(.*?)(\d+)\D*")

# Heights along the line from the middle of the shoulders to the ears, which is as long as 1.
_HEAD_JOINT, _CROWN = 0.8, 1.75


class OpenPoseFrames(NamedTuple):
    """One person in every frame of a video, and the files that the frames are from."""

    keypoints: Float[np.ndarray, "frames 25 3"]  # pixels x, y (down) and confidence from 0 to 1; zeros where missing
    names: list[str]  # of the files; empty for a frame that has none


@dataclass(eq=False)
class _Track:
    """A person followed from frame to frame."""

    pose: Float[np.ndarray, "25 3"]  # each keypoint where it was last detected
    last: int  # frame in which the person was seen
    poses: dict[int, Float[np.ndarray, "25 3"]] = field(default_factory=dict)  # by frame
    confidence: float = 0.0  # summed over frames

    def see(self, pose: Float[np.ndarray, "25 3"], frame: int) -> None:
        """Add the person's pose in a frame."""
        self.pose = np.where(pose[:, 2:] > 0, pose, self.pose)
        self.last, self.poses[frame] = frame, pose
        self.confidence += float(pose[:, 2].sum())


def read_openpose(folder: str | Path) -> OpenPoseFrames:
    """Read a folder of OpenPose's JSON files: the person that is detected most, in every frame.

    Frames are in the order of the numbers in their names; a number that no file has is a frame without a person.
    People are followed by where they are, since OpenPose lists them in any order. Raises FileError where a file cannot
    be read, MotionError where files are not one video's or hold no person, or other keypoints than BODY_25's pixels.
    """
    files = _frame_files(Path(folder))
    first, frames = min(files), max(files) - min(files) + 1
    tracks: list[_Track] = []
    for number in sorted(files):
        _follow(tracks, _read_people(files[number]), number)
    if not tracks:
        raise MotionError(f"{folder}: nobody is detected in any of {len(files)} frames; check the video.")
    best = max(tracks, key=lambda track: track.confidence)
    keypoints = np.zeros((frames, 25, 3))
    for number, pose in best.poses.items():
        keypoints[number - first] = pose
    if np.abs(keypoints[..., :2]).max() <= 1:
        raise MotionError(f"{folder}: keypoints are between -1 and 1; expected pixels: OpenPose's --keypoint_scale 0.")
    return OpenPoseFrames(keypoints, [files[n].name if n in files else "" for n in range(first, first + frames)])


def body25_to_h36m(keypoints: Float[np.ndarray, "*frames 25 3"]) -> Float[np.ndarray, "*frames 17 3"]:
    """Human3.6M's seventeen joints, in the order that the lifting networks take, from BODY_25's keypoints.

    The spine is halfway from the pelvis to the neck; head joint and crown lie on the line through neck and ears. A
    joint is zero where a keypoint that it takes is; it has the least of their confidences.
    """
    named = dict(zip(BODY_25_NAMES, np.moveaxis(keypoints, -2, 0), strict=True))
    for name, pair in {"pelvis": "hip", "neck": "shoulder"}.items():
        sides = _along(named[f"left_{pair}"], named[f"right_{pair}"], 0.5)
        named[name] = _first_seen(named[name], sides)
    left, right = named["left_ear"], named["right_ear"]
    ears = _first_seen(_along(left, right, 0.5), left, right, named["nose"])
    limbs = {side: [named[f"{side}_{joint}"] for joint in ("hip", "knee", "ankle")] for side in ("left", "right")}
    arms = {side: [named[f"{side}_{joint}"] for joint in ("shoulder", "elbow", "wrist")] for side in ("left", "right")}
    pelvis, neck = named["pelvis"], named["neck"]
    middle = [_along(pelvis, neck, 0.5), neck, _along(neck, ears, _HEAD_JOINT), _along(neck, ears, _CROWN)]
    return np.stack([pelvis, *limbs["right"], *limbs["left"], *middle, *arms["left"], *arms["right"]], -2)


def _along(
    start: Float[np.ndarray, "*frames 3"], end: Float[np.ndarray, "*frames 3"], share: float
) -> Float[np.ndarray, "*frames 3"]:
    """The point at a share of the way between two keypoints; zeros where one of them is missing."""
    point = start + share * (end - start)
    point[..., 2] = np.minimum(start[..., 2], end[..., 2])
    return np.where(point[..., 2:] > 0, point, 0.0)


def _first_seen(*points: Float[np.ndarray, "*frames 3"]) -> Float[np.ndarray, "*frames 3"]:
    """The first of some points that is not missing, frame by frame."""
    chosen = points[0]
    for point in points[1:]:
        chosen = np.where(chosen[..., 2:] > 0, chosen, point)
    return chosen


def _frame_files(folder: Path) -> dict[int, Path]:
    """The file of each frame number."""
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "no such folder"
        raise FileError(f"{folder}: {found}; expected a folder with OpenPose's JSON file of each frame.")
    files = [path for path in folder.iterdir() if path.suffix.lower() == ".json" and path.is_file()]
    files = [path for path in files if path.stem.endswith(_KEYPOINTS)] or files
    if not files:
        raise FileError(f"{folder}: no .json files; expected OpenPose's: one for each frame (--write_json).")
    numbers: dict[int, Path] = {}
    videos: dict[str, Path] = {}  # a file of each
    for path in sorted(files):
        match = _NUMBER.fullmatch(path.stem.removesuffix(_KEYPOINTS))
        if match is None or len(match[2]) > 18:
            raise MotionError(f"{path}: no frame number in its name; expected such as video_000012_keypoints.json.")
        video, number = match[1], int(match[2])
        if number in numbers and video in videos:
            raise MotionError(f"{folder}: {numbers[number].name} and {path.name} are one frame; remove one.")
        videos.setdefault(video, path)
        numbers[number] = path
    if len(videos) > 1:
        names = listed([path.name for path in videos.values()])
        raise MotionError(f"{folder}: frames of {len(videos)} videos ({names}); put each in a folder of its own.")
    span = max(numbers) - min(numbers) + 1
    if span > MOST_FRAMES:
        raise MotionError(f"{folder}: frames {min(numbers)} to {max(numbers)}; at most {MOST_FRAMES} can be read.")
    return numbers


def _read_people(path: Path) -> list[Float[np.ndarray, "25 3"]]:
    """The keypoints of each person of a frame, of whom there may be none."""
    if path.stat().st_size > MOST_BYTES:
        raise FileError(f"{path}: {path.stat().st_size} bytes; a frame of OpenPose has at most {MOST_BYTES}.")
    try:
        content = json.loads(path.read_bytes(), parse_int=float)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: not readable as JSON; write it again, or remove it: the frame is missing.") from error
    people = content.get("people") if isinstance(content, dict) else None
    if not isinstance(people, list) or not all(isinstance(person, dict) for person in people):
        raise MotionError(f'{path}: no list "people" of objects; expected OpenPose\'s output (--write_json).')
    if len(people) > MOST_PEOPLE:
        raise MotionError(f"{path}: {len(people)} people; at most {MOST_PEOPLE} can be followed.")
    poses = [_read_pose(person, f"{path}: person {number}") for number, person in enumerate(people)]
    return [pose for pose in poses if pose[:, 2].any()]


def _read_pose(person: dict[str, Any], place: str) -> Float[np.ndarray, "25 3"]:
    """A person's keypoints; all zero where OpenPose found only hands or a face."""
    numbers = person.get("pose_keypoints_2d", [])
    if not isinstance(numbers, list) or not all(isinstance(number, float) for number in numbers):
        raise MotionError(f'{place}: "pose_keypoints_2d" is no list of numbers; expected x, y, confidence in turn.')
    if len(numbers) not in (0, 75):
        points, rest = divmod(len(numbers), 3)
        model = f" ({_OTHER_MODELS[points]})" if not rest and points in _OTHER_MODELS else ""
        raise MotionError(f"{place}: {len(numbers)} numbers{model}; expected 75: OpenPose's --model_pose BODY_25.")
    pose = np.array(numbers or [0.0] * 75).reshape(25, 3)
    seen = ~np.isnan(pose).any(-1) & (pose[:, 2] > 0)
    pose = np.where(seen[:, None], pose, 0.0)
    if np.abs(pose).max() > LARGEST_PIXEL:
        raise MotionError(f"{place}: a keypoint at {np.abs(pose).max():g}; expected pixels of an image.")
    pose[:, 2] = pose[:, 2].clip(max=1.0)  # OpenPose's confidences exceed 1 by a few hundredths
    return pose


def _follow(tracks: list[_Track], poses: Sequence[Float[np.ndarray, "25 3"]], frame: int) -> None:
    """Give the people of a frame to the tracks that they continue; the others begin tracks."""
    continued: dict[int, _Track] = {}
    if tracks and poses:
        likeness = _likeness(tracks, np.stack(poses), frame)
        pairs = zip(*linear_sum_assignment(likeness, maximize=True), strict=True)
        continued = {pose: tracks[track] for track, pose in pairs if likeness[track, pose] > 0}
    for number, pose in enumerate(poses):
        if number not in continued:
            continued[number] = _Track(pose, frame)
            tracks.append(continued[number])
        continued[number].see(pose, frame)
    if len(tracks) > MOST_TRACKS:
        tracks.sort(key=lambda track: track.confidence, reverse=True)
        del tracks[MOST_TRACKS:]


def _likeness(
    tracks: Sequence[_Track], poses: Float[np.ndarray, "people 25 3"], frame: int
) -> Float[np.ndarray, "tracks people"]:
    """1 for a pose where a track was a frame before, less for one further away or later, 0 for one out of reach."""
    known = np.stack([track.pose for track in tracks])[:, None]
    seen = known[..., 2:] > 0
    low, high = np.where(seen, known, np.inf).min(2), np.where(seen, known, -np.inf).max(2)
    size = np.linalg.norm((high - low)[..., :2], axis=-1)
    both = (seen & (poses[..., 2:] > 0))[..., 0]
    distances = np.linalg.norm((known - poses)[..., :2], axis=-1)
    moved = (distances * both).sum(-1) / both.sum(-1).clip(min=1) / np.maximum(size, 1e-9)
    elapsed = np.array([[frame - track.last] for track in tracks])
    within_reach = both.any(-1) & (size > 0) & (moved < FASTEST * elapsed)
    return within_reach * np.exp(-(moved / USUAL_MOVE + (elapsed - 1) / USUAL_GAP))
