"""GitHub Actions: annotations that say what failed, and a log in which nobody else's text is a command."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judgements import FAILED, REASON, REGRESSION, RULE, STOPPED, UNMEASURED, document
from ptubench import inert
from ptubench.errors import UsageError
from ptubench.report import github
from ptubench.secret import shown

COMMANDS = ("error", "warning", "notice", "debug", "group", "endgroup", "add-mask", "add-matcher", "remove-matcher")
COMMANDS += ("stop-commands", "set-output", "save-state", "set-env", "add-path", "echo", "workflow-command")


def read(line):
    """The command in a line as GitHub's runner finds it: (name, properties, message), unescaped; None without one.

    From the runner's documented format: `::name key=value,key=value::message`, blanks before it ignored, or the older
    `##[name key=value;]message` anywhere.
    """
    old = re.search(r"##\[([\w-]+)", line)
    if old:
        return old[1], {}, ""
    found = re.match(r"\s*::([\w-]+)(?: (.*?))?::(.*)", line)
    if found is None or found[1].lower() not in COMMANDS:
        return None
    pairs = (pair.partition("=") for pair in (found[2] or "").split(",") if pair)
    return found[1], {name: unescaped(value) for name, _, value in pairs}, unescaped(found[3])


def unescaped(text):
    for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, character)
    return text


def pipelines_command(line):
    """Whether Azure Pipelines or TeamCity would find a command in a line."""
    return re.search(r"##(vso|teamcity)?\[", line, re.IGNORECASE)


def test_every_failed_check_is_an_error_with_its_rule_as_the_title():
    found = [read(line) for line in github.annotations(document(RULE, FAILED, UNMEASURED, REGRESSION))]

    assert [(level, told["title"]) for level, told, _ in found] == [
        ("error", "ptubench: ttft.p95 <= 800ms"),
        ("error", "ptubench: ttft.p95 <= 800ms"),
        ("error", "ptubench: ttft.p95: 10%"),
    ]
    assert [message for _, _, message in found] == [
        "measured 1.02 s, limit 800 ms, 95 % interval 980 ms to 1.05 s",
        "not measured",
        "measured 920 ms, baseline 800 ms, change +120 ms (+15.0 %), 95 % interval +90.0 ms to +150 ms",
    ]


def test_what_holds_says_nothing():
    assert github.annotations(document(RULE)) == []


@pytest.mark.parametrize(("exit_code", "level"), [(0, "warning"), (4, "error")])
def test_a_degraded_measurement_is_a_warning_unless_it_ends_the_job(exit_code, level):
    made = document(RULE, verdict="degraded", reasons=[REASON]) | {"exit_code": exit_code}
    (line,) = github.annotations(made)

    title = f"ptubench: the measurement is degraded{', --strict takes no such' if exit_code else ''}"
    assert read(line) == (level, {"title": title}, REASON["text"])


@pytest.mark.parametrize("exit_code", [4, 130])
def test_a_run_that_was_stopped_is_an_error_whatever_its_rules_say(exit_code):
    (line,) = github.annotations(document(RULE, **STOPPED) | {"exit_code": exit_code})

    assert read(line)[:2] == (
        "error",
        {"title": "ptubench: the run was stopped after 10s of 35s: no whole measurement"},
    )


def test_simulated_is_in_every_title():
    made = document(FAILED, kind="simulated", verdict="degraded", reasons=[REASON])

    assert all(read(line)[1]["title"].startswith("ptubench (SIMULATED)") for line in github.annotations(made))


def test_no_more_annotations_than_github_shows():
    lines = github.annotations(document(*[FAILED] * 30))

    assert len(lines) == github.MOST_ANNOTATIONS
    assert read(lines[-1])[2] == "21 more checks failed, see the summary"


@given(text=st.text(st.characters(codec=None), max_size=40) | st.text(":%,=#[]vso error\r\n", max_size=30))
def test_an_annotation_is_one_line_whatever_it_says(text):
    made = document({**FAILED, "rule": text, "why": text}, verdict="degraded", reasons=[{**REASON, "text": text}])
    for line in (*github.annotations(made), github.refused(text)):
        level, told, _ = read(line)

        assert level in {"error", "warning"}
        assert told.keys() == {"title"}
        assert len(line.splitlines()) == 1
        assert not pipelines_command(line)


@given(
    text=st.text(max_size=40) | st.from_regex(r"[#: ]{0,3}(##\[|##vso\[|##teamcity\[|::)(error|add-mask|task|b)?.{0,9}")
)
def test_no_line_of_anybody_is_a_command(text):
    for made in (inert.line(text), shown(text), inert.defused(text.replace("\n", " "))):
        assert read(made) is None
        assert not pipelines_command(made)


@pytest.mark.parametrize("text", ["http://[::1]:8000/v1", "fe80::a", "a::b", "C# [x]", "12:34:56", "## title"])
def test_what_only_looks_like_a_command_stays_as_it_is(text):
    assert inert.defused(text) == text


def test_a_summary_is_added_to_what_the_step_wrote_before(tmp_path):
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    github.append(path, "## ours\n")

    assert path.read_text() == "before\n## ours\n\n"


def test_a_summary_never_grows_beyond_what_github_takes(tmp_path):
    path = tmp_path / "summary.md"
    for _ in range(5):
        github.append(path, "ü" * 20 + "\n" * 3 + "| row |\n" * 50_000)

    assert github.MOST_SUMMARY - 1000 < path.stat().st_size <= github.MOST_SUMMARY
    assert "(shortened" in path.read_text(encoding="utf-8")


def test_outside_of_a_step_it_is_one_sentence(tmp_path):
    with pytest.raises(UsageError) as said:
        github.summary_file({})

    assert str(said.value) == (
        "--github: GITHUB_STEP_SUMMARY is not set, so this is no step of GitHub Actions; leave --github out, "
        "or write the same with --markdown FILE"
    )
    with pytest.raises(UsageError, match="can't be written"):
        github.summary_file({github.VARIABLE: str(tmp_path / "missing" / "summary.md")})
