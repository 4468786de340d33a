"""The options that say what makes captions. Standard library only at import."""

from __future__ import annotations

import argparse


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add the engine and its model."""
    group = parser.add_argument_group("engine")
    group.add_argument("--engine", default="transformers", metavar="E", help="transformers (default), openai, or MODULE:ATTR")
    group.add_argument("--model", metavar="M", help="the model: hub id, folder, or a server's name for it")
    group.add_argument("--base-url", metavar="URL[,URL]", help="servers that speak OpenAI's protocol, up to and with /v1")
