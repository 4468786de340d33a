"""A model of a user's own that sees four pixels of an image and the letters of a text; and some that are broken."""

import numpy as np
import torch


class Eyes:
    revision = "1"

    def encode_images(self, images):
        small = [np.asarray(image.convert("RGB").resize((2, 2)), "float32").ravel() for image in images]
        return torch.tensor(np.stack(small)) / 255 + 0.01

    def encode_texts(self, texts):
        return torch.tensor([[text.count(letter) + 0.1 for letter in "abcdefghijkl"] for text in texts])


class NaNImages(Eyes):
    revision = "2"

    def encode_images(self, images):
        return super().encode_images(images) * torch.nan


class NaNTexts(Eyes):
    revision = "3"

    def encode_texts(self, texts):
        return super().encode_texts(texts) * torch.nan


class Constant(Eyes):
    revision = "4"

    def encode_images(self, images):
        return torch.ones(len(images), 12)
