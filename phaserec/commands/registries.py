"""Commands with options that the registries of algorithms and starts make.

The registries are read when a command is called or explained, not when it is declared: the list of
commands needs none of them.
"""

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
        if _MADE not in ctx.meta:  # click asks several times
            ctx.meta[_MADE] = self.registered()
        return [*super().get_params(ctx), *ctx.meta[_MADE]]

    def registered(self) -> list[click.Parameter]:
        """Options that registries make."""
        return _hyper_options()


class InversionCommand(HyperCommand):
    """Has the starts of the registry too, and takes several files after one option."""

    def registered(self) -> list[click.Parameter]:
        return [*super().registered(), _init_option()]

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


def _hyper_options() -> list[click.Parameter]:
    from phaserec.algorithms import ALGORITHMS, MOMENTUM

    users: dict[str, list[str]] = {}
    for entry in ALGORITHMS.everything().values():
        for hyper in entry.hyper:
            users.setdefault(hyper.name, []).append(f"{entry.name} [{hyper.default}]")
    users.setdefault(MOMENTUM.name, []).append(f"any other [{MOMENTUM.default:g}]")
    return [
        click.Option([f"--{name.replace('_', '-')}", name], help=", ".join(where))
        for name, where in sorted(users.items())
    ]


def _init_option() -> click.Parameter:
    from phaserec import starts

    choices = click.Choice([*starts.names(), "estimates"])
    return click.Option(["--init"], type=choices, help="Initial phase [mixture; alone: random].")
