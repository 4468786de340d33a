"""The one client of OpenAI-compatible servers: rate, retry, circuit breaker, money. It knows nothing of what is asked."""
