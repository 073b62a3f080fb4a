import asyncio
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

from suite.serve.batching import Limits
from suite.serve.models import Model, Models, Version


def test_a_link_into_nowhere_keeps_nobody_from_answering(tmp_path, monkeypatch):
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
    (tmp_path / "2/.#lock").symlink_to("somebody@somewhere")
    monkeypatch.setattr(Model, "_read", lambda self, number: Version(number, {}, {}))
    model = Model(tmp_path, Limits(), ThreadPoolExecutor())

    asyncio.run(model.refresh())

    assert model.newest.number == 2


def test_a_version_that_is_still_being_copied_is_loaded_again(tmp_path, monkeypatch):
    reads = []

    def read(self, number):
        if not reads:  # something comes while it is read
            (tmp_path / "1" / "metadata.json").touch()
        reads.append(number)
        return Version(number, {}, {})

    (tmp_path / "1").mkdir()
    monkeypatch.setattr(Model, "_read", read)
    model = Model(tmp_path, Limits(), ThreadPoolExecutor())

    asyncio.run(model.refresh())
    assert model.newest is None and "have changed" in model.damaged[1].message
    asyncio.run(model.refresh())
    assert model.newest.number == 1 and len(reads) == 2


def test_a_version_asked_for_by_number_answers_while_another_is_loaded(tmp_path, monkeypatch):
    (tmp_path / "1").mkdir()
    started, may_end = threading.Event(), threading.Event()

    def load(self, number):
        if number == 2:
            started.set()
            may_end.wait(30)
        return Version(number, {}, {})

    monkeypatch.setattr(Model, "_read", load)

    async def ask():
        model = Model(tmp_path, Limits(), ThreadPoolExecutor())
        await model.refresh()
        (tmp_path / "2").mkdir()
        refreshing = asyncio.create_task(model.refresh())
        await asyncio.to_thread(started.wait)
        try:
            before = await asyncio.wait_for(model.version(1), timeout=5)
        finally:
            may_end.set()
            await refreshing
        return before, await model.version(None)

    before, after = asyncio.run(ask())
    assert (before.number, after.number) == (1, 2)


def test_a_version_that_is_replaced_is_forgotten(tmp_path, monkeypatch):
    """Although its signatures refer to what refers to them."""
    made = []

    class Signature:
        pass

    def load(self, number):
        signature = Signature()
        version = Version(number, {"serve": signature}, {})
        signature.version = version
        made.append(weakref.ref(signature))
        return version

    async def replace():
        models = Models(tmp_path, Limits())
        for number in ("1", "2"):
            (tmp_path / "toy" / number).mkdir(parents=True)
            await models.refresh()
        return models

    monkeypatch.setattr(Model, "_read", load)
    models = asyncio.run(replace())

    assert [signature() is None for signature in made] == [True, False]
    assert models.names == ["toy"]


def test_the_server_needs_no_module_that_needs_keras():
    """TensorFlow imports Keras itself; what trains, exports or builds does so for us."""
    script = (
        "import sys, suite.serve.server;"
        "modules = {name: module for name, module in sys.modules.items() if name[:5] == 'suite'};"
        "assert not [name for name, module in modules.items() if hasattr(module, 'keras')];"
        "print(*sorted(name for name in modules if name[:11] != 'suite.serve'))"
    )

    modules = subprocess.check_output([sys.executable, "-c", script], text=True).split()

    assert set(modules) <= {
        "suite",
        "suite.errors",
        "suite.export",
        "suite.export.loading",
        "suite.export.refusals",
        "suite.export.versions",
        "suite.files",
        "suite.startup",
    }
