"""That the mutation tests find the modules and the tests that they name."""

from pathlib import Path

import pytest

from tests.im.mutants import MISTAKES, Mistake, read_module
from tests.mutants import ROOT, SOURCE, TARGETS, Target


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.modules[0])
def test_a_target_names_what_is_there(target: Target) -> None:
    for pattern in target.modules:
        assert list((ROOT / SOURCE).glob(pattern)), pattern
    for pattern in target.nearest:
        names = [Path(path).stem for path in target.paths()]
        assert any(list(ROOT.glob(pattern.format(module=name))) for name in names), pattern
    for name in target.others:
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_is_about_code_that_is_there(mistake: Mistake) -> None:
    """`make mutants` makes them, and runs the tests that must notice.

    It is not beside one of those tests: it would notice every mistake.
    """
    mistake.apply(read_module(mistake))
