"""The command that makes bodies: mannequin."""

from pathlib import Path
from typing import Annotated

import tyro

from ..errors import SettingError
from ..mannequin import write_mannequins
from ..mannequin.drawing import draw_mannequins
from .terminal import console


def mannequin(out: Annotated[Path, tyro.conf.Positional], picture: Path | None = None) -> None:
    """Write the procedural body of each gender in SMPL+H format: OUT/male/model.npz, and so on.

    Args:
        out: folder to write to.
        picture: also draw the three bodies, and the neutral one in a few poses, to this PNG file.
    """
    if picture is not None and picture.suffix.lower() != ".png":
        raise SettingError(f"{picture}: pictures are .png files; give another name.")
    for file in write_mannequins(out):
        console.print(f"wrote {file}", markup=False)
    if picture is not None:
        console.print(f"drew {draw_mannequins(picture)}", markup=False)
