"""What Azure is asked around a run, and how its answers get into the run file.

Prints nothing: what happens meanwhile is told to a callback, a line at a time.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ptubench.analysis import azure as said
from ptubench.analysis.columns import Run
from ptubench.analysis.gather import load
from ptubench.azure import arm, cloud, monitor, rest
from ptubench.client import auth
from ptubench.errors import TargetRefused, UsageError
from ptubench.record import Line, Monitor, Resource
from ptubench.results import store
from ptubench.secret import shown
from ptubench.target.model import Target
from ptubench.units import duration, share_text

Say = Callable[[str], None]
_LATEST, _LONGEST = 1e11, 40 * 86_400.0  # seconds since the epoch, and of a run; a file that says more was damaged


@dataclass(frozen=True, kw_only=True)
class AzureOptions:
    """What the command line says of Azure; None is "not given"."""

    resource: str | None = None
    monitor: bool = False
    monitor_wait: str | None = None


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What goes on beside a run: the deployment as it was found, and what is asked of it afterwards."""

    deployment: rest.Deployment
    found: Resource
    monitor: bool
    wait: float
    """Seconds that Azure Monitor's figures are waited for at most."""


def find(
    options: AzureOptions,
    target: Target,
    env: Mapping[str, str],
    *,
    cloud_said: bool,
    ca_file: str | None,
    access: rest.Access | None = None,
) -> tuple[Target, Beside | None]:
    """Ask what the target is, if a resource ID was given: the target with what Azure says of it.

    Args:
        options: what the command line says.
        target: as it was resolved from what was typed.
        env: the environment.
        cloud_said: whether the cloud was named, and not only inferred.
        ca_file: further certificate authorities.
        access: how Azure's management is reached; that of the target's cloud with Azure's default credential when None.

    Raises:
        UsageError: options that don't go together, or what was typed is not what Azure says.
        TargetRefused: Azure does not say.
    """
    wait = read_wait(options, default="5m")
    if options.resource is None:
        if options.monitor:
            raise UsageError("--monitor: needs to know which resource; name it with --resource RESOURCE_ID")
        return target, None
    if target.kind != "azure" or target.deployment is None:
        raise UsageError("--resource: goes with a deployment in Azure, and the target is none; leave it out")
    resource = arm.check_id(options.resource)
    by = access or _access(target.cloud, env, said=cloud_said, ca_file=ca_file)
    deployment = rest.Deployment(by=by, resource=resource, name=target.deployment)
    found = arm.before(deployment)
    filled = arm.filled(target, found)
    return filled, Beside(deployment=deployment, found=found, monitor=options.monitor, wait=wait)


def read_wait(options: AzureOptions, *, default: str) -> float:
    """Seconds of `--monitor-wait`.

    Raises:
        UsageError: it is no duration, or nothing is waited for.
    """
    text = options.monitor_wait
    if text is not None and not options.monitor:
        raise UsageError("--monitor-wait: goes with --monitor only")
    try:
        return 0.0 if text == "0" else duration(text or default)
    except ValueError as exc:
        raise UsageError(f"--monitor-wait: {exc}") from None


def opening(beside: Beside, say: Say) -> tuple[Line, ...]:
    """What is known before the load, for the run file: what the deployment is, and how busy it was.

    Raises:
        TargetRefused: Azure Monitor may not be asked.
    """
    if not beside.monitor:
        return (beside.found,)
    busy = monitor.before(beside.deployment, time.time())
    mean = said.mean(said.utilization(busy).values())
    failed = "".join(f" ({error})" for error in busy.errors.values())
    told = f"was {share_text(mean)}" if mean is not None else f"is not known{failed}"
    say(f"utilization of the {monitor.BEFORE} minutes before the load, by Azure Monitor, {told}")
    return (beside.found, busy)


def closing(beside: Beside, file: Path, say: Say) -> None:
    """After the load: what the deployment is now goes into the run file."""
    try:
        store.append(file, arm.after(beside.deployment))
    except KeyboardInterrupt:
        say("what the deployment is after the load was not asked")
    except UsageError as exc:
        say(f"warning: {exc}")


def settle(beside: Beside, file: Path, say: Say) -> bool:
    """Wait for Azure Monitor's figures of a run; whether any went into its file."""
    try:
        answer = _figures(beside.deployment, load(file), beside.wait, say)
        if answer is not None:
            store.append(file, answer)
    except (rest.Failure, UsageError) as exc:
        say(f"warning: --monitor: {exc}")
        return False
    return answer is not None


def again(
    file: Path,
    options: AzureOptions,
    cloud_said: str | None,
    env: Mapping[str, str],
    say: Say,
    *,
    access: rest.Access | None = None,
) -> None:
    """Ask Azure Monitor for the figures of a stored run, and add them to its file.

    Raises:
        UsageError: the run was no run of a deployment in Azure, or nobody says of which resource.
        TargetRefused: Azure gives no figures.
    """
    wait = read_wait(options, default="0s")
    run = load(file)
    target = run.head.target
    name, resource = target.get("deployment"), options.resource or target.get("resource")
    if target.get("kind") != "azure" or not isinstance(name, str):
        raise UsageError(
            f"--monitor: {file} is no run of a deployment in Azure, so that Azure Monitor can't know of it"
        )
    if not isinstance(resource, str):
        raise UsageError("--monitor: the run file does not name the resource; name it with --resource RESOURCE_ID")
    which = cloud_said or target.get("cloud")
    if which is not None and not (isinstance(which, str) and which in cloud.CLOUDS):
        raise UsageError(f"--cloud: `{shown(which)}` is not one of {', '.join(cloud.CLOUDS)}")
    by = access or _access(which, env, said=cloud_said is not None, ca_file=None)
    deployment = rest.Deployment(by=by, resource=arm.check_id(resource), name=name)
    try:
        answer = _figures(deployment, run, wait, say)
    except rest.Failure as failure:
        raise TargetRefused(f"--monitor: {failure}") from None
    if answer is not None:
        store.append(file, answer)


def _figures(deployment: rest.Deployment, run: Run, wait: float, say: Say) -> Monitor | None:
    """Azure Monitor's figures of all minutes that a run touched."""
    start = run.head.started_unix
    if not 0 <= start <= _LATEST:
        raise UsageError("the run file does not tell a possible time at which the run began; it was damaged")
    end, load_end = (run.head.window[1],) * 2 if run.end is None else (run.end.finished, run.end.load_end)
    end, load_end = min(end, _LONGEST), min(load_end, _LONGEST)
    busy = said.span_of(run, (0.0, load_end)).busy
    span = monitor.minutes(start, start + max(end, 1.0))
    return monitor.settled(deployment, span, last=max(busy, default=None), wait=wait, say=say)


def _access(name: str | None, env: Mapping[str, str], *, said: bool, ca_file: str | None) -> rest.Access:
    """The management of a cloud, with Azure's default credential."""
    of = cloud.CLOUDS[name or "public"]
    credential = auth.default_credential(cloud.authority(of, said=said, env=env), asked_by="--resource")
    return rest.access(of, credential, ca_file=ca_file)
