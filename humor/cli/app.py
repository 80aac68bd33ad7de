"""The `humor` command: each sub-command is one function, whose arguments are its options."""

import sys
from collections.abc import Sequence

import tyro

from ..errors import HumorError
from .body import mannequin
from .data import import_motion, process
from .evaluate import evaluate
from .fitting import fit
from .lifting import lift
from .motion import reconstruct, sample
from .report import report
from .study import profile, study
from .terminal import print_error
from .training import export, train

app = tyro.extras.SubcommandApp()
app.command(mannequin)
app.command(name="import")(import_motion)
app.command(process)
app.command(train)
app.command(export)
app.command(study)
app.command(profile)
app.command(sample)
app.command(reconstruct)
app.command(fit)
app.command(lift)
app.command(evaluate)
app.command(report)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line, or show the help for an empty one.

    A mistake of the user's is one sentence on standard error and exit code 1; Ctrl-C is exit code 130.
    """
    words = sys.argv[1:] if arguments is None else arguments
    description = "Generate, fit and train on human motion with HuMoR, and measure where the training time goes."
    try:
        app.cli(prog="humor", description=description, args=words or ["--help"])
    except HumorError as error:
        print_error(error)
        sys.exit(1)
    except OSError as error:
        file = "" if error.filename is None else f"{error.filename}: "
        print_error(f"{file}cannot be read or written ({error.strerror or error}); check the path and its permissions.")
        sys.exit(1)
    except KeyboardInterrupt:
        print_error("interrupted; what was written is whole.")
        sys.exit(130)
