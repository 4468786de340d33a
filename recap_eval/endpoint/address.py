"""Where the servers are, and the key for them. The key comes from the environment and is never shown."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from recap_eval.errors import DataError, UserError

OPENAI = "https://api.openai.com/v1"
KEY_VARIABLE = "OPENAI_API_KEY"
NO_KEY = "none"  # what servers that ask for no key are sent
HIDDEN = "[key]"
LIMIT_NAMES = {"openai": "max_completion_tokens", "compatible": "max_tokens"}  # how servers call the most tokens of an answer


class Key:
    """A secret that shows itself nowhere but in the header it is for.

    Args:
        secret: The key; "" for servers that ask for none.
    """

    def __init__(self, secret: str = "") -> None:
        self._secret = secret

    def __repr__(self) -> str:
        return "Key(hidden)" if self._secret else "Key(none)"

    def __reduce__(self) -> str:
        raise TypeError("A key is not to be written down.")

    def reveal(self) -> str:
        """Return the key, for the header."""
        return self._secret or NO_KEY

    def hide(self, text: str) -> str:
        """Return a text in which the key, should somebody have echoed it, is replaced."""
        return text.replace(self._secret, HIDDEN) if self._secret else text


@dataclass(frozen=True)
class Address:
    """The servers that answer, all alike.

    Args:
        urls: Their base URLs, up to and with "/v1".
        key: The key for all of them.
        variable: The environment variable that holds it, for messages.
    """

    urls: tuple[str, ...] = (OPENAI,)
    key: Key = field(default_factory=Key)
    variable: str = KEY_VARIABLE

    @property
    def provider(self) -> str:
        """Whose models answer: "openai", or "compatible" for anybody else's server."""
        return "openai" if all(_is_openai(url) for url in self.urls) else "compatible"


def find_address(words: str | None, variable: str | None = None) -> Address:
    """Return the servers that a user names, commas between them, with the key from the environment.

    Args:
        words: Base URLs; None for $OPENAI_BASE_URL, or else OpenAI itself.
        variable: The environment variable with the key; None for $OPENAI_API_KEY.

    Raises:
        UserError: A URL is none or holds a password; the variable is named and empty; the key is not ASCII.
    """
    given = words or os.environ.get("OPENAI_BASE_URL") or OPENAI
    urls = tuple(_checked(url.strip()) for url in given.split(",") if url.strip())
    if not urls:
        raise UserError("--base-url names no server.", "Example: --base-url http://localhost:8000/v1")
    secret = os.environ.get(variable or KEY_VARIABLE, "").strip()
    if variable and not secret:
        raise UserError(f"The environment variable {variable} is empty.", f"Set it: export {variable}=…")
    if not secret.isascii() or not secret.isprintable():
        raise UserError(f"The key in {variable or KEY_VARIABLE} holds characters that no key has.", "Set it again.")
    return Address(urls, Key(secret), variable or KEY_VARIABLE)


def demand_key(address: Address) -> None:
    """Check that there is a key where one is needed.

    Raises:
        DataError: OpenAI is asked without a key.
    """
    if address.provider == "openai" and address.key.reveal() == NO_KEY:
        raise DataError(
            f"OpenAI asks for a key, and {address.variable} is empty.",
            f"export {address.variable}=…, or name your own server: --base-url http://localhost:8000/v1",
        )


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("http", "https"):
        raise UserError(f"{url!r} is no address of a server.", "Example: --base-url http://localhost:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UserError(
            f"The address of {host} holds more than host and path.",
            "A password in it would be recorded with the command; a key belongs into the environment: --api-key-env NAME",
        )
    return url.rstrip("/")


def _is_openai(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host == "api.openai.com" or host.endswith(".api.openai.com")
