"""From an engine's name to an engine."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from recap_caption.engine_options import EngineOptions
from recap_caption.engines.base import Engine
from recap_eval.errors import UserError, unknown_name

ENGINES = {
    "transformers": "recap_caption.engines.local:make",
    "openai": "recap_caption.engines.served:make",
}
FACTS = ("name", "model_id", "identity", "about")
METHODS = ("caption", "close")


def make(options: EngineOptions) -> Engine:
    """Return an engine, loaded and ready.

    Args:
        options: What it is; an engine of one's own is MODULE:ATTR or FILE.py:ATTR, called with the options.

    Raises:
        UserError: An unknown name, or an object that is no engine.
        DataError: The model cannot be loaded, or no server answers.
    """
    if options.engine in ENGINES:
        module, _, attribute = ENGINES[options.engine].partition(":")
        engine: Engine = getattr(import_module(module), attribute)(options)
        return engine
    if ":" not in options.engine:
        raise unknown_name("engine", options.engine, ENGINES, f"{', '.join(ENGINES)}, or MODULE:ATTR")
    return _own(options)


def _own(options: EngineOptions) -> Engine:
    from recap_eval.models.own import module_of

    where, _, attribute = options.engine.rpartition(":")
    maker: Any = getattr(module_of(where, options.engine), attribute, None)
    if not callable(maker):
        raise UserError(f"{where} has no {attribute!r} that can be called.", "Name a class or a function: MODULE:ATTR")
    engine: Engine = maker(options)
    if lacking := [name for name in (*FACTS, *METHODS) if not hasattr(engine, name)]:
        raise UserError(f"{options.engine} makes an object without {lacking[0]}.", "docs/engines.md shows a whole engine.")
    return engine
