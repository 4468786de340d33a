"""Images to features for distances between sets of images: networks, resizes, decoding, all named in one key."""
