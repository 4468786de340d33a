"""The options of a judge, for every command that asks one. Standard library only at import."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.console import as_path, positive, positive_number
from recap_eval.errors import UserError

if TYPE_CHECKING:
    from recap_eval.endpoint.client import Limits
    from recap_eval.judge.rating import Config

DETAILS = ("auto", "low", "high")
JUDGED = 3000  # images; the paper's number
LONGEST_SEED = 2**31 - 1


def add_judge(parser: argparse.ArgumentParser, judged: int = JUDGED) -> None:
    """Add who is asked, how, how hard, and how much that may cost.

    Args:
        parser: The command's.
        judged: How many items are judged by default.
    """
    group = parser.add_argument_group("judge", "A vision LLM behind any OpenAI-compatible server; see docs/judge.md.")
    add_server(group)
    _add_manner(group, judged)
    _add_limits(parser.add_argument_group("asking the judge"))


def add_grader(parser: argparse.ArgumentParser, template: str) -> None:
    """Add who grades answers by a template, how, how hard, and how much that may cost.

    Args:
        parser: The command's parser.
        template: Name of the template.
    """
    group = parser.add_argument_group("judge", f"A language model that grades answers ({template}); see docs/judge.md.")
    add_server(group)
    _add_who(group)
    _add_how(group)
    _add_limits(parser.add_argument_group("asking servers"))
    parser.set_defaults(judge_template=template, judge_detail=DETAILS[0])


def add_server(group: Any) -> None:
    """Add where the judge is, and where its answers are kept."""
    group.add_argument("--base-url", metavar="URL,…", help="servers that answer (default: $OPENAI_BASE_URL, else OpenAI)")
    group.add_argument(
        "--api-key-env", metavar="NAME", help="environment variable that holds the key (default: OPENAI_API_KEY)"
    )
    group.add_argument("--judge-cache", type=as_path, metavar="FILE", help="answers, kept for good ($RECAP_CACHE/judge.sqlite)")


def _add_who(group: Any) -> None:
    group.add_argument("--judge-model", metavar="M", help="its name (default: gpt-4.1-2025-04-14, at OpenAI only)")


def _add_manner(group: Any, judged: int) -> None:
    _add_who(group)
    group.add_argument(
        "--judge-template",
        default="paper",
        metavar="T",
        help="paper (default: its exact text, 1-5), claims, pairwise, or a file",
    )
    group.add_argument(
        "--judge-n", default=str(judged), metavar="N", help=f"items judged, by hash of their key, or all ({judged})"
    )
    group.add_argument("--judge-detail", choices=DETAILS, default="auto", help="how closely images are looked at (auto)")
    _add_how(group)


def _add_how(group: Any) -> None:
    group.add_argument("--judge-repeats", type=positive, default=1, metavar="K", help="times each is asked (default 1)")
    group.add_argument("--judge-temperature", default="0", metavar="T", help="0 (default), another, or none to send none")
    group.add_argument("--judge-seed", default="0", metavar="N", help="0 (default), another, or none to send none")
    group.add_argument("--judge-max-tokens", type=positive, metavar="N", help="longest answer (default: the template's)")


def _add_limits(asking: Any) -> None:
    asking.add_argument("--concurrency", type=positive, default=8, metavar="N", help="questions under way at once (default 8)")
    asking.add_argument("--requests-per-minute", type=positive_number, metavar="N", help="at most (default: no limit)")
    asking.add_argument(
        "--tokens-per-minute", type=positive_number, metavar="N", help="at most, in and out (default: no limit)"
    )
    asking.add_argument("--request-timeout", type=positive_number, default=120, metavar="S", help="seconds a question (120)")
    asking.add_argument("--attempts", type=positive, default=8, metavar="N", help="times a question is put before it fails (8)")
    asking.add_argument("--max-cost", type=positive_number, metavar="USD", help="stop before this run would cost more")
    asking.add_argument("--price-in", type=positive_number, metavar="USD", help="a million tokens of questions and images")
    asking.add_argument("--price-out", type=positive_number, metavar="USD", help="a million tokens of answers")


def config_of(args: argparse.Namespace) -> Config:
    """Return the judge that the options name.

    Raises:
        UserError: A wrong word; a model is not named where there is no default; a limit on money without a price.
        DataError: A template's file is damaged.
    """
    from recap_eval.data.digests import MEMORY
    from recap_eval.endpoint.address import find_address
    from recap_eval.judge.asking import Setup
    from recap_eval.judge.questions import MODEL, Judge
    from recap_eval.judge.rating import Config
    from recap_eval.judge.templates import find_template

    address = find_address(args.base_url, args.api_key_env)
    if args.judge_model is None and address.provider != "openai":
        raise UserError("Which model of this server judges is not said.", "Name it: --judge-model NAME")
    seed = _number("--judge-seed", args.judge_seed, (0, LONGEST_SEED), int)
    judge = Judge(
        find_template(args.judge_template), args.judge_model or MODEL, address.provider, args.judge_detail,
        _number("--judge-temperature", args.judge_temperature, (0, 2), float), None if seed is None else int(seed),
        args.judge_max_tokens,
    )  # fmt: skip
    answers = answers_of(args)
    config = Config(
        judge, Setup(address, limits_of(args), args.skip_bad), answers, args.judge_repeats, args.max_cost,
        (args.price_in, args.price_out), answers.with_name(MEMORY),
    )  # fmt: skip
    config.budget()  # a wrong request is told before anything is done
    return config


def answers_of(args: argparse.Namespace) -> Path:
    """Return the file of answers."""
    from recap_eval.data.root import default_cache
    from recap_eval.judge.answers import NAME

    return args.judge_cache or (args.cache or default_cache()) / NAME


def limits_of(args: argparse.Namespace) -> Limits:
    """Return how hard the options say to ask."""
    from recap_eval.endpoint.client import Limits

    return Limits(
        args.concurrency, args.requests_per_minute, args.tokens_per_minute, args.request_timeout, args.attempts
    )  # fmt: skip


def sample_of(args: argparse.Namespace) -> int | None:
    """Return how many items are judged; None for all.

    Raises:
        UserError: Neither a number nor "all".
    """
    if args.judge_n == "all":
        return None
    try:
        return positive(args.judge_n)
    except argparse.ArgumentTypeError as error:
        raise UserError(f"--judge-n {args.judge_n} is neither a number nor all.", "Example: --judge-n 3000") from error


def _number(option: str, word: str, within: tuple[float, float], kind: type[int] | type[float]) -> float | None:
    if word == "none":
        return None
    try:
        number = kind(word)
    except ValueError:
        number = kind(-1)
    if not within[0] <= number <= within[1]:
        raise UserError(
            f"{option} {word} is neither none nor a number from {within[0]} to {within[1]}.", f"Example: {option} 0"
        )
    return number
