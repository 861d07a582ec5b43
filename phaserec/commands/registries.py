"""Commands with options that the registries of algorithms and starts make.

The registries are read when a command is called or explained, not when it is declared: the list of
commands needs none of them.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import click

_LISTS = ("--estimates", "--references")
# Key of the context under which options wait that registries made.
_MADE = f"{__name__}.made"


class HyperCommand(click.Command):
    """Has an option for every hyper-parameter of the registry."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        import phaserec.algorithms  # noqa: F401  here, because importing below many frames is slow

        return super().make_context(*args, **extra)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        own = super().get_params(ctx)
        if _MADE not in ctx.meta:  # click asks several times
            ctx.meta[_MADE] = self.registered(own)
        return [*own, *ctx.meta[_MADE]]

    def registered(self, own: Sequence[click.Parameter]) -> list[click.Parameter]:
        """Options that registries make beside the command's own."""
        return _hyper_options(own)


class InversionCommand(HyperCommand):
    """Has the starts of the registry too, and takes several files after one option."""

    def registered(self, own: Sequence[click.Parameter]) -> list[click.Parameter]:
        init = _init_option()
        return [*super().registered([*own, init]), init]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _spread_lists(args))


def _spread_lists(args: Sequence[str]) -> list[str]:
    """Write ``--estimates a b`` as ``--estimates a --estimates b``."""
    spread: list[str] = []
    current = None
    for arg in args:
        if arg in _LISTS:
            current = arg
            spread.append(arg)  # without a value after it, click says that one is missing
        elif arg.startswith("-") and arg != "-":
            current = None
            spread.append(arg)
        elif current is not None and spread[-1] != current:
            spread += [current, arg]
        else:
            spread.append(arg)
    return spread


def _hyper_options(own: Sequence[click.Parameter]) -> list[click.Parameter]:
    """An option for each hyper-parameter whose name none of the command's own options has."""
    from phaserec.algorithms import ALGORITHMS, MOMENTUM

    users: dict[str, list[str]] = {}
    for entry in ALGORITHMS.everything().values():
        for hyper in entry.hyper:
            users.setdefault(hyper.name, []).append(f"{entry.name} [{hyper.default}]")
    users.setdefault(MOMENTUM.name, []).append(f"any other [{MOMENTUM.default:g}]")
    taken = {name for option in own for name in (option.name, *option.opts)}
    made: list[click.Parameter] = []
    for name, where in sorted(users.items()):
        flag = f"--{name.replace('_', '-')}"
        if taken.isdisjoint([name, flag]):
            made.append(click.Option([flag, name], help=", ".join(where)))
        else:
            warnings.warn(
                f"the hyper-parameter {name} of {', '.join(where)} is no option here, since the "
                "command has one of that name; give it in Python or in a preset, or rename it",
                UserWarning,
                stacklevel=2,
            )
    return made


def _init_option() -> click.Parameter:
    from phaserec import starts

    choices = click.Choice([*starts.names(), "estimates"])
    return click.Option(["--init"], type=choices, help="Initial phase [mixture; alone: random].")
