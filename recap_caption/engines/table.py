"""Engines by name: where their `make(options) -> Engine` is."""

from __future__ import annotations

import argparse
from importlib import import_module

from recap_caption.engines.base import Engine
from recap_eval.errors import UserError, unknown_name

ENGINES = {"transformers": "recap_caption.engines.local:make", "openai": "recap_caption.engines.served:make"}


def make_engine(args: argparse.Namespace) -> Engine:
    """Return the engine that options name.

    Raises:
        UserError: There is none of that name.
    """
    place = ENGINES.get(args.engine, args.engine)
    module, found, attribute = place.partition(":")
    if not found:
        raise unknown_name("engine", args.engine, ENGINES, f"{', '.join(ENGINES)}, or MODULE:ATTR")
    try:
        engine: Engine = getattr(import_module(module), attribute)(args)
    except (ModuleNotFoundError, AttributeError) as error:
        raise UserError(f"There is no engine {args.engine!r} ({error}).", "Name MODULE:ATTR that can be imported.") from error
    return engine
