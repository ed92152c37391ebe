"""Which secret a target gets, if any: a key or a token by environment variable, Entra's tokens, headers for gateways.

Decides by names; the values are read in `headers`, at the last moment, and go nowhere but into the request.
"""

import importlib.util
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ptubench.errors import UsageError
from ptubench.secret import looks_secret, shown
from ptubench.target.address import Address

AUTHS = ("auto", "key", "token", "entra", "none")
AZURE_KEY, AD_TOKEN, OPENAI_KEY = "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "OPENAI_API_KEY"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_SCOPE = re.compile(r"[!-~]{1,200}/\.default")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OWN_HEADERS = (
    "host",
    "connection",
    "content-length",
    "content-type",
    "transfer-encoding",
    "accept",
    "accept-encoding",
)

_NO_ENTRA = {"key": "a key", "token": "a ready one", "none": "no secret"}
HeaderEnv = tuple[tuple[str, str], ...]


class Access(NamedTuple):
    """How requests prove who sends them."""

    auth: str
    """`key`, `token`, `entra` or `none`."""
    key_env: str | None
    """The variable that holds the key or the token."""
    source: str
    """Why, for the dry run."""


def choose(
    mode: str,
    key_env: str | None,
    *,
    style: str,
    at: Address,
    header_env: HeaderEnv,
    env: Mapping[str, str],
    entra: bool,
) -> Access:
    """What a target gets. `auto` is the key if it is set, else a ready token if one is, else Entra.

    Args:
        mode: one of `AUTHS`.
        key_env: the variable that was named for key or token; None for the usual one.
        style: of the target; `openai` takes another key than Azure.
        at: the address.
        header_env: headers for gateways, which may be all that is needed.
        env: the environment.
        entra: whether azure-identity is installed.

    Raises:
        UsageError: a key was asked for and there is none, or it must not go to such a target.
    """
    if mode == "none":
        return Access("none", None, "--auth none")
    if mode in ("token", "entra") and style == "openai":
        raise UsageError(f"--auth {mode}: Entra tokens are for Azure, and this target is an OpenAI-compatible server")
    if mode == "entra":
        return Access("entra", None, "--auth entra")
    ready = key_env is None and not env.get(AZURE_KEY) and bool(env.get(AD_TOKEN))
    if mode == "auto" and style != "openai" and (ready or key_env == AD_TOKEN):
        mode = "token"
    variable = key_env or (AD_TOKEN if mode == "token" else OPENAI_KEY if style == "openai" else AZURE_KEY)
    if mode != "auto" or key_env is not None or env.get(variable):
        _check_held(variable, mode, style=style, env=env)
        return Access("token" if mode == "token" else "key", variable, variable)
    if style == "openai" or at.loopback or header_env:
        return Access("none", None, f"{variable} is not set")
    if entra:
        return Access("entra", None, f"{variable} is not set, azure-identity is installed")
    raise UsageError(
        f"no key for {at.origin}: set {variable}, name another variable with --key-env, "
        "or for Entra ID, in the folder of ptubench: pip install -e '.[azure]'"
    )


def _check_held(variable: str, mode: str, *, style: str, env: Mapping[str, str]) -> None:
    """Whether a variable is one whose value may go to a target of this style, and is set."""
    if style != "openai" and variable == OPENAI_KEY:
        raise UsageError(
            f"--key-env {OPENAI_KEY}: this key goes only to targets of the style openai; set {AZURE_KEY}, "
            "or say --api-style openai"
        )
    if not env.get(variable):
        what = "token" if mode == "token" else "key"
        raise UsageError(f"{variable} is not set; set it to the {what} of the target, or name another with --key-env")


def check_scope(text: str, where: str, *, auth: str) -> str:
    """The scope that tokens are asked for.

    Raises:
        UsageError: it is none, or no token will be asked for.
    """
    if auth != "entra":
        raise UsageError(
            f"{where}: only Entra is asked for tokens, and the target gets {_NO_ENTRA[auth]}; say --auth entra"
        )
    if looks_secret(text) or not _SCOPE.fullmatch(text):
        raise UsageError(f"{where}: `{shown(text)}` is not a scope; write one such as https://ai.azure.com/.default")
    return text


def refuse_leak(access: Access, header_env: HeaderEnv, *, at: Address, trusted: bool, where: str) -> None:
    """Refuse to send a secret where others may read it, or where only a file wants it sent.

    Args:
        access: as chosen.
        header_env: headers for gateways.
        at: the address.
        trusted: the endpoint was named on the command line or in the environment, or the file's is trusted.
        where: where the endpoint was named.

    Raises:
        UsageError: with the way out.
    """
    if access.auth == "none" and not header_env:
        return
    secrets = {
        "key": f"the key in {access.key_env}",
        "token": f"the token in {access.key_env}",
        "entra": "an Entra token",
    }
    secret = secrets.get(access.auth, "a header of yours")
    if not trusted:
        raise UsageError(
            f"{where}: {secret} is not sent to an endpoint that only a workload file names; "
            "name it with --endpoint, or say --trust-target, or --auth none"
        )
    if not (at.secure or at.loopback):
        raise UsageError(f"{where}: {secret} would cross the network readable to all; use https, or --auth none")


def check_variable(name: str, where: str) -> str:
    """The name of an environment variable; a key in its place is refused and not repeated."""
    if looks_secret(name) or not _VARIABLE.fullmatch(name):
        raise UsageError(
            f"{where}: takes the name of an environment variable, such as {AZURE_KEY}, and never the key itself"
        )
    return name


def read_headers(texts: Iterable[tuple[str, str]], where: str) -> HeaderEnv:
    """Headers by name and text of the form "env:VAR"."""
    found = []
    for name, text in ((name.strip(), text.strip()) for name, text in texts):
        if not _HEADER.fullmatch(name) or looks_secret(name):
            raise UsageError(f"{where}: `{shown(name)}` is not the name of a header; write 'NAME: env:VAR'")
        if name.lower() in _OWN_HEADERS:
            raise UsageError(f"{where}: ptubench sets `{name}` itself; remove it")
        if not text.startswith("env:"):
            raise UsageError(
                f"{where}: the value of `{name}` must come from an environment variable, since it may be a secret; "
                f"write '{name}: env:VAR'"
            )
        found.append((name, check_variable(text.removeprefix("env:").strip(), f"{where} {name}")))
    return tuple(found)


def split_header(text: str) -> tuple[str, str]:
    """Name and value of one `--header 'NAME: env:VAR'`."""
    name, colon, value = text.partition(":")
    if not colon:
        raise UsageError("--header: not of the form 'NAME: env:VAR'")
    return name, value


def headers(key_env: str | None, header_env: HeaderEnv, *, bearer: bool, env: Mapping[str, str]) -> dict[str, str]:
    """The headers that carry secrets, with their values.

    Args:
        key_env: the variable that holds the key or the token; None for neither.
        header_env: headers for gateways.
        bearer: whether it goes into `Authorization`, as tokens and keys of the style `openai` do; else into `api-key`.
        env: the environment.

    Raises:
        UsageError: a variable is not set, or holds what a header can't carry.
    """
    found = {}
    if key_env is not None:
        key = _value(key_env, env)
        found["authorization" if bearer else "api-key"] = f"Bearer {key}" if bearer else key
    for name, variable in header_env:
        if name.lower() in found:
            raise UsageError(f"--header {name}: is set already by the key or by another --header; give it once")
        found[name.lower()] = _value(variable, env)
    return found


def entra_installed() -> bool:
    """Whether the extra for Entra ID is there."""
    try:
        return importlib.util.find_spec("azure.identity") is not None
    except ModuleNotFoundError:  # no package `azure` at all
        return False


def _value(variable: str, env: Mapping[str, str]) -> str:
    value = env.get(variable)
    if not value:
        raise UsageError(f"{variable} is not set; set it to what the target expects")
    if not (value.isascii() and value.isprintable()) or value != value.strip():
        raise UsageError(
            f"{variable} holds a line break, a blank at an end or a character that no header can carry; set it again"
        )
    return value
