"""Lists the applications: `python -m apps`."""

import ast
import sys
from pathlib import Path

from suite.app import app_names
from suite.export.versions import versions


def describe(name: str) -> str:
    """The first line of an app's docstring, read without importing it."""
    source = Path(__file__).with_name(f"{name}.py").read_text()
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def main() -> None:
    """Prints a line for each app, or refuses an unknown one."""
    names = app_names()
    if sys.argv[1:]:
        print(
            f"an app is run as python -m apps.<name>, with a name of: {', '.join(names)}. "
            f"Received: {' '.join(sys.argv[1:])}",
            file=sys.stderr,
        )
        sys.exit(2)
    width = max(map(len, names))
    for name in names:
        exported = versions(Path("saved_models") / name)
        version = f"version {exported[-1]}" if exported else "not exported yet"
        print(f"{name:{width}}  {describe(name)} ({version})")
    print("\nRun one: python -m apps.<name>; all it can do: python -m apps.<name> --help")


if __name__ == "__main__":
    main()
