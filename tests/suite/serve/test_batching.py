import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from suite.serve.batching import Batcher, Limits


class Slow:
    """Squares its inputs once `may_go` is set, and notes the sizes of its batches."""

    def __init__(self):
        self.sizes, self.may_go = [], threading.Event()

    def __call__(self, inputs):
        self.sizes.append(len(inputs["x"]))
        self.may_go.wait(10)
        if (inputs["x"] < 0).any():
            raise ValueError("negative")
        return {"y": inputs["x"] ** 2}


def ask_together(function, questions, limits=Limits()):  # noqa: B008
    """The answers or errors to questions, of which all but the first wait for the same batch."""

    async def ask():
        with ThreadPoolExecutor() as executor:
            batcher = Batcher(function, limits, executor)
            tasks = [asyncio.create_task(batcher({"x": np.array(q)})) for q in questions]
            while not function.sizes:
                await asyncio.sleep(0.001)
            function.may_go.set()
            return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(ask())


def test_each_gets_its_own_and_those_that_wait_go_together():
    slow = Slow()
    questions = [[0], [1], [2, 3], [4]]

    answers = ask_together(slow, questions)

    assert [answer["y"].tolist() for answer in answers] == [[0], [1], [4, 9], [16]]
    assert sum(slow.sizes) == 5
    assert len(slow.sizes) <= 2


def test_a_batch_is_no_larger_than_it_may_be():
    slow = Slow()

    ask_together(slow, [[0]] * 7, Limits(max_batch_size=3))

    assert slow.sizes == [3, 3, 1]


def test_a_request_larger_than_a_batch_goes_alone():
    slow = Slow()

    answers = ask_together(slow, [[0], [1] * 5, [2]], Limits(max_batch_size=3))

    assert slow.sizes == [1, 5, 1]
    assert answers[1]["y"].tolist() == [1] * 5


def test_only_equal_shapes_go_together():
    slow = Slow()

    answers = ask_together(slow, [[[1, 2]], [[3, 4]], [[5]], [[6]]])

    assert [answer["y"].tolist() for answer in answers] == [[[1, 4]], [[9, 16]], [[25]], [[36]]]
    assert slow.sizes == [2, 2]


def test_texts_of_unequal_lengths_go_together():
    slow = Slow()

    def lengths(inputs):
        texts = inputs["x"]
        slow({"x": np.zeros(len(texts))})
        return {"y": np.array([len(text) for text in texts])}

    lengths.sizes, lengths.may_go = slow.sizes, slow.may_go
    questions = [np.array([b"word " * n], object) for n in (1, 0, 200, 3)]

    answers = ask_together(lengths, questions)

    assert [answer["y"].tolist() for answer in answers] == [[5], [0], [1000], [15]]
    assert sum(slow.sizes) == 4
    assert len(slow.sizes) <= 2


def test_one_that_fails_does_not_harm_the_others():
    answers = ask_together(Slow(), [[1], [-1], [2]])

    assert isinstance(answers[1], ValueError)
    assert [answers[n]["y"].tolist() for n in (0, 2)] == [[1], [4]]


def test_an_idle_model_waits_as_long_as_it_is_told():
    slow = Slow()
    slow.may_go.set()

    async def ask():
        with ThreadPoolExecutor() as executor:
            batcher = Batcher(slow, Limits(batch_timeout=0.5), executor)
            first = asyncio.create_task(batcher({"x": np.array([1])}))
            await asyncio.sleep(0.05)
            await asyncio.gather(first, batcher({"x": np.array([2])}))

    asyncio.run(ask())

    assert slow.sizes == [2]


def test_a_full_batch_waits_for_nobody():
    slow = Slow()
    slow.may_go.set()

    async def ask():
        with ThreadPoolExecutor() as executor:
            batcher = Batcher(slow, Limits(max_batch_size=2, batch_timeout=60), executor)
            for _ in range(2):
                both = [batcher({"x": np.array([n])}) for n in range(2)]
                await asyncio.wait_for(asyncio.gather(*both), 30)

    asyncio.run(ask())

    assert slow.sizes == [2, 2]


@pytest.mark.parametrize("gone", [0, 1])
def test_a_client_that_went_away_takes_nobody_along(gone):
    slow = Slow()

    async def ask():
        with ThreadPoolExecutor() as executor:
            batcher = Batcher(slow, Limits(max_batch_size=1), executor)
            tasks = [asyncio.create_task(batcher({"x": np.array([n])})) for n in range(3)]
            while not slow.sizes:
                await asyncio.sleep(0.001)
            tasks[gone].cancel()
            slow.may_go.set()
            return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(ask())

    others = [n for n in range(3) if n != gone]
    assert [answers[n]["y"].tolist() for n in others] == [[n * n] for n in others]


def test_after_an_answer_of_another_length_all_are_asked_alone():
    async def ask():
        sizes = []

        def words(inputs):
            sizes.append(len(inputs["x"]))
            return {"y": np.repeat(inputs["x"], inputs["x"])}

        with ThreadPoolExecutor() as executor:
            batcher = Batcher(words, Limits(), executor)
            await batcher({"x": np.array([2])})
            questions = [[1], [2], [0], [1]]  # two and none add up to as many as the questions
            answers = await asyncio.gather(*(batcher({"x": np.array(q)}) for q in questions))
        return sizes, [answer["y"].tolist() for answer in answers]

    sizes, answers = asyncio.run(ask())

    assert answers == [[1], [2, 2], [], [1]]
    assert sizes == [1, 1, 1, 1, 1]


def test_answers_of_other_lengths_than_the_questions_come_whole():
    slow = Slow()

    def doubled(inputs):
        return {"y": np.repeat(slow(inputs)["y"], 2)}

    doubled.sizes, doubled.may_go = slow.sizes, slow.may_go

    answers = ask_together(doubled, [[0], [1], [2, 3]])

    assert [answer["y"].tolist() for answer in answers] == [[0, 0], [1, 1], [4, 4, 9, 9]]
