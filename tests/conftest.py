"""What tests of several rooms share."""

import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded: runs share their machine

import pytest


@pytest.fixture
def test_data() -> Path:
    """The folder of real photos and assets that FACEREFINER_TEST_DATA names; the test is skipped without it."""
    folder = os.environ.get("FACEREFINER_TEST_DATA", "")
    if not folder:
        pytest.skip("needs real photos: set FACEREFINER_TEST_DATA to their folder")
    if not Path(folder).is_dir():
        pytest.skip(f"needs real photos: FACEREFINER_TEST_DATA={folder} is no folder")
    return Path(folder)


@pytest.fixture
def sample_photo() -> Path:
    """A face in the public domain from an installed package: scikit-image's astronaut, 512 x 512."""
    from pipeline.reconstruction.photos import sample_photos

    return sample_photos()[0].path
