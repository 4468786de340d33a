"""A folder of images as an input, with KEY.txt and KEY.json beside them or without; a key is path and stem."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from recap_caption.sources.base import Item, Opened, Part, Reading, mark_repeated, plain_key
from recap_caption.sources.files import identify, read_file
from recap_caption.sources.sidecars import texts_of
from recap_eval.data.shards import IMAGE_SUFFIXES

SIDECARS = (".txt", ".json")
GLANCE = 100  # images beside which texts are looked for


def list_images(folder: Path) -> list[str]:
    """Return the images below a folder by path from it, sorted; what begins with a dot is left out."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(place).relative_to(folder)
        found += [
            (below / name).as_posix()
            for name in files
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122
        ]
    return sorted(found)


class Pictures:
    """The images below a folder.

    Args:
        folder: The folder.
        names: The images, see `list_images`.
        reading: How they are read.
    """

    form = "images"

    def __init__(self, folder: Path, names: list[str], reading: Reading) -> None:
        self._folder, self._reading, self.names = folder, reading, names
        self.has_texts = any(self._files(name)[1:] for name in names[:GLANCE])

    def parts(self) -> Iterator[Part]:
        """Yield parts of a fixed number of images."""
        step = self._reading.part
        for number, start in enumerate(range(0, len(self.names), step)):
            members = tuple(self.names[start : start + step])
            yield Part(f"{number:05d}", len(members), rows=len(members), members=members)

    def identity(self, part: Part, hashed: bool) -> str:
        """Return one identity for the images of a part and the texts beside them."""
        return identify([path for name in part.members for path in self._files(name)], hashed)

    def _files(self, name: str) -> list[Path]:
        path = self._folder / name
        return [path, *(beside for ending in SIDECARS if (beside := path.with_suffix(ending)).is_file())]

    def open(self, part: Part) -> Opened:
        """Read the texts beside the images of a part."""
        return Opened(mark_repeated([self._item(name) for name in part.members]))

    def _item(self, name: str) -> Item:
        texts = {path.suffix: read_file(path, path.name) for path in self._files(name)[1:]}
        fields, fault = texts_of(texts, self._reading.roles)
        key = plain_key(str(PurePosixPath(name).with_suffix("")))
        where = plain_key(name)
        return Item(key, where, **fields, read_image=partial(read_file, self._folder / name, where), fault=fault)
