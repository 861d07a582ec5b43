"""Commands with options that the registries of algorithms and starts make.

The registries are read when a command is called or explained, not when it is declared: the list of
commands needs none of them.
"""

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import click

_IMPORT = "--import"
_LISTS = ("--estimates", "--references")
# Key of the context under which options wait that registries made.
_MADE = f"{__name__}.made"


class RegistryCommand(click.Command):
    """Reads registries, and can be told of modules whose decorators add to them."""

    def __init__(self, *args: Any, **extra: Any) -> None:
        super().__init__(*args, **extra)
        self.params.append(
            click.Option(
                [_IMPORT],
                multiple=True,
                expose_value=False,
                metavar="MODULE",
                help="Module or .py file with algorithms, starts and scores of one's own; several.",
            )
        )

    def make_context(
        self, info_name: str | None, args: list[str], *rest: Any, **extra: Any
    ) -> click.Context:
        # Before anything is parsed: what is registered makes options.
        for name in _values(_IMPORT, args):
            _import(name)
        return super().make_context(info_name, args, *rest, **extra)


class HyperCommand(RegistryCommand):
    """Has an option for every hyper-parameter of the registry."""

    def make_context(
        self, info_name: str | None, args: list[str], *rest: Any, **extra: Any
    ) -> click.Context:
        import phaserec.algorithms  # noqa: F401  here, because importing below many frames is slow

        return super().make_context(info_name, args, *rest, **extra)

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


def _values(option: str, args: Sequence[str]) -> Iterator[str]:
    """What follows an option among words that are not parsed yet."""
    for place, word in enumerate(args):
        if word == "--":
            return
        name, equals, value = word.partition("=")
        if name == option and equals:
            yield value
        elif name == option:
            yield from args[place + 1 : place + 2]


def _import(name: str) -> None:
    """Import a module or a file; other processes find it by the same name.

    Raises
    ------
    ValueError
        If it cannot be imported, whatever it does.
    """
    from importlib import import_module  # help does without both
    from pathlib import Path

    path = Path(name)
    is_file = path.suffix == ".py"
    module = path.stem if is_file else name
    # At the end of the path, so that it hides nothing.
    sys.path.append(str(path.resolve().parent) if is_file else os.getcwd())
    try:
        if is_file and not path.is_file():
            raise FileNotFoundError("no such file")
        found = import_module(module)
    except (Exception, SystemExit) as error:  # whatever is wrong with it is not ours
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{_IMPORT} {name}: it cannot be imported: {reason}") from error
    if is_file and not path.samefile(found.__file__ or os.devnull):
        raise ValueError(
            f"{_IMPORT} {name}: a module named {module} is there already, "
            f"{found.__file__ or 'a built-in one'}; rename the file"
        )


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
    return click.Option(
        ["--init"],
        type=choices,
        help="Initial phase [auto: what the algorithm declares, or mixture; alone: pghi].",
    )
