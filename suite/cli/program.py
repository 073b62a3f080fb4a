"""A command line as a program: what goes wrong becomes one sentence and an exit code."""

import functools
import gc
import os
import sys
from collections.abc import Sequence

import cyclopts

from suite.app import App
from suite.cli.commands import command_line_of
from suite.console import error_line, prepare_output
from suite.errors import (
    Diverged,
    InputError,
    Interrupted,
    Unwritable,
    WorkerLost,
    as_input_error,
)
from suite.startup import set_keras_defaults

DEBUG = "SUITE_DEBUG"  # if this variable is set, errors end in a traceback rather than a sentence


def main(app: App) -> None:
    """Runs an app from `sys.argv`, and ends the process with its exit code."""
    prepare_output()
    exit_code = run(app, sys.argv[1:])
    gc.collect()  # the thread pools of a strategy print errors if they live until Python's exit
    sys.exit(exit_code)


def run(app: App, arguments: Sequence[str]) -> int:
    """Runs an app from the arguments of a command line.

    Returns:
        The exit code: 0; 1 if the training diverged, a disk is full or another worker is gone;
        2 for bad input; 130 or 143 if a signal stopped it.
    """
    command_line = command_line_of(app)
    complain = functools.partial(_complain, command_line)
    try:
        set_keras_defaults()
        command_line(
            arguments, exit_on_error=False, print_error=False, result_action="return_value"
        )
    except cyclopts.UnusedCliTokensError as error:
        return complain(_unused(command_line, arguments, error.unused_tokens or ()), 2)
    except cyclopts.CycloptsError as error:
        return complain(_cause(error), 2, error.argument.name if error.argument else "value")
    except InputError as error:
        return complain(error, 2)
    except MemoryError as error:
        return complain(InputError("there must be enough memory", str(error) or "too little"), 2)
    except (Diverged, WorkerLost, Unwritable) as error:
        return complain(error, 1)
    except Interrupted as error:
        return complain(error, 128 + error.signal_number)
    except KeyboardInterrupt:
        return complain(KeyboardInterrupt("interrupted"), 130)
    return 0


def _unused(
    command_line: cyclopts.App, arguments: Sequence[str], unused: Sequence[str]
) -> InputError:
    """The error for arguments that no command takes."""
    commands = [name for name in command_line if not name.startswith("-")]
    before = list(arguments[: list(arguments).index(unused[0])]) if unused[0] in arguments else []
    if arguments[0] in commands:
        requirement = f"{arguments[0]} takes options only"
    elif misplaced := set(commands) & set(unused):
        requirement = f"{min(misplaced)} must come first"
    elif len(before) > 1 and before[-2].startswith("--"):
        requirement = f"{before[-2]} takes one value"
    else:
        requirement = f"a command must be one of: {', '.join(commands)}; or none"
    return InputError(requirement, " ".join(unused))


def _complain(
    command_line: cyclopts.App, error: BaseException, exit_code: int, name: str = "value"
) -> int:
    """Prints what is wrong, and returns the exit code.

    Args:
        command_line: Its flags are the knobs' names in the sentence.
        error: What was raised.
        exit_code: To return.
        name: The knob that the error is about, if the error does not name one.
    """
    error = as_input_error(error, name)
    if os.environ.get(DEBUG):
        raise error
    print(error_line(error, command_line), file=sys.stderr)
    return exit_code


def _cause(error: BaseException) -> BaseException:
    """The error that a check of the suite raised, if the parser only wraps it; else the error."""
    while isinstance(error, cyclopts.CycloptsError) and error.__cause__ is not None:
        error = error.__cause__
    return error
