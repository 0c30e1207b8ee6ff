"""A user's own images, as `hrfamily new` lists them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from paddle_hrfamily import registry
from paddle_hrfamily.data.paired_dataset import Pair, PairedDataset, Relabel, check_mode
from paddle_hrfamily.data.reading import Reading, as_stored
from paddle_hrfamily.errors import UserError


@registry.dataset()
class OwnData(PairedDataset):
    """Pairs of image and label map from a list, a line each: the image, a tab, the label.

    Paths are those from the list's own folder, or whole ones. Labels are 8-bit grey or palette images of class numbers.

    Args:
        mode: "train", "val" or "test", for messages alone.
        transforms: list of PaddleSeg transforms. With NormalizeBands, images are read as they are stored, of any number
            of bands and up to 16 bits; without, they are 8-bit RGB, and one that holds more is refused.
        list_path: the list.
        num_classes: what the labels tell apart; written once, as the config's `classes`.
        relabel: value of a label file -> the class it means, where they differ, such as {255: 1} of black and white
            masks, or {0: 255} for a value that is no class.
        ignore_index: the label that counts for nothing, 255.
        edge: as in PaddleSeg's `Dataset`.

    Raises:
        UserError: the list or a file of it is missing, or is not as it should be.
    """

    MODES = ("train", "val", "test")
    SOURCE = "`hrfamily new FOLDER` looks for images and labels again and writes the lists anew"
    from_config = True  # the classes' number is the config's: `integration.builder` tells PaddleSeg

    def __init__(
        self,
        mode: str,
        transforms: list,
        list_path: str,
        num_classes: int,
        relabel: Mapping[int, int] | None = None,
        ignore_index: int = 255,
        edge: bool = False,
    ) -> None:
        self.mode = check_mode("OwnData", mode, self.MODES)
        self.list_path, self.num_classes, self.ignore_index = Path(list_path).expanduser(), num_classes, ignore_index
        self.dataset_root, self.edge = str(self.list_path.parent), edge
        stored = as_stored(transforms)
        self.img_channels = stored.channels if stored else self.IMG_CHANNELS
        self.relabel = _checked(relabel or {}, num_classes, ignore_index)
        first = [Relabel(self.relabel)] if self.relabel else []
        self.transforms = Reading(first + transforms, self.img_channels)
        pairs = list(self.find(self.list_path))
        self.check_there(pairs)
        self.file_list = [[str(image), str(label)] for image, label in pairs]

    def find(self, root: Path) -> Iterator[Pair]:
        """The pairs of the list `root`."""
        if not root.is_file():
            raise self.missing(f"{root.absolute()} does not exist")
        for number, line in enumerate(root.read_text(encoding="utf-8").splitlines(), 1):
            parts = line.split("\t")
            if not line.strip():
                continue
            if len(parts) != 2:
                raise UserError(f"{root}:{number}: {line!r} is not an image, a tab and a label")
            yield root.parent / parts[0], root.parent / parts[1]


def write_list(path: Path, pairs: list[Pair]) -> str:
    """The content of such a list at `path`: paths from its folder where they lie below it, whole ones elsewhere."""
    return "".join(f"{_from(path.parent, image)}\t{_from(path.parent, label)}\n" for image, label in pairs)


def _from(folder: Path, file: Path) -> str:
    text = str(file.absolute())
    if "\t" in text or len(text.splitlines()) > 1:
        raise UserError(f"{text!r}: the path holds a tab or a line break, which separate names in lists; rename it")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"{text!r}: the path is no UTF-8; rename it") from None
    try:
        return str(file.absolute().relative_to(folder.absolute()))
    except ValueError:
        return text


def _checked(relabel: Mapping[int, int], classes: int, ignore: int) -> dict[int, int]:
    for value, meaning in relabel.items():
        if type(value) is not int or not 0 <= value <= 255:
            raise UserError(f"OwnData: relabel has the value {value!r}; labels hold whole numbers of 0..255")
        if type(meaning) is not int or not (0 <= meaning < classes or meaning == ignore):
            raise UserError(
                f"OwnData: relabel makes {meaning!r} of {value}; give a class of 0..{classes - 1}, or {ignore} for none"
            )
    return dict(relabel)
