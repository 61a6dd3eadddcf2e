"""How long a grid will take, and what it spent its time on, from histories made up for the purpose."""

from pathlib import Path

import pytest

from d2vlm_lab.config import RunConfig
from d2vlm_lab.lab.study.estimate import History, expected, time_left
from d2vlm_lab.lab.study.form import Point
from d2vlm_lab.lab.study.job import Job
from d2vlm_lab.lab.study.timing import timing


def record(variant="full", seed=0, kind="point", study="objective", notebook="n", profile="quick", learn=None,
           **settings):
    extras = {} if learn is None else {"learn": learn}
    return {"kind": kind, "study": study, "variant": variant, "seed": seed, "profile": profile, "extras": extras,
            "settings": {"seed": seed, "method.semantics": "layer"} | settings, "hashes": {"notebook": notebook}}


def job(variant="full", seed=0, starts=(), twin=None, **more) -> Job:
    return Job(Point(variant, seed, RunConfig(), {}), record(variant, seed, **more), Path(), Path(),
               trains=more.get("learn", True), starts={work.point.variant: work for work in starts}, twin=twin)


def history(*took) -> History:
    seconds = History()
    for made, duration in took:
        seconds.add(made, {"status": "done", "seconds": duration})
    return seconds


OTHER, LONG = {"method.semantics": "off"}, {"training.steps": 9}
SHARED = {"variant": "@sft", "kind": "shared", "notebook": ""}


def test_a_run_takes_as_long_as_those_that_are_most_like_it():
    past = history((record(seed=1), 100.0), (record(seed=2), 120.0), (record("off", **OTHER), 300.0))
    assert expected(record(seed=3), past) == 110, "the same settings, whatever the seed"
    assert expected(record("projection", **{"method.semantics": "projection"}), past) == 120, "the same kind of run"
    assert expected(record(study="evidence", **LONG), past) == 120, "the same kind in another study"
    assert expected(record(study="length", notebook="other"), past) is None
    assert expected(record(profile="full", **LONG), past) is None


def test_runs_that_only_examine_say_nothing_of_those_that_train_nor_of_shared_trainings():
    past = history((record(learn=False), 39.0))
    assert expected(record(learn=True, **LONG), past) is None
    assert expected(record(**SHARED), past) is None
    assert expected(record(learn=False, **LONG), past) == 39


def test_runs_of_this_grid_come_before_earlier_ones_unless_those_are_more_like_it():
    earlier, now = history((record(), 100.0)), history((record("off", **OTHER), 50.0))
    assert expected(record("p", **{"method.semantics": "projection"}), now, earlier) == 50
    assert expected(record(seed=1), now, earlier) == 100


def test_runs_that_failed_say_nothing():
    past = History()
    past.add(record(), {"status": "failed", "seconds": 1.0})
    assert expected(record(), past) is None


def test_the_time_left_is_unknown_while_some_kind_of_run_is():
    shared, late = job(**SHARED), job("late", learn=False)
    past = history((record(learn=False), 39.0))
    assert time_left({}, [shared, late], 2, past) is None
    shared.seconds = 400.0  # what the profile says
    assert time_left({}, [shared, late], 2, past) == 400


def test_the_time_left_is_never_less_than_what_the_running_ones_have_left():
    training, late = job(**SHARED), job("late", learn=False)
    past = history((record(**SHARED), 400.0), (record(learn=False), 39.0))
    assert time_left({training: 100.0}, [training, late], 2, past) == 300
    late = job("late", learn=False, starts=[training])
    assert time_left({training: 100.0}, [training, late], 2, past) == 339
    assert time_left({training: 500.0}, [training, late], 2, past) == pytest.approx(50 + 39), "longer than expected"


def test_the_time_left_is_that_of_the_slots_as_the_runner_fills_them():
    past = history((record(learn=True), 100.0))
    jobs = [job(f"v{n}", n, learn=True) for n in range(5)]
    assert time_left({}, jobs, 2, past) == 300
    assert time_left({}, jobs, 5, past) == 100
    assert time_left({jobs[0]: 90.0, jobs[1]: 20.0}, jobs, 2, past) == 210
    assert time_left({}, jobs, 0, past) == 500, "a cluster that has no worker yet"
    twin = job("copy", twin=jobs[0], learn=True)
    assert time_left({}, [jobs[0], twin], 2, past) == 100, "it is copied"
    assert time_left({}, [], 2) == 0


def test_the_timing_of_a_grid_says_what_each_slot_did_and_why_it_ended_when_it_did():
    shared, other = job(**SHARED), job("other", learn=True)
    late = job("late", learn=False, starts=[shared])
    states = [(shared, 100, 60), (other, 101, 30), (late, 161, 20)]
    ended = [(made, {"status": "done", "started": float(start), "seconds": float(took)})
             for made, start, took in states]
    assert timing(ended, 2, 99.0, 182.0).splitlines() == [
        "timing: 83 s with 2 slots",
        "  shared trainings: 1, 60 s of work, from 1 s to 61 s",
        "  runs that train and examine: 1, 30 s of work, from 2 s to 32 s",
        "  runs that only examine: 1, 20 s of work, from 62 s to 82 s",
        "  slot 1: worked 60 s, waited 23 s, of which 22 s after its last run",
        "  slot 2: worked 50 s, waited 33 s, of which 1 s after its last run",
        "  the last run to end was late, seed 0; it took 20 s and began after @sft, seed 0, which it starts from, "
        "had ended"]


def test_runs_of_an_earlier_command_are_no_part_of_the_timing():
    assert "runs that" not in timing([(job(), {"started": 1.0, "seconds": 1.0})], 1, 99.0, 182.0)
