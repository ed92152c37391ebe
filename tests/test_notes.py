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
