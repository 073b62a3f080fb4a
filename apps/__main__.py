"""Lists the applications by topic: `python -m apps`."""

import ast
import itertools
import sys
from pathlib import Path
from typing import NamedTuple

from suite.console import prepare_output
from suite.export.versions import versions

WITHOUT_TOPIC = "other"


class Entry(NamedTuple):
    """One line of the list: an application with its topic and purpose.

    Args:
        topic: The `topic` of the `App`.
        name: The name of the module.
        purpose: The first line of the module's docstring.
    """

    topic: str
    name: str
    purpose: str


def describe(source: Path) -> Entry:
    """Reads the entry of an application from its source; an import would take seconds."""
    module = ast.parse(source.read_bytes())
    topics = (
        keyword.value.value
        for call in ast.walk(module)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "App"
        for keyword in call.keywords
        if keyword.arg == "topic" and isinstance(keyword.value, ast.Constant)
    )
    purpose = (ast.get_docstring(module) or "").partition("\n")[0]
    return Entry(str(next(topics, WITHOUT_TOPIC)), source.stem, purpose)


def main(arguments: list[str]) -> int:
    """Prints a line for each application, and returns the exit code: 2 if there are arguments."""
    prepare_output()
    apps = [describe(source) for source in Path(__file__).parent.glob("[!_]*.py")]
    apps.sort(key=lambda app: (app.topic == WITHOUT_TOPIC, app))
    if arguments:
        names = ", ".join(sorted(app.name for app in apps))
        print(
            f"run an app as python -m apps.<name>, where <name> is one of: {names}. "
            f"Received: {' '.join(arguments)}",
            file=sys.stderr,
        )
        return 2
    width = max(len(app.name) for app in apps)
    for topic, group in itertools.groupby(apps, key=lambda app: app.topic):
        print(f"{topic}:")
        for app in group:
            exported = versions(Path("saved_models", app.name))
            version = f"version {exported[-1]}" if exported else "not exported yet"
            print(f"  {app.name:{width}}  {app.purpose} ({version})")
    print("\nRun one: python -m apps.<name>; all it can do: python -m apps.<name> --help")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
