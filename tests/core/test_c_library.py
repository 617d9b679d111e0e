"""What is compiled is found beside its source, and only in the version that its caller knows."""

import numpy as np

from stream_app.core import calibration
from stream_app.core.c_library import address, library


def test_a_library_is_there_in_its_own_version_and_in_no_other() -> None:
    assert library(calibration.__file__, "reservoir", 1) is not None
    assert library(calibration.__file__, "reservoir", 2) is None
    assert library(calibration.__file__, "no_such", 1) is None


def test_an_address_is_that_of_the_first_number() -> None:
    numbers = np.arange(4, dtype=np.int64)
    assert address(numbers[1:]) == (address(numbers) or 0) + 8
    assert address(None) is None
