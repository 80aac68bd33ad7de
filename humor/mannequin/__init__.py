"""A human-looking body in the SMPL+H file format, made by rule: the default body, since SMPL+H may not be shipped."""

from .smplh_arrays import mannequin_arrays, write_mannequins

__all__ = ["mannequin_arrays", "write_mannequins"]
