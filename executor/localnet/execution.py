"""Runs transactions on LiteSVM and tells all that a node tells about it.

LiteSVM executes; what it leaves open is decided here or by the cluster: which blockhashes are alive, what was already processed,
who pays when a program cannot be loaded, how much data was loaded, and what the accounts held before and after.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from attrs import evolve, frozen
from solders.account import Account
from solders.hash import Hash
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey
from solders.transaction_metadata import FailedTransactionMetadata, SimulatedTransactionInfo, TransactionMetadata

from executor.localnet.chain_errors import LOADED_DATA_TOO_LARGE, NO_PROGRAM, PROGRAM_NOT_FOUND, ChainError
from executor.localnet.token_data import TOKEN_PROGRAMS, is_token_account
from executor.localnet.tokens import SYSTEM_PROGRAM
from executor.localnet.transactions import Resolved

UPGRADEABLE_LOADER = Pubkey.from_string("BPFLoaderUpgradeab1e11111111111111111111111")
ACCOUNT_BASE_BYTES = 64
"""What each loaded account counts for beside its data (SIMD-186)."""
LOOKUP_TABLE_BYTES = 8_248
SLOTS_PER_EPOCH = 432_000
NO_ACCOUNTS: Mapping[Pubkey, Account | None] = MappingProxyType({})


@frozen(kw_only=True)
class TokenBalance:
    """A row of pre- or postTokenBalances."""

    account_index: int
    mint: Pubkey
    owner: Pubkey
    program: Pubkey
    amount: int
    decimals: int


@frozen(kw_only=True)
class InnerInstruction:
    """An instruction that a program called."""

    program_index: int
    accounts: bytes
    data: bytes
    stack_height: int


@frozen(kw_only=True)
class ReturnData:
    """What the last program returned."""

    program: Pubkey
    data: bytes


@frozen(kw_only=True)
class Balances:
    """What the transaction's accounts hold at one moment, in the order of its keys."""

    lamports: tuple[int, ...]
    tokens: tuple[TokenBalance, ...]


@frozen(kw_only=True)
class Execution:
    """What a transaction did, or would do."""

    error: ChainError | None
    landed: bool
    """It goes into a block: it succeeded, or failed and paid its fee."""
    executed: bool
    """Its programs ran; otherwise there are neither logs nor inner instructions."""
    fee_lamports: int
    units_consumed: int
    logs: tuple[str, ...]
    inner: tuple[tuple[InnerInstruction, ...], ...]
    """By index of the outer instruction."""
    return_data: ReturnData | None
    before: Balances
    after: Balances
    loaded_bytes: int
    written: Mapping[Pubkey, Account | None]
    """Before a run: the accounts that it could change, as they were. After a simulation: as they would be."""


@frozen(kw_only=True)
class ClockReading:
    """What the clock sysvar shows while a block is made."""

    slot: int
    unix_seconds: int


class Engine:
    """The accounts of the newest block and the machine that changes them."""

    def __init__(self) -> None:
        svm = LiteSVM().with_mainnet_features()
        self._svm = svm.with_transaction_history(0).with_sigverify(False).with_blockhash_check(False)
        # Signatures are checked once, when a transaction comes in; blockhash age and duplicates are the cluster's, since it has
        # forks: a history inside LiteSVM could not forget what a dropped block held.
        self._decimals: dict[Pubkey, int] = {}
        self._program_bytes: dict[Pubkey, int] = {}

    @property
    def clock(self) -> ClockReading:
        """The clock sysvar."""
        clock = self._svm.get_clock()
        return ClockReading(slot=clock.slot, unix_seconds=clock.unix_timestamp)

    def set_clock(self, reading: ClockReading) -> None:
        """Set the clock sysvar."""
        clock = self._svm.get_clock()
        clock.slot, clock.unix_timestamp = reading.slot, reading.unix_seconds
        clock.epoch = reading.slot // SLOTS_PER_EPOCH
        clock.leader_schedule_epoch = clock.epoch + 1
        self._svm.set_clock(clock)

    def begin_block(self, reading: ClockReading, slot_hashes: Sequence[tuple[int, Hash]]) -> None:
        """Move to a new block: the clock, the slot hashes (newest first), and the hash that nonces take."""
        self._svm.expire_blockhash()
        self.set_clock(reading)
        self._svm.set_slot_hashes(list(slot_hashes))

    def account(self, address: Pubkey) -> Account | None:
        """Read an account."""
        return self._svm.get_account(address)

    def put(self, address: Pubkey, account: Account | None) -> None:
        """Write an account as it is; None removes it."""
        # An account without lamports is no account: LiteSVM removes it, as the network does.
        self._svm.set_account(address, account if account is not None else Account(0, b"", SYSTEM_PROGRAM))
        self._forget((address,))

    def add_program(self, address: Pubkey, elf: bytes) -> None:
        """Deploy a program at an address of our choice, as the upgradeable loader would."""
        self._svm.add_program_with_loader(address, elf, UPGRADEABLE_LOADER)
        self._forget((address,))

    def owned_by(self, program: Pubkey) -> list[Pubkey]:
        """The addresses of every account of a program."""
        return [address for address, _ in self._svm.get_program_accounts(program)]

    def rent_exemption(self, size_bytes: int) -> int:
        """The least lamports of an account of this size."""
        return self._svm.minimum_balance_for_rent_exemption(size_bytes)

    def decimals(self, mint: Pubkey) -> int:
        """A mint's decimals; 0 when there is no such mint."""
        known = self._decimals.get(mint)
        if known is None:
            account = self._svm.get_account(mint)
            if account is None or len(account.data) <= 44:
                return 0
            known = self._decimals[mint] = account.data[44]
        return known

    # --- runs -----------------------------------------------------------------------------------------------------------------

    def run(self, tx: Resolved, *, nonce: bool) -> Execution:
        """Execute and keep the changes. With `nonce`, the blockhash must be a live durable nonce."""
        before = {key: self._svm.get_account(key) for key in tx.written_keys()}
        self._forget(before)
        balances, loaded_bytes = self._balances(tx), self._loaded_bytes(tx)
        if loaded_bytes > tx.budget.loaded_bytes_limit:
            result = self._result(self._simulate(tx, nonce), balances, before, 0)
            return _refused(result) if _never_ran(result) else self._charge(tx, result, LOADED_DATA_TOO_LARGE)
        self._svm.with_blockhash_check(nonce)
        result = self._result(self._svm.send_transaction(tx.transaction), balances, before, loaded_bytes)
        if _lacks_program(result):
            return self._charge(tx, result, self._program_error(tx))
        if result.error is not None and self._paid(tx, before) == 0:
            return _refused(result)
        return evolve(result, after=self._balances(tx))

    def simulate(self, tx: Resolved, *, nonce: bool = False, state: Mapping[Pubkey, Account | None] = NO_ACCOUNTS) -> Execution:
        """Execute and keep nothing. `state` holds accounts that stand otherwise in the block that is simulated on."""
        newest = {key: self._svm.get_account(key) for key in state}
        for key, account in state.items():
            self.put(key, account)
        try:
            balances, loaded_bytes = self._balances(tx), self._loaded_bytes(tx)
            raw = self._simulate(tx, nonce)
            result = self._simulated(tx, raw, balances, loaded_bytes)
        finally:
            for key, account in newest.items():
                self.put(key, account)
        return result

    def fee(self, tx: Resolved) -> int:
        """What the network charges for a transaction, whether it succeeds or not."""
        return int(self._simulate(tx, nonce=False).meta().fee())

    # --- parts ----------------------------------------------------------------------------------------------------------------

    def _simulate(self, tx: Resolved, nonce: bool) -> SimulatedTransactionInfo | FailedTransactionMetadata:
        self._svm.with_blockhash_check(nonce)
        return self._svm.simulate_transaction(tx.transaction)

    def _charge(self, tx: Resolved, result: Execution, error: ChainError) -> Execution:
        """Land a transaction whose accounts cannot be loaded: it pays its fee and does nothing, which LiteSVM leaves undone."""
        payer = self._svm.get_account(tx.payer)
        assert payer is not None  # noqa: S101 - LiteSVM looks at the payer before anything else
        self._svm.set_account(tx.payer, _less_lamports(payer, result.fee_lamports))
        return evolve(_unexecuted(result, error), after=self._balances(tx))

    def _paid(self, tx: Resolved, before: Mapping[Pubkey, Account | None]) -> int:
        payer = before[tx.payer]
        return (payer.lamports if payer is not None else 0) - (self._svm.get_balance(tx.payer) or 0)

    def _simulated(self, tx: Resolved, raw: Any, balances: Balances, loaded_bytes: int) -> Execution:
        result = self._result(raw, balances, NO_ACCOUNTS, loaded_bytes)
        if _never_ran(result):
            return _refused(result)
        if loaded_bytes > tx.budget.loaded_bytes_limit:
            return self._after_fee(_unexecuted(result, LOADED_DATA_TOO_LARGE))
        if _lacks_program(result):
            return self._after_fee(_unexecuted(result, self._program_error(tx)))
        if isinstance(raw, SimulatedTransactionInfo):
            written = dict(raw.post_accounts())
            return evolve(result, written=written, after=self._balances(tx, written))
        return self._after_fee(result)

    def _program_error(self, tx: Resolved) -> ChainError:
        """LiteSVM does not tell a program that is not there from an account that is none."""
        programs = (tx.keys[instruction.program_id_index] for instruction in tx.transaction.message.instructions)
        return PROGRAM_NOT_FOUND if any(self._svm.get_account(key) is None for key in programs) else NO_PROGRAM

    def _after_fee(self, result: Execution) -> Execution:
        payer, *others = result.before.lamports
        lamports = (payer - result.fee_lamports, *others)
        return evolve(result, after=Balances(lamports=lamports, tokens=result.before.tokens))

    def _result(self, raw: Any, balances: Balances, before: Mapping[Pubkey, Account | None], loaded_bytes: int) -> Execution:
        failed = isinstance(raw, FailedTransactionMetadata)
        meta = raw if isinstance(raw, TransactionMetadata) else raw.meta()
        returned = meta.return_data()
        data = bytes(returned.data)
        return Execution(
            error=ChainError.from_solders(raw) if failed else None,
            landed=True,
            executed=True,
            fee_lamports=meta.fee(),
            units_consumed=meta.compute_units_consumed(),
            logs=tuple(meta.logs()),
            inner=tuple(tuple(_inner(called) for called in calls) for calls in meta.inner_instructions()),
            return_data=ReturnData(program=returned.program_id, data=data) if data else None,
            before=balances,
            after=balances,
            loaded_bytes=loaded_bytes,
            written=before,
        )

    def _balances(self, tx: Resolved, changed: Mapping[Pubkey, Account] = MappingProxyType({})) -> Balances:
        lamports: list[int] = []
        tokens: list[TokenBalance] = []
        with_tokens = not TOKEN_PROGRAMS.isdisjoint(tx.keys)  # a node does not look for them otherwise
        for index, key in enumerate(tx.keys):
            if key in self._program_bytes:
                lamports.append(self._svm.get_balance(key) or 0)
                continue
            account = changed.get(key) or self._svm.get_account(key)
            lamports.append(account.lamports if account is not None else 0)
            if with_tokens and account is not None and is_token_account(account):
                tokens.append(self._token_balance(index, account))
        return Balances(lamports=tuple(lamports), tokens=tuple(tokens))

    def _token_balance(self, index: int, account: Account) -> TokenBalance:
        data = bytes(account.data)
        mint = Pubkey(data[:32])
        return TokenBalance(
            account_index=index,
            mint=mint,
            owner=Pubkey(data[32:64]),
            program=account.owner,
            amount=int.from_bytes(data[64:72], "little"),
            decimals=self.decimals(mint),
        )

    def _loaded_bytes(self, tx: Resolved) -> int:
        total = LOOKUP_TABLE_BYTES * tx.lookup_count
        for key in tx.keys:
            size = self._program_bytes.get(key)
            if size is None:
                account = self._svm.get_account(key)
                if account is None:
                    continue
                size = ACCOUNT_BASE_BYTES + len(account.data)
                if account.executable:
                    size += self._program_data_bytes(account)
                    self._program_bytes[key] = size
            total += size
        return total

    def _program_data_bytes(self, program: Account) -> int:
        if program.owner != UPGRADEABLE_LOADER:
            return 0
        data = self._svm.get_account(Pubkey(bytes(program.data)[4:36]))
        return ACCOUNT_BASE_BYTES + len(data.data) if data is not None else 0

    def _forget(self, addresses: Iterable[Pubkey]) -> None:
        """Drop what is remembered of accounts that change."""
        for address in addresses:
            self._decimals.pop(address, None)
            self._program_bytes.pop(address, None)


def _inner(called: Any) -> InnerInstruction:
    instruction = called.instruction()
    return InnerInstruction(
        program_index=instruction.program_id_index,
        accounts=bytes(instruction.accounts),
        data=bytes(instruction.data),
        stack_height=called.stack_height(),
    )


def _lacks_program(result: Execution) -> bool:
    return result.error is not None and result.error.name == "InvalidProgramForExecution"


def _never_ran(result: Execution) -> bool:
    """It was refused before its accounts were loaded: the blockhash is dead, or the payer cannot pay."""
    if result.error is None or _lacks_program(result):
        return False
    return not result.logs and result.error.name != "InstructionError"


def _refused(result: Execution) -> Execution:
    assert result.error is not None  # noqa: S101 - only failures are refused
    return not_executed(result, result.error)


def not_executed(result: Execution, error: ChainError) -> Execution:
    """What is told of a transaction that was refused before anything ran."""
    return evolve(_unexecuted(result, error), landed=False, fee_lamports=0, after=result.before, written=NO_ACCOUNTS)


def _unexecuted(result: Execution, error: ChainError) -> Execution:
    """Of a transaction that pays and is not run nothing else is told."""
    return evolve(
        result, error=error, landed=True, executed=False, units_consumed=0, logs=(), inner=(), return_data=None, loaded_bytes=0
    )


def _less_lamports(account: Account, lamports: int) -> Account:
    return Account(account.lamports - lamports, account.data, account.owner, account.executable, account.rent_epoch)
