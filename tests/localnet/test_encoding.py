"""The localnet's own encoders against what a real node answered (Agave 3.1.8, asked on 2026-11-23) and against solders."""

import base64
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.account import Account
from solders.pubkey import Pubkey
from solders.signature import Signature

from executor.localnet.chain_errors import ChainError
from executor.localnet.encoding import (
    Base58Invalid,
    DataSlice,
    TooLongForBase58,
    account_json,
    base58_decode,
    base58_encode,
    cost_units,
    transaction_json,
    transaction_version,
    ui_amount,
)
from executor.localnet.program.layout import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from executor.localnet.tokens import BERN, MINT_AUTHORITY, SOL, SYSTEM_PROGRAM, USDC, mint_account, token_account
from tests.localnet.cluster_world import ALICE, BOB, land, new_cluster, signed, signed_legacy, transfer

NATIVE_MINT = bytes(44) + b"\x09\x01" + bytes(36)
NATIVE_MINT_BASE64 = base64.b64encode(NATIVE_MINT).decode()
NATIVE_MINT_BASE58 = "111111111111111111111111111111111111111111112LFctdUYcEfuznwVgb8fAXAz1pvVER9PLmFF9LGYKJSQvUQuS3No"


def shown(account: Account, encoding: str = "jsonParsed", data_slice: DataSlice | None = None) -> Any:
    """The data member of an account's JSON."""
    answer = account_json(account, encoding=encoding, data_slice=data_slice, decimals=lambda _: 6)
    return answer["data"]


# --- base58 -------------------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=100))
def test_base58_round_trips(data: bytes) -> None:
    """Every byte string comes back, leading zeros too."""
    assert base58_decode(base58_encode(data)) == data


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
def test_base58_is_the_networks(address: bytes, signature: bytes) -> None:
    """Addresses and signatures look as in every other implementation."""
    assert base58_encode(address) == str(Pubkey(address))
    assert base58_encode(signature) == str(Signature(signature))


def test_foreign_characters_are_named() -> None:
    """The first character that is not of the alphabet is told with its place, in a node's words."""
    with pytest.raises(Base58Invalid, match=r"InvalidCharacter { character: 'I', index: 2 }"):
        base58_decode("AvI0")


# --- amounts ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "decimals", "number", "text"),
    [
        (999_999_000, 9, 0.999999, "0.999999"),
        (1_000, 9, 1e-06, "0.000001"),
        (0, 6, 0.0, "0"),
        (1_500_000, 6, 1.5, "1.5"),
        (42, 0, 42.0, "42"),
        (10_000, 2, 100.0, "100"),
        (2**64 - 1, 9, 18446744073.709553, "18446744073.709551615"),
    ],
)
def test_amounts_look_as_at_a_node(amount: int, decimals: int, number: float, text: str) -> None:
    """Raw text, decimals, a float for people and the exact text without trailing zeros."""
    assert ui_amount(amount, decimals) == {
        "amount": str(amount),
        "decimals": decimals,
        "uiAmount": number,
        "uiAmountString": text,
    }


# --- accounts -----------------------------------------------------------------------------------------------------------------


def native_mint() -> Account:
    """The wrapped SOL mint as it stands on a real validator."""
    return Account(1_000_000_000, NATIVE_MINT, TOKEN_PROGRAM)


def test_the_native_mint_in_every_encoding() -> None:
    """Bare base58 for the oldest, pairs for base58 and base64, and jsonParsed: as a real node showed it."""
    assert shown(native_mint(), "binary") == NATIVE_MINT_BASE58
    assert shown(native_mint(), "base58") == [NATIVE_MINT_BASE58, "base58"]
    assert shown(native_mint(), "base64") == [NATIVE_MINT_BASE64, "base64"]
    assert shown(native_mint()) == {
        "parsed": {
            "info": {
                "decimals": 9,
                "freezeAuthority": None,
                "isInitialized": True,
                "mintAuthority": None,
                "supply": "0",
            },
            "type": "mint",
        },
        "program": "spl-token",
        "space": 82,
    }


def test_an_account_has_its_other_members() -> None:
    """Lamports, owner, executable, size and the rent epoch of everything that is rent exempt; nothing for no account."""
    account = Account(5, b"abc", SYSTEM_PROGRAM)

    assert account_json(account, encoding="base64", data_slice=None, decimals=lambda _: 0) == {
        "data": ["YWJj", "base64"],
        "executable": False,
        "lamports": 5,
        "owner": "11111111111111111111111111111111",
        "rentEpoch": 18446744073709551615,
        "space": 3,
    }
    assert account_json(None, encoding="base64", data_slice=None, decimals=lambda _: 0) is None


def test_slices_cut_data() -> None:
    """Offset and length, as far as there is data; what is parsed is not cut."""
    assert shown(native_mint(), "base64", DataSlice(4, 8)) == ["AAAAAAAAAAA=", "base64"]
    assert shown(native_mint(), "base64", DataSlice(80, 8)) == ["AAA=", "base64"]
    assert shown(native_mint(), "base64", DataSlice(180, 8)) == ["", "base64"]
    assert isinstance(shown(native_mint(), "jsonParsed", DataSlice(0, 1)), dict)


def test_base58_is_for_short_data() -> None:
    """More than 128 bytes are refused in base58, unless a slice makes them fewer."""
    account = Account(5, bytes(129), SYSTEM_PROGRAM)
    with pytest.raises(TooLongForBase58):
        shown(account, "base58")

    assert shown(account, "base58", DataSlice(0, 128)) == ["1" * 128, "base58"]


def test_other_accounts_are_not_parsed() -> None:
    """What is neither token account nor mint comes as base64, even when asked for parsed."""
    not_tokens = [
        Account(5, b"", SYSTEM_PROGRAM),
        Account(5, bytes(165), TOKEN_PROGRAM),  # not initialised
        Account(5, bytes(82), TOKEN_PROGRAM),
        Account(5, bytes(355), TOKEN_PROGRAM),  # a multisig
        Account(5, bytes(20), TOKEN_2022_PROGRAM),
    ]

    assert [shown(account)[1] for account in not_tokens] == ["base64"] * 5


def test_a_wrapped_sol_account_tells_its_reserve() -> None:
    """isNative, the reserve and the amount, each with the mint's decimals."""
    account = token_account(SOL, owner=ALICE.pubkey(), amount=7)

    parsed = account_json(account, encoding="jsonParsed", data_slice=None, decimals=lambda _: 9)["data"]["parsed"]
    assert parsed == {
        "info": {
            "isNative": True,
            "mint": str(SOL.mint),
            "owner": str(ALICE.pubkey()),
            "rentExemptReserve": ui_amount(2_039_280, 9),
            "state": "initialized",
            "tokenAmount": ui_amount(7, 9),
        },
        "type": "account",
    }


def test_delegates_freezing_and_close_authorities_are_told() -> None:
    """An account of which others may take, that is frozen, and that another may close."""
    plain = bytes(token_account(USDC, owner=ALICE.pubkey(), amount=7).data)
    delegate = struct.pack("<I32s", 1, bytes(BOB.pubkey()))
    data = plain[:72] + delegate + b"\2" + plain[109:121] + struct.pack("<Q", 3) + delegate
    info = shown(Account(5, data, TOKEN_PROGRAM))["parsed"]["info"]

    assert info == {
        "closeAuthority": str(BOB.pubkey()),
        "delegate": str(BOB.pubkey()),
        "delegatedAmount": ui_amount(3, 6),
        "isNative": False,
        "mint": str(USDC.mint),
        "owner": str(ALICE.pubkey()),
        "state": "frozen",
        "tokenAmount": ui_amount(7, 6),
    }


def test_token_2022_extensions_are_told() -> None:
    """The transfer fee of a mint, and what its accounts withhold; an extension that is not known is named as such."""
    mint = shown(mint_account(BERN, supply=5))
    account = token_account(BERN, owner=ALICE.pubkey(), amount=7)
    padded = Account(5, bytes(account.data) + struct.pack("<HHI", 77, 4, 1) + bytes(4), TOKEN_2022_PROGRAM)
    fee = {"epoch": 0, "maximumFee": BERN.transfer_fee.maximum, "transferFeeBasisPoints": BERN.transfer_fee.bps}

    assert mint["program"] == "spl-token-2022"
    assert mint["parsed"]["info"]["extensions"] == [
        {
            "extension": "transferFeeConfig",
            "state": {
                "newerTransferFee": fee,
                "olderTransferFee": fee,
                "transferFeeConfigAuthority": str(MINT_AUTHORITY),
                "withdrawWithheldAuthority": str(MINT_AUTHORITY),
                "withheldAmount": 0,
            },
        }
    ]
    assert shown(padded)["parsed"]["info"]["extensions"] == [
        {"extension": "immutableOwner"},
        {"extension": "transferFeeAmount", "state": {"withheldAmount": 0}},
        {"extension": "unparseableExtension"},
    ]


def test_a_mint_without_fee_authorities_has_none() -> None:
    """Authorities that are all zeros are no authorities."""
    data = bytearray(mint_account(BERN, supply=5).data)
    data[170:234] = bytes(64)
    parsed = shown(Account(5, bytes(data), TOKEN_2022_PROGRAM))
    state = parsed["parsed"]["info"]["extensions"][0]["state"]

    assert (state["transferFeeConfigAuthority"], state["withdrawWithheldAuthority"]) == (None, None)


# --- transactions -------------------------------------------------------------------------------------------------------------


def test_cost_units_are_agaves() -> None:
    """The same failing transfer cost 1481 units on Agave 3.1.8."""
    cluster = new_cluster()
    transaction = land(cluster, transfer(10**15))
    landed = cluster.transaction(transaction.signatures[0])
    assert landed is not None

    assert cost_units(landed.resolved, landed.execution) == 1_481


def test_transactions_in_every_encoding() -> None:
    """The same wire bytes in base64 and base58, and the members of JSON; a legacy message has no lookups."""
    cluster = new_cluster()
    block = cluster.block("processed")
    v0, legacy = (cluster.resolve(make(cluster, transfer(5)), block) for make in (signed, signed_legacy))
    wire = bytes(v0.transaction)

    assert transaction_json(v0, "base64") == [base64.b64encode(wire).decode(), "base64"]
    assert transaction_json(v0, "base58") == [base58_encode(wire), "base58"]
    assert transaction_json(v0, "json") == {
        "message": {
            "accountKeys": [str(ALICE.pubkey()), str(BOB.pubkey()), "11111111111111111111111111111111"],
            "addressTableLookups": [],
            "header": {"numReadonlySignedAccounts": 0, "numReadonlyUnsignedAccounts": 1, "numRequiredSignatures": 1},
            "instructions": [
                {
                    "accounts": [0, 1],
                    "data": base58_encode(struct.pack("<IQ", 2, 5)),
                    "programIdIndex": 2,
                    "stackHeight": 1,
                }
            ],
            "recentBlockhash": str(v0.blockhash),
        },
        "signatures": [str(v0.signature)],
    }
    assert "addressTableLookups" not in transaction_json(legacy, "json")["message"]
    assert (transaction_version(v0), transaction_version(legacy)) == (0, "legacy")


# --- errors of the chain ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("BlockhashNotFound", "Blockhash not found"),
        ("AlreadyProcessed", "This transaction has already been processed"),
        ({"InstructionError": [3, {"Custom": 6001}]}, "Error processing Instruction 3: custom program error: 0x1771"),
        ({"InstructionError": [1, "ProgramFailedToComplete"]}, "Error processing Instruction 1: Program failed to complete"),
        ({"InstructionError": [1, "SomethingNew"]}, "Error processing Instruction 1: SomethingNew"),
        ({"InstructionError": [1, {"New": 1}]}, 'Error processing Instruction 1: {"New": 1}'),
        ({"DuplicateInstruction": 1}, "Transaction contains a duplicate instruction (1) that is not allowed"),
        (
            {"InsufficientFundsForRent": {"account_index": 1}},
            "Transaction results in an account (1) with insufficient funds for rent",
        ),
        ("SomethingNew", "SomethingNew"),
    ],
)
def test_errors_are_worded_as_by_a_node(value: object, text: str) -> None:
    """JSON in, the same JSON out, and the sentence of a real node."""
    error = ChainError.from_json(value)

    assert error.json == value
    assert str(error) == text
