"""Text of others, made of characters that do nothing but stand there: on a terminal, and in the log of a build server.

Build servers look for commands in every line that a step prints. GitHub Actions takes `::error …::` at the start of a
line (docs: "Workflow commands") and still its old form `##[error]` anywhere, Azure Pipelines `##vso[…]` anywhere
("Logging commands") and `##[section]` at the start, TeamCity `##teamcity[…]`. The runners ignore case.
"""

import re
import unicodedata

_UNSHOWN = "\N{REPLACEMENT CHARACTER}"
_LINE_BREAKS = dict.fromkeys(map(ord, "\t\n\r\v\f\x85\u2028\u2029"), " ")
_COMMANDS = re.compile(
    r"#(?=#\w*\[)"
    # The name of a command is no hexadecimal number: `[::1]` and `fe80::a` stay as they are.
    r"|:(?=:[\w-]*[g-z_-])",
    re.IGNORECASE,
)


def line(text: str) -> str:
    """`text` on one line, with nothing in it that a terminal or a build server obeys.

    Control and escape characters, bidirectional and zero-width marks, surrogates, private and unassigned characters
    (Unicode categories C*) are replaced by U+FFFD, line breaks by a space, commands as in `defused`.
    """
    plain = (
        _UNSHOWN if unicodedata.category(character).startswith("C") else character
        for character in text.translate(_LINE_BREAKS)
    )
    return defused("".join(plain))


def defused(text: str) -> str:
    """`text` in which a build server finds no command: a blank parts the two characters that begin one."""
    return _COMMANDS.sub(lambda found: f"{found[0]} ", text)
