"""The mannequin's proportions: tables of cross-sections and joints, and the few numbers that stretch them.

Everything here is invented for this project from general knowledge of body proportions; none of it is measured from,
or fitted to, a body model. Tables are in metres for a person 1.70 m tall in the rest pose: y up, facing +z, left is
+x, arms out along x, palms down. Only the left half is described; the right is its mirror image.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PELVIS = np.array([0.0, -0.24, 0.01])
REFERENCE_STATURE = 1.70
SOLE, ANKLE_HEIGHT = -1.1665, -1.090  # y of the sole and of the ankle joint in the tables


@dataclass(frozen=True)
class Build:
    """The proportions of one body. A default of `1.0` is a ratio to the tables, `0.0` an addition in metres."""

    femininity: float = 0.5  # 0 takes the male cross-sections, 1 the female ones
    stature: float = 1.70
    girth: float = 1.0
    legs: float = 1.0
    arms: float = 1.0
    shoulders: float = 0.0  # added to each side
    hips: float = 0.0  # added to each side
    belly: float = 0.0  # added to the front
    chest: float = 0.0  # added to the front
    head: float = 1.0
    neck: float = 1.0
    feet: float = 1.0
    hands: float = 1.0
    muscle: float = 1.0
    torso: float = 1.0
    thighs: float = 1.0
    calves: float = 1.0


BUILDS = {
    "male": Build(0.0, stature=1.76, shoulders=0.008, neck=1.08, hands=1.03, feet=1.02, muscle=1.04),
    "female": Build(1.0, stature=1.63, shoulders=-0.009, neck=0.90, hands=0.95, feet=0.96, muscle=0.93, thighs=1.05),
    "neutral": Build(),
}

# What one unit of each beta adds to a field: about one standard deviation among adults of one sex.
SHAPE_STEPS = (
    ("stature", 0.065), ("girth", 0.085), ("legs", 0.035), ("arms", 0.035), ("shoulders", 0.009), ("hips", 0.010),
    ("belly", 0.022), ("chest", 0.013), ("head", 0.030), ("neck", 0.070), ("feet", 0.045), ("hands", 0.045),
    ("muscle", 0.070), ("torso", 0.040), ("thighs", 0.070), ("calves", 0.070),
)  # fmt: skip

# Rows of the trunk from the groin up. y at the midline and how much higher the side is; the half width, front and back
# depth of the male and of the female section; how deep the midline is drawn in, front and back.
TRUNK = np.array(
    [  # y      rise   width m/f      front m/f      back m/f         cleft front/back
        [-0.400, 0.092, 0.167, 0.177, 0.088, 0.086, -0.102, -0.106, 0.036, 0.046],
        [-0.362, 0.076, 0.164, 0.174, 0.092, 0.089, -0.115, -0.124, 0.012, 0.034],
        [-0.318, 0.054, 0.161, 0.170, 0.094, 0.088, -0.118, -0.131, 0.000, 0.024],
        [-0.268, 0.033, 0.156, 0.162, 0.096, 0.090, -0.109, -0.120, 0.000, 0.014],
        [-0.216, 0.015, 0.150, 0.150, 0.099, 0.094, -0.095, -0.099, 0.000, 0.006],
        [-0.164, 0.004, 0.145, 0.137, 0.100, 0.094, -0.084, -0.081, 0.001, 0.007],
        [-0.112, 0.000, 0.142, 0.127, 0.099, 0.089, -0.079, -0.073, 0.002, 0.010],
        [-0.060, 0.000, 0.143, 0.125, 0.100, 0.087, -0.082, -0.074, 0.003, 0.012],
        [-0.010, 0.000, 0.149, 0.131, 0.104, 0.091, -0.091, -0.080, 0.003, 0.012],
        [+0.038, 0.000, 0.158, 0.139, 0.109, 0.097, -0.101, -0.089, 0.004, 0.012],
        [+0.082, 0.000, 0.167, 0.145, 0.112, 0.100, -0.109, -0.096, 0.005, 0.011],
        [+0.124, 0.000, 0.171, 0.150, 0.110, 0.097, -0.114, -0.100, 0.005, 0.010],
        [+0.165, 0.000, 0.168, 0.152, 0.097, 0.086, -0.114, -0.100, 0.003, 0.007],
        [+0.203, 0.004, 0.164, 0.153, 0.074, 0.068, -0.104, -0.093, 0.001, 0.004],
    ]
)
TRUNK_ANGLES = np.radians([0, 17, 34, 50, 63, 90, 117, 130, 146, 163, 180])  # from the front midline round the side
BUST = {  # how far a female row stands out at the five front columns, midline to armhole
    9: (0.000, 0.008, 0.017, 0.011, 0.001), 10: (0.000, 0.014, 0.030, 0.020, 0.003),
    11: (0.000, 0.008, 0.020, 0.013, 0.002), 12: (0.000, 0.002, 0.006, 0.005, 0.001),
}  # fmt: skip
PECTORAL = {10: (-0.002, 0.004, 0.008, 0.006, 0.0), 11: (-0.003, 0.006, 0.010, 0.008, 0.002)}  # the same for males
SHOULDER_TOP = np.array(
    [  # the trunk's last row, then the two points on the ridge between neck and shoulder
        [0.000, 0.222, 0.043], [0.028, 0.226, 0.044], [0.056, 0.243, 0.030], [0.108, 0.250, 0.026],
        [0.156, 0.253, 0.014], [0.166, 0.272, -0.022], [0.156, 0.257, -0.064], [0.108, 0.266, -0.074],
        [0.056, 0.284, -0.055], [0.028, 0.290, -0.067], [0.000, 0.291, -0.069],
        [0.062, 0.276, -0.012], [0.112, 0.283, -0.026],
    ]
)  # fmt: skip
GROIN = np.array([[0.0, -0.412, -0.005]])

# Rings of the neck and head from below: front y, z; the next two columns' x and z; side x, y, z; back y, z.
HEAD = np.array(
    [
        [0.246, 0.047, 0.014, 0.043, 0.034, 0.032, 0.0620, 0.293, -0.006, 0.310, -0.064],
        [0.270, 0.049, 0.014, 0.045, 0.033, 0.033, 0.0598, 0.314, -0.002, 0.334, -0.061],
        [0.290, 0.055, 0.014, 0.050, 0.033, 0.036, 0.0600, 0.337, 0.004, 0.360, -0.063],
        [0.299, 0.079, 0.015, 0.072, 0.033, 0.047, 0.0610, 0.353, 0.010, 0.384, -0.071],
        [0.306, 0.101, 0.016, 0.096, 0.034, 0.070, 0.0635, 0.367, 0.012, 0.405, -0.079],
        [0.324, 0.111, 0.017, 0.1055, 0.037, 0.082, 0.0668, 0.381, 0.011, 0.423, -0.085],
        [0.342, 0.1085, 0.018, 0.1065, 0.041, 0.084, 0.0700, 0.394, 0.009, 0.438, -0.089],
        [0.357, 0.1105, 0.018, 0.1065, 0.044, 0.085, 0.0728, 0.406, 0.007, 0.450, -0.091],
        [0.370, 0.132, 0.017, 0.105, 0.046, 0.086, 0.0750, 0.418, 0.005, 0.462, -0.092],
        [0.392, 0.122, 0.016, 0.099, 0.047, 0.085, 0.0768, 0.429, 0.004, 0.473, -0.091],
        [0.413, 0.109, 0.017, 0.097, 0.047, 0.084, 0.0782, 0.441, 0.003, 0.484, -0.088],
        [0.432, 0.112, 0.018, 0.104, 0.048, 0.0875, 0.0790, 0.454, 0.002, 0.494, -0.083],
        [0.453, 0.113, 0.019, 0.109, 0.049, 0.092, 0.0790, 0.469, 0.002, 0.504, -0.077],
        [0.478, 0.107, 0.019, 0.103, 0.047, 0.086, 0.0760, 0.486, 0.002, 0.514, -0.067],
        [0.502, 0.090, 0.017, 0.087, 0.041, 0.072, 0.0660, 0.507, 0.003, 0.524, -0.053],
        [0.523, 0.058, 0.013, 0.056, 0.028, 0.047, 0.0445, 0.527, 0.004, 0.533, -0.032],
    ]
)
CROWN = np.array([[0.000, 0.5360, 0.012], [0.020, 0.5350, 0.012]])
BACK_COLUMNS = (17, 50)  # degrees behind the side at which the two columns behind it stand
EARS = {5: 0.007, 6: 0.015, 7: 0.016, 8: 0.011}  # how far a ring stands out at the first of them
HEAD_BASE = np.array([0.0, 0.315, 0.0])  # the head and neck grow from here

# Rings of the arm: place (0 the shoulder joint, 1 the elbow, 2 the wrist), centre's y and z off the bone, half sizes.
ARM = np.array(
    [  # place   y       z      height z-depth
        [0.09, -0.005, -0.002, 0.0525, 0.0580],
        [0.23, -0.005, 0.000, 0.0500, 0.0555],
        [0.37, -0.004, 0.002, 0.0465, 0.0520],
        [0.52, -0.003, 0.003, 0.0435, 0.0495],
        [0.68, -0.001, 0.003, 0.0405, 0.0455],
        [0.83, 0.000, 0.001, 0.0378, 0.0418],
        [0.96, 0.000, -0.002, 0.0370, 0.0410],
        [1.09, 0.000, 0.001, 0.0385, 0.0420],
        [1.23, 0.000, 0.004, 0.0385, 0.0425],
        [1.40, 0.000, 0.004, 0.0350, 0.0395],
        [1.60, 0.000, 0.002, 0.0290, 0.0340],
        [1.80, 0.000, 0.000, 0.0235, 0.0295],
        [1.96, 0.000, 0.000, 0.0205, 0.0280],
    ]
)
ARM_ANGLES = np.radians(18 + 36 * np.arange(10))  # from +z over +y
PALM = np.array(
    [  # metres beyond the wrist, centre's y and z, half height, half breadth
        [0.020, -0.002, 0.001, 0.0190, 0.0300],
        [0.048, -0.003, 0.001, 0.0170, 0.0365],
        [0.074, -0.002, 0.000, 0.0145, 0.0410],
        [0.099, 0.000, -0.002, 0.0110, 0.0410],
    ]
)
# How much further the webs reach, from the index finger's side to the little finger's.
KNUCKLE_REACH = np.array([-0.006, 0.000, 0.003, -0.001, -0.010])


@dataclass(frozen=True)
class Finger:
    """A finger, straight at rest: its three joints and its tip, as distances along it, and its radius at each."""

    knuckle: tuple[float, float, float]  # metres from the wrist joint
    direction: tuple[float, float, float]
    joints: tuple[float, float, float]  # metres from the knuckle: second joint, third joint, tip
    radii: tuple[float, float, float]  # metres at the root, in the middle, before the tip


# In the order of the fingers along the hand, index first; the thumb is last.
FINGERS = {
    "index": Finger((0.085, 0.001, 0.0290), (1.0, -0.02, 0.060), (0.042, 0.066, 0.087), (0.0106, 0.0096, 0.0080)),
    "middle": Finger((0.088, 0.002, 0.0085), (1.0, -0.02, 0.005), (0.045, 0.073, 0.096), (0.0108, 0.0098, 0.0082)),
    "ring": Finger((0.085, 0.001, -0.0120), (1.0, -0.02, -0.055), (0.042, 0.068, 0.090), (0.0103, 0.0093, 0.0077)),
    "pinky": Finger((0.079, -0.001, -0.0315), (1.0, -0.02, -0.120), (0.034, 0.053, 0.073), (0.0093, 0.0083, 0.0069)),
    "thumb": Finger((0.018, -0.008, 0.017), (0.74, -0.22, 0.63), (0.047, 0.080, 0.108), (0.0150, 0.0128, 0.0102)),
}

# Rings of the leg: place (0 the hip joint, 1 the knee, 2 the ankle), centre's x and z off the bone, half sizes, how
# much higher the outside is than the inside.
LEG = np.array(
    [  # place  x       z      width   depth  rise
        [0.215, 0.003, -0.014, 0.0890, 0.0960, 0.078],
        [0.335, 0.003, -0.011, 0.0870, 0.0920, 0.058],
        [0.455, 0.002, -0.005, 0.0820, 0.0870, 0.038],
        [0.570, 0.000, -0.003, 0.0750, 0.0815, 0.018],
        [0.685, 0.000, 0.000, 0.0690, 0.0750, 0.006],
        [0.795, 0.000, 0.000, 0.0630, 0.0685, 0.000],
        [0.885, 0.000, 0.0030, 0.0585, 0.0635, 0.000],
        [0.960, 0.000, 0.0050, 0.0565, 0.0610, 0.000],
        [1.030, 0.000, 0.000, 0.0550, 0.0590, 0.000],
        [1.100, 0.000, -0.0060, 0.0530, 0.0575, 0.000],
        [1.190, 0.001, -0.009, 0.0540, 0.0595, 0.000],
        [1.290, 0.002, -0.013, 0.0560, 0.0620, 0.000],
        [1.390, 0.002, -0.013, 0.0550, 0.0600, 0.000],
        [1.500, 0.001, -0.009, 0.0495, 0.0545, 0.000],
        [1.620, 0.000, -0.003, 0.0425, 0.0475, 0.000],
        [1.740, 0.000, 0.002, 0.0355, 0.0420, 0.000],
        [1.850, 0.000, 0.003, 0.0325, 0.0400, 0.000],
        [1.940, 0.000, 0.002, 0.0330, 0.0425, 0.000],
    ]
)
LEG_ANGLES = np.radians(30 * np.arange(12))  # from +x (outside) over +z (front)
# The heel, down to the sole: height above the sole, half width, z of its front and back off the ankle joint.
HEEL = np.array([[0.078, 0.0350, 0.052, -0.045], [0.040, 0.0335, 0.060, -0.056], [0.004, 0.0270, 0.060, -0.048]])
# Rings of the foot, forward: z off the ankle, centre's x, half width, height of the top and the bottom above the sole.
FOOT = np.array(
    [
        [0.078, 0.003, 0.0370, 0.073, 0.004],
        [0.102, 0.006, 0.0400, 0.063, 0.002],
        [0.130, 0.009, 0.0445, 0.053, 0.000],
        [0.158, 0.010, 0.0475, 0.044, 0.000],
        [0.184, 0.008, 0.0465, 0.037, 0.000],
        [0.208, 0.004, 0.0395, 0.031, 0.001],
    ]
)
# A ring from the inner top over the outside to the inner bottom: sideways, and between the bottom and the top.
FOOT_ACROSS = np.array([-0.92, -0.5, 0, 0.5, 0.92, 1.0, 0.92, 0.5, 0, -0.5, -0.92, -1.0])
FOOT_DOME = np.array([0.72, 0.95, 1.0, 0.86, 0.58, 0.36, 0.08, 0.0, 0.0, 0.0, 0.08, 0.40])
TOE_TIP = 0.218
TOE_SLANT = 0.28  # how far the outer toes stand back at the tip, as a share of the half width

# The left half's joints in the rest pose, metres; fingers follow from the wrist.
JOINTS = {
    "pelvis": PELVIS, "hip": (0.090, -0.325, 0.008), "spine1": (0, -0.125, -0.005), "knee": (0.098, -0.690, 0.008),
    "spine2": (0, 0.005, -0.012), "ankle": (0.092, ANKLE_HEIGHT, -0.028), "spine3": (0, 0.070, -0.010),
    "foot": (0.100, -1.143, 0.108), "neck": (0, 0.275, -0.022), "collar": (0.070, 0.205, -0.015),
    "head": (0, 0.365, 0.006), "shoulder": (0.172, 0.228, -0.024), "elbow": (0.432, 0.222, -0.036),
    "wrist": (0.674, 0.222, -0.024),
}  # fmt: skip
