"""What a failed offer teaches the next one, and when there is no next one."""

from itertools import product

import pytest
from attrs import evolve

from executor.errors import Denied, ErrorCode, Rejected
from executor.faults import JUPITER_PROGRAM, Remedy
from executor.model import Quoted
from executor.stages.attempts import MAX_OFFERS, Attempt
from executor.stages.upstream import Stale
from tests.support.values import make_quoted

WHIRLPOOL = "whirLbMiicVdio4qvUfM5KAg6Ct8VwpYzGff3uctyCc"
RAYDIUM = "675kPX9MHTjS2zt1qfr1NYHuzeLXfQM9H24wFSUt1Mp8"


def stale(remedy: Remedy | None = None, *, once: bool = False, program: str | None = None) -> Stale:
    """An offer that came to nothing."""
    return Stale(ErrorCode.SIMULATION_FAILED, "it failed", remedy=remedy, once=once, program=program)


def quoted(*labels: str) -> Quoted:
    """An offer over pools of these."""
    return make_quoted(route=labels or ("Pool",))


def after(*failures: Stale, offer: Quoted | None = None) -> Attempt:
    """How the next offer is asked for when each of those before failed so."""
    attempt = Attempt()
    for failure in failures:
        following = attempt.after(failure, offer or quoted())
        assert following is not None
        attempt = following
    return attempt


def test_the_first_offer_is_asked_for_without_conditions() -> None:
    """Nothing is known against any pool yet."""
    assert Attempt() == Attempt(
        number=1, reference_out_amount=None, excluded_dexes=(), max_accounts=None, without_shared_accounts=False
    )


def test_there_are_three_offers() -> None:
    """Whatever else might be tried."""
    last = after(stale(), stale())

    assert last.number == MAX_OFFERS == 3
    for remedy, once in product([None, *Remedy], [False, True]):
        assert last.after(stale(remedy, once=once), quoted()) is None


def test_without_a_remedy_only_the_offer_is_another() -> None:
    """The same question; the first offer stays what slippage is measured against."""
    first = make_quoted()
    assert after(stale(), offer=first) == Attempt(number=2, reference_out_amount=first.reference_out_amount)


def test_the_reference_is_kept() -> None:
    """A later offer is quoted with the reference of the first, and hands it on."""
    first = make_quoted()
    later = evolve(make_quoted(out_amount=6_080_000), reference_out_amount=first.reference_out_amount)
    following = after(stale(), offer=first).after(stale(), later)

    assert following is not None
    assert following.reference_out_amount == 6_096_091


def test_what_is_worth_a_single_try_gets_one() -> None:
    """The second failure of the kind is the last; another kind of failure has its own try."""
    missing_account, missing_table = stale(once=True), stale(Remedy.REFETCH_TABLES, once=True)

    assert after(missing_account).after(missing_account, quoted()) is None
    assert after(missing_table).after(missing_table, quoted()) is None
    assert after(missing_account, missing_table).number == 3
    assert after(missing_account, stale()).number == 3
    assert after(stale(), missing_account).number == 3


def test_fewer_accounts_are_half_as_many() -> None:
    """Of the 64 that Jupiter takes where nothing is said."""
    too_large = stale(Remedy.LOWER_MAX_ACCOUNTS)

    assert after(too_large).max_accounts == 32
    assert after(too_large, too_large).max_accounts == 16


def test_without_shared_accounts() -> None:
    """From then on."""
    refused = stale(Remedy.WITHOUT_SHARED_ACCOUNTS, once=True)

    assert after(refused).without_shared_accounts
    assert after(refused, stale()).without_shared_accounts


@pytest.mark.parametrize(
    ("route", "excluded"),
    [(("Whirlpool",), ("Whirlpool",)), (("Whirlpool", "Whirlpool"), ("Whirlpool",)), (("Whirlpool", "Raydium"), ())],
)
def test_the_dex_of_a_route_is_excluded_by_its_label(route: tuple[str, ...], excluded: tuple[str, ...]) -> None:
    """Of several DEXes nobody knows which one it was: then the market is merely asked anew."""
    following = after(stale(Remedy.EXCLUDE_DEX, program=WHIRLPOOL), offer=quoted(*route))

    assert following.excluded_dexes == excluded
    assert not following.without_shared_accounts


def test_exclusions_add_up() -> None:
    """The third offer avoids what failed in the first and in the second."""
    second = Attempt().after(stale(Remedy.EXCLUDE_DEX, program=WHIRLPOOL), quoted("Whirlpool"))
    assert second is not None
    third = second.after(stale(Remedy.EXCLUDE_DEX, program=RAYDIUM), quoted("Raydium"))

    assert third is not None
    assert third.excluded_dexes == ("Whirlpool", "Raydium")


def test_what_jupiter_s_own_program_refuses_may_be_the_shared_accounts() -> None:
    """Both are left out the next time."""
    following = after(stale(Remedy.EXCLUDE_DEX, program=JUPITER_PROGRAM), offer=quoted("Simple"))

    assert (following.excluded_dexes, following.without_shared_accounts) == (("Simple",), True)


def test_a_pool_s_own_error_excludes_it_when_it_comes_again() -> None:
    """Once it may have been the moment; another pool's error is another pool's."""
    whirlpool = stale(Remedy.EXCLUDE_DEX_SECOND_TIME, program=WHIRLPOOL)
    raydium = stale(Remedy.EXCLUDE_DEX_SECOND_TIME, program=RAYDIUM)

    assert after(whirlpool).excluded_dexes == ()
    assert after(whirlpool, whirlpool).excluded_dexes == ("Pool",)
    assert after(whirlpool, raydium).excluded_dexes == ()


def test_remedies_add_up() -> None:
    """What helped against the first failure is not forgotten over the second."""
    following = after(stale(Remedy.LOWER_MAX_ACCOUNTS), stale(Remedy.EXCLUDE_DEX, program=JUPITER_PROGRAM))

    assert (following.max_accounts, following.excluded_dexes, following.without_shared_accounts) == (32, ("Pool",), True)


@pytest.mark.parametrize("error", [Denied(ErrorCode.PRICE_MOVED, "no", figure=1), stale(once=True)])
def test_the_last_refusal_says_how_many_offers_there_were(error: Denied | Rejected) -> None:
    """In words and as a figure, beside those that it had."""
    figures = dict(error.context)
    with pytest.raises(type(error)) as caught, after(stale()).counted():
        raise error

    assert caught.value is error
    assert error.message.endswith("; this was offer 2 of at most 3")
    assert dict(error.context) == {**figures, "offers": 2}


def test_a_single_offer_needs_no_count() -> None:
    """The refusal of a first offer is told as it is."""
    error = Rejected(ErrorCode.SIMULATION_FAILED, "no")
    with pytest.raises(Rejected), Attempt().counted():
        raise error

    assert (error.message, dict(error.context)) == ("no", {})
