"""Notes that keep a reader from a wrong conclusion."""

import runs


def codes(summary):
    return [note["code"] for note in summary["notes"]]


def test_an_overload_that_an_idle_deployment_absorbed_is_said_to_be_no_sustained_rate(tmp_path):
    busy = [runs.ok(i, 10 + i * 0.01, prompt_tokens=1000, completion_tokens=500) for i in range(1000)]
    calm = [runs.ok(i, 10 + i * 0.5, prompt_tokens=100, completion_tokens=10) for i in range(20)]
    over, under = tmp_path / "over", tmp_path / "under"
    over.mkdir()
    under.mkdir()

    assert "idle_bucket" in codes(runs.summary(over, *busy, runs.end()))
    assert "idle_bucket" not in codes(runs.summary(under, *calm, runs.end()))


def test_another_model_than_the_named_one_is_said(tmp_path):
    summary = runs.summary(
        tmp_path, *[runs.ok(i, 10 + i, model="gpt-4o-mini-2024-07-18") for i in range(5)], runs.end()
    )

    assert "other_model" in codes(summary)


def test_the_model_of_those_that_answered_what_was_diverted_is_not_the_targets(tmp_path):
    calls = [runs.ok(i, 10 + i, model="gpt-4.1-2025-04-14") for i in range(2)]
    diverted = [runs.ok(i, 10 + i, model="gpt-4o-mini-2024-07-18", diverted=True) for i in range(2, 9)]

    assert "other_model" not in codes(runs.summary(tmp_path, *calls, *diverted, runs.end()))


def test_what_was_spilled_was_refused_without_any_429(tmp_path):
    def busy(spilled_from):
        folder = tmp_path / str(spilled_from)
        folder.mkdir()
        spilled = {"headers": {"x-ms-spillover-from-deployment": "ptu"}}
        calls = [
            runs.ok(
                i,
                10 + i * 0.01,
                prompt_tokens=1000,
                completion_tokens=500,
                **(spilled if i % 2 and i >= spilled_from else {}),
            )
            for i in range(1000)
        ]
        return {note["code"]: note["text"] for note in runs.summary(folder, *calls, runs.end())["notes"]}

    assert "idle_bucket" not in busy(0)
    assert "the first call was spilled 19.0 s into the run" in busy(900)["idle_bucket"]
