"""The journal's tests; asserts of the conformance suite explain themselves as those of tests do."""

import pytest

pytest.register_assert_rewrite("tests.journal.conformance")
