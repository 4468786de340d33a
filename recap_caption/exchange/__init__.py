"""Captions out and in: published caption sets, lists of URLs, images joined back, caption rows as others read them."""
