"""That the mutation tests find the modules and the tests that they name."""

from pathlib import Path

import pytest

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
