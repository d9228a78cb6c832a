"""One validator for every test that needs a real one, and for no other: it takes a quarter of a minute to start, and a core."""

import os
from collections.abc import Iterator

import pytest

from executor.cli.demo.children import Children
from executor.cli.demo.interruption import Interruption
from executor.cli.demo.rehearsal import EXPORT_FOLDER, export_genesis
from executor.cli.demo.validator import NoValidator, Validator, find_validator, start_validator
from tests.real_node.conformance import SEED


@pytest.fixture(scope="package")
def validator_children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Children]:
    """Whatever runs beside the tests of this folder."""
    with Children(tmp_path_factory.mktemp("validator"), Interruption()) as children:
        yield children


@pytest.fixture(scope="package")
def validator(validator_children: Children) -> Validator:
    """A validator with the localnet's genesis; the conformance test comes first, since it wants pools that nobody traded in."""
    folder = validator_children.folder
    try:
        program = find_validator(os.environ, unpack_into=folder)
    except NoValidator as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))
    return start_validator(validator_children, program, export_genesis(folder / EXPORT_FOLDER, seed=SEED))
