"""The `humor` command: each sub-command is one function, its arguments are its help."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from .drawing import draw_mannequins
from .errors import HumorError
from .mannequin import write_mannequins

app = tyro.extras.SubcommandApp()
console = Console(highlight=False, soft_wrap=True)


@app.command
def mannequin(out: Annotated[Path, tyro.conf.Positional], picture: Path | None = None) -> None:
    """Write the procedural body of each gender in SMPL+H format: OUT/male/model.npz, and so on.

    Args:
        out: folder to write to.
        picture: also draw the three bodies, and the neutral one in a few poses, to this PNG file.
    """
    for file in write_mannequins(out):
        console.print(f"wrote {file}")
    if picture is not None:
        console.print(f"drew {draw_mannequins(picture)}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line; a mistake of the user's is one sentence on standard error and exit code 1."""
    try:
        app.cli(prog="humor", description="HuMoR's motion model, its loss and its data.", args=arguments)
    except HumorError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"humor: {error}", markup=False)
        sys.exit(1)
    except OSError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"humor: {error}", markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        Console(stderr=True).print("humor: interrupted; what was written is whole.", markup=False)
        sys.exit(130)
