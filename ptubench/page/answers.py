"""The page of an answer: which size a load needs, or which rate a target sustains. One section, without a run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.console import RenderableType

from ptubench import __version__
from ptubench.page import document, short_answers
from ptubench.page.alias import aliased_answer
from ptubench.page.charts.capacity import of_capacity
from ptubench.page.charts.size import of_size
from ptubench.page.model import Banner, Kind, Listing, Page, Section, Snippet, Table, Tile
from ptubench.page.repeat import search
from ptubench.page.run import sentences
from ptubench.page.tables import tables
from ptubench.ptu.capacity import by_whom
from ptubench.report import capacity as capacity_report
from ptubench.report import size as size_report
from ptubench.units import number_text, share_text

Answer = Mapping[str, Any]


def size(answer: Answer, *, alias: bool = False) -> str:
    """The HTML of an answer of `ptubench size`, with `alias` under other names.

    Raises:
        UsageError: the extra is not installed.
    """
    answer = aliased_answer(answer) if alias else answer
    shown = size_report.sections(answer)
    told = ("formula", "cached", "calibration", "history", "sizes", "rules", "money")
    commands = [command for command in (answer["quota_command"], answer["az_command"]) if command is not None]
    name = "usage history" if answer["workload"] is None else answer["workload"]["name"]
    section = Section(
        name="size",
        title=f"{name}: which PTU size?",
        kind="simulated, on a virtual clock" if answer["by"] == "simulation" else "",
        short=short_answers.of_size(answer),
        tiles=size_tiles(answer),
        first=_first("The answer", shown["answer"]),
        listings=[
            Listing(
                title="Before you buy", items=sentences([*answer["notes"], *answer["caveats"], *answer["warnings"]])
            ),
        ],
        snippets=[
            Snippet(title="Deploy it", lead="Replace what is in capitals.", text="\n".join(commands), folded=True)
        ],
        charts=of_size(answer),
        tables=tables(shown.get(name) for name in told),
    )
    return _page(section, answer)


def capacity(answer: Answer, *, alias: bool = False) -> str:
    """The HTML of an answer of `ptubench capacity`, with `alias` under other names.

    Raises:
        UsageError: the extra is not installed.
    """
    answer = aliased_answer(answer) if alias else answer
    shown = capacity_report.sections(answer)
    target = answer["target"]
    notes = [*answer["notes"], f"The steps are in {answer['folder']}."]
    section = Section(
        name="capacity",
        title=f"{answer['workload']['name']}: which rate?",
        kind=_kind(answer),
        subtitle=", ".join(
            str(part)
            for part in (target["deployment"] or target["endpoint"], target["ptu"] and f"{target['ptu']:,} PTU")
            if part
        ),
        banner=_found(answer),
        short=short_answers.of_capacity(answer),
        tiles=_capacity_tiles(answer),
        first=_first("The answer", shown["answer"]),
        listings=[
            Listing(title="What this search does not show", items=short_answers.not_shown(answer)),
            Listing(title="Notes", items=sentences(notes)),
        ],
        snippets=search(answer),
        charts=of_capacity(answer),
        tables=tables(shown.get(name) for name in ("curve", "rules")),
    )
    return _page(section, answer)


def _page(section: Section, answer: Answer) -> str:
    # The page says itself what made it; another version may have found what it shows.
    made = f"Found by ptubench {answer['tool']['version']}." if answer["tool"]["version"] != __version__ else ""
    return document.render(Page(title=section.title, sections=(section,), made=made))


def _found(answer: Answer) -> Banner:
    """Whether a rate was found."""
    if answer["result"] is None:
        return Banner(word="NO RATE", text="The search has found none: the notes say why.", tone="bad")
    if answer["ended"] != "completed":
        return Banner(
            word="UNFINISHED", text="The search ended before the answer was as narrow as asked for.", tone="warn"
        )
    return Banner(word="FOUND", text="The search ran its course.", tone="good")


def _kind(answer: Answer) -> Kind:
    if answer["target"]["kind"] != "simulated":
        return "real"
    return "simulated, on a virtual clock" if answer["clock"] == "virtual" else "simulated"


def _first(title: str, shown: RenderableType) -> Sequence[Table]:
    return [replace(table, title=title) for table in tables([shown])]


def size_tiles(answer: Answer) -> list[Tile]:
    """The recommended size, and what it is and costs."""
    size = next((size for size in answer["sizes"] if size["ptu"] == answer["recommended"]), None)
    if size is None:
        return [Tile(label="Recommended", value="none", detail="of the sizes looked at", tone="bad")]
    found = [Tile(label="Recommended", value=f"{size['ptu']:,} PTU", detail=str(answer["type"]), tone="good")]
    used = (size["metrics"].get("utilization") or {}).get("simulated") or size["formula"]
    found.append(
        Tile(
            label="Busiest minute",
            value=share_text(used["peak_minute"]),
            detail=f"of the PTUs; mean {share_text(used['mean'])}",
        )
    )
    refused = (size["metrics"].get("refused") or {}).get("ratio")
    if refused is not None:
        found.append(Tile(label="Refused", value=share_text(refused), detail="of the calls"))
    month = ((size["cost"] or {}).get("per_month") or {}).get("month")
    money = answer["money"]
    if month is not None:
        label = f"Cost, {money['currency']}"
        found.append(Tile(label=label, value=number_text(round(month)), detail="for a month, reserved for a month"))
    return [*found, *_pay_as_you_go(money)]


def _pay_as_you_go(money: Mapping[str, Any]) -> list[Tile]:
    """What the tokens cost where they are paid for."""
    month, hour = money["month"], money["pay_as_you_go"]["per_hour"]
    if hour is None:
        return []
    if month is None:
        value, detail = number_text(hour), "for an hour of this load"
    else:
        value = number_text(round(month["pay_as_you_go"]))
        cheapest = (month["cheapest"] or {}).get("plan") == "pay_as_you_go"
        hours = f"for a month of {number_text(month['hours'])} hours of this load"
        detail = f"{hours}: the cheapest way" if cheapest else hours
    return [Tile(label=f"Pay-as-you-go, {money['currency']}", value=value, detail=detail)]


def _capacity_tiles(answer: Answer) -> list[Tile]:
    """The highest rate, and the capacity."""
    result, found = answer["result"], answer["capacity"]
    if result is None:
        tiles = [Tile(label="Highest rate that passes", value="none known", tone="bad")]
    else:
        between = f"calls/min, {number_text(result['low'])} to {number_text(result['high'])}"
        tiles = [Tile(label="Highest rate that passes", value=number_text(result["rpm"]), detail=between, tone="good")]
    if found is not None and found["tpm_normalized"] is not None:
        tiles.append(
            Tile(
                label="Capacity",
                value=number_text(round(found["tpm_normalized"])),
                detail=f"normalized tokens/min{' at least' if found['at_least'] else ''}",
            )
        )
    if found is not None and found["of_published"] is not None:
        label = f"Of the {by_whom(found['source'])} capacity"
        tiles.append(Tile(label=label, value=share_text(found["of_published"])))
    return tiles
