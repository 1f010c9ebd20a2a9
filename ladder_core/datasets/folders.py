"""Reads folders of images in an archive, one folder per class, as torchvision's ImageFolder lays them out."""

from collections.abc import Iterator
from pathlib import Path
from posixpath import splitext

from ladder_core.datasets.archives import Archive, DamagedMemberError, Member
from ladder_core.datasets.base import Dataset
from ladder_core.datasets.images import MAX_ENCODED_BYTES, BadImageError, Wanted
from ladder_core.datasets.layout import Layout, read_layout
from ladder_core.datasets.reader import ImageReader, Sample


def load_folders(
    archive: Archive, work_dir: Path, *, wanted: Wanted, max_bad_images: float, seed: int
) -> Dataset:
    """Read a labelled image dataset.

    Args:
        archive: The uploaded archive; ``train/``, ``test/`` and ``val/`` with a folder per class, or such
            folders alone.
        work_dir: Takes the decoded images; must outlive the dataset.
        wanted: Size and channels to bring the images to.
        max_bad_images: Largest share of images that may be left out.
        seed: Seeds the stratified split where the archive has no test split.

    Raises:
        DatasetError: The archive is damaged, not laid out like this, or its images cannot be used.
    """
    layout = read_layout(archive.names)
    reader = ImageReader(work_dir / "dataset-images.raw", wanted, max_bad_images)
    reader.read(_samples(archive, layout))
    form = "image folders in a " + ("tar archive" if archive.mode else "zip archive")
    return reader.dataset(layout.class_names, layout.notes, form=form, seed=seed)


def _samples(archive: Archive, layout: Layout) -> Iterator[Sample]:
    for member in archive.members():
        place = layout.place(member.name)
        if place is not None:
            extension = splitext(member.name)[1]
            yield Sample(member.name, _content(member), place.part, place.label, extension)


def _content(member: Member) -> bytes | BadImageError:
    try:
        return member.read(MAX_ENCODED_BYTES)
    except DamagedMemberError as error:
        return BadImageError(str(error))
