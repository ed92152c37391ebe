"""A check document (`gate.document`) as JUnit XML, for whatever shows test results.

One test suite, with a test case for the verdict and one for each rule. The elements and attributes are those that the
Ant/Jenkins family of schemas has in common, so that all readers take it (tests/junit.xsd is the stricter one).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree as ET

from ptubench.report import judged
from ptubench.report.text import clean

Document = Mapping[str, Any]

_LIMIT = 500
_SHOWN = 1000
"""Cases and reasons at most: others may have written the run file."""


def junit(document: Document) -> str:
    """The file's text.

    The case `verdict` is an error where the measurement is not to be used; a rule that does not hold is a failure, with
    what was measured, the limit and the interval.
    """
    runs = document["runs"]
    suite = _suite(runs[0]["workload"], runs[0]["started_at"])
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(document).items():
        ET.SubElement(properties, "property", name=name, value=_text(value))
    classname = f"ptubench.{_name(runs[0]['workload'], 80)}"
    _verdict(_case(suite, classname, "verdict"), document)
    for row in document["checks"][:_SHOWN]:
        case = _case(suite, classname, _name(row["rule"], 200))
        if not row["passed"]:
            _fault(case, "failure", row["kind"], judged.sentence(row))
    lines = [
        f"{'PASS' if row['passed'] else 'FAIL'}  {row['rule']}: {judged.sentence(row)}" for row in document["checks"]
    ]
    return _document(suite, [*lines, *document["notes"]])


def refused(message: str, kind: str) -> str:
    """The file's text where nothing could be judged, as when the target refused: one case with an error.

    Args:
        message: one sentence.
        kind: a word for the error, such as `TargetRefused`.
    """
    suite = _suite("ptubench", datetime.now(UTC).isoformat())
    ET.SubElement(suite, "properties")
    _fault(_case(suite, "ptubench", "verdict"), "error", kind, message)
    return _document(suite, [])


def _suite(name: str, started_at: str | None) -> ET.Element:
    # The schema knows no zone; all times of a run file are UTC. A time that is none is worth no invalid file.
    began = _text(started_at, 40)[:19]
    timestamp = began if _is_time(began) else "1970-01-01T00:00:00"
    # Which machine it was is nobody's business: the schema's own word where it is not said.
    return ET.Element(
        "testsuite",
        id="0",
        package="ptubench",
        name=_name(name, 80),
        timestamp=timestamp,
        hostname="localhost",
    )


def _is_time(text: str) -> bool:
    try:
        datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return False
    return True


def _case(suite: ET.Element, classname: str, name: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=classname, name=name, time="0")


def _verdict(case: ET.Element, document: Document) -> None:
    """The case that holds unless the numbers must not be used, or the run was stopped."""
    ending = judged.ending(document)
    if ending is None:
        return
    kind, said = ending
    reasons = dict.fromkeys(reason["text"] for run in document["runs"] for reason in run["reasons"])
    _fault(case, "error", kind, "; ".join([said, *reasons]))


def _fault(case: ET.Element, tag: str, kind: str, said: str) -> None:
    fault = ET.SubElement(case, tag, type=_name(kind, 80), message=_text(said, _LIMIT))
    fault.text = _text(said, 4 * _LIMIT)


def _properties(document: Document) -> dict[str, Any]:
    """What was measured; the first run's target speaks for all of them."""
    runs, target = document["runs"], document["runs"][0]["target"]
    return {
        "ptubench": document["tool"]["version"],
        "kind": runs[0]["kind"],
        "verdict": document["verdict"],
        "runs": " ".join(str(run["file"] or run["id"]) for run in runs),
        "baseline": " ".join(str(run["file"] or run["id"]) for run in document["baseline"] or ()),
        "workload_hash": runs[0]["workload_hash"],
        "requests": sum(run["requests"] for run in runs),
        **{name: target.get(name) for name in ("deployment", "model", "model_served", "type", "ptu")},
    }


def _document(suite: ET.Element, lines: list[str]) -> str:
    """The whole file: counts as the schema wants them, and what was said line by line."""
    cases = suite.findall("testcase")
    for name, tag in (("failures", "failure"), ("errors", "error")):
        suite.set(name, str(sum(case.find(tag) is not None for case in cases)))
    suite.set("tests", str(len(cases)))
    suite.set("time", "0")
    ET.SubElement(suite, "system-out").text = "\n".join(_text(line) for line in lines[:_SHOWN])
    ET.SubElement(suite, "system-err")
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _text(value: object, limit: int = _LIMIT) -> str:
    """What XML 1.0 can hold: it has no place for control characters, however they are escaped."""
    return "" if value is None else clean(value, limit)


def _name(value: object, limit: int) -> str:
    """The same where the schema wants a word."""
    return _text(value, limit).strip() or "-"
