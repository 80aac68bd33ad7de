"""The times that the study published of one training step of 8 windows on an NVIDIA T4.

Source: "Improving the Efficiency of 3D Pose Estimation Model" (Ho, Stanford), tables 2 and 3.
"""

from dataclasses import dataclass

PUBLISHED_BATCH = 8  # windows a step


@dataclass(frozen=True)
class PublishedTime:
    """One phase of the step at one width of the network, in one precision."""

    table: int
    width: int  # factor on every hidden size
    phase: str
    precision: str
    milliseconds: float


PUBLISHED_TIMES = (
    #             table width phase      precision ms
    PublishedTime(2,    1,    "prepare", "fp32",    3.80),
    PublishedTime(2,    1,    "prepare", "fp16",    4.11),
    PublishedTime(2,    1,    "sample",  "fp32",    6.36),
    PublishedTime(2,    1,    "sample",  "fp16",    8.42),
    PublishedTime(2,    1,    "loss",    "fp32",   84.47),
    PublishedTime(2,    1,    "loss",    "fp16",   98.05),
    PublishedTime(3,    4,    "sample",  "fp32",   17.11),
    PublishedTime(3,    4,    "sample",  "fp16",    9.00),
)  # fmt: skip
