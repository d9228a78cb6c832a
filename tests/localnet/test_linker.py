import struct
from collections.abc import Sequence

import pytest
from attrs import frozen
from solders.account import Account
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import Message
from solders.pubkey import Pubkey
from solders.transaction import Transaction
from solders.transaction_metadata import FailedTransactionMetadata, TransactionMetadata
from solders.transaction_status import InstructionErrorCustom, TransactionErrorInstructionError

from executor.localnet.program.linker import LinkError, link

# What the ELF format calls them.
PROGBITS, SYMTAB, STRTAB, NOBITS, REL = 1, 2, 3, 8, 9
WRITE, ALLOC, EXECUTE = 1, 2, 4
FUNCTION, SECTION, NOTYPE = 2, 3, 0
LOAD, POINTER, CALL = 1, 2, 10

EXIT = struct.pack("<BBhi", 0x95, 0, 0, 0)


def move(register: int, value: int) -> bytes:
    """register = value."""
    return struct.pack("<BBhi", 0xB7, register, 0, value)


def load_address(register: int, addend: int = 0) -> bytes:
    """register = an address that a relocation names, plus the addend."""
    return struct.pack("<BBhiBBhi", 0x18, register, 0, addend, 0, 0, 0, 0)


def load_word(register: int, base: int) -> bytes:
    """register = the eight bytes at base."""
    return struct.pack("<BBhi", 0x79, base << 4 | register, 0, 0)


def call(immediate: int = -1) -> bytes:
    """Call what a relocation names, as clang writes it: a relative call."""
    return struct.pack("<BBhi", 0x85, 0x10, 0, immediate)


@frozen(kw_only=True)
class Part:
    """A section to be: its relocations are (offset, type, index into the symbols)."""

    name: str
    data: bytes
    flags: int = ALLOC
    type: int = PROGBITS
    align: int = 8
    relocations: Sequence[tuple[int, int, int]] = ()


@frozen(kw_only=True)
class Name:
    """A symbol to be; `part` counts the parts from 1, 0 is somewhere else."""

    name: str
    part: int
    value: int = 0
    type: int = FUNCTION


def assemble(parts: Sequence[Part], names: Sequence[Name], *, machine: int = 247) -> bytes:
    """Write an object file as clang does: the parts, then their relocations, symbols and strings."""
    strings = b"\0"
    headers = [(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)]
    body = b""

    def text(value: str) -> int:
        nonlocal strings
        strings += value.encode() + b"\0"
        return len(strings) - len(value) - 1

    def add(name: str, kind: int, flags: int, data: bytes, *, link: int = 0, info: int = 0, align: int = 8) -> None:
        nonlocal body
        headers.append((text(name), kind, flags, 0, 64 + len(body), len(data), link, info, align, 0))
        body += b"" if kind == NOBITS else data

    for part in parts:
        add(part.name, part.type, part.flags, part.data, align=part.align)
    symbol_table = len(parts) + 1
    symbols = b"".join(struct.pack("<IBBHQQ", text(n.name), n.type, 0, n.part, n.value, 0) for n in names)
    add(".symtab", SYMTAB, 0, symbols, link=symbol_table + 1)
    add(".strtab", STRTAB, 0, b"")  # put in its place when all names are in it
    for index, part in enumerate(parts, start=1):
        if part.relocations:
            entries = b"".join(struct.pack("<QQ", offset, symbol << 32 | kind) for offset, kind, symbol in part.relocations)
            add(f".rel{part.name}", REL, 0, entries, link=symbol_table, info=index)
    name, kind, flags, *_ = headers[symbol_table + 1]
    headers[symbol_table + 1] = (name, kind, flags, 0, 64 + len(body), len(strings), 0, 0, 8, 0)
    sections = b"".join(struct.pack("<IIQQQQIIQQ", *header) for header in headers)
    start = 64 + len(body) + len(strings)
    counts = (64, 0, 0, 64, len(headers), symbol_table + 1)
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 1, machine, 1, 0, 0, start, 0, *counts)
    return header + body + strings + sections


def run(program: bytes) -> TransactionMetadata | FailedTransactionMetadata:
    """Execute a linked program that takes no accounts."""
    payer, address = Keypair.from_seed(bytes([1]) * 32), Pubkey(bytes([7]) * 32)
    svm = LiteSVM()
    svm.add_program(address, program)
    svm.set_account(payer.pubkey(), Account(10**9, b"", Pubkey.default()))
    message = Message.new_with_blockhash([Instruction(address, b"", [])], payer.pubkey(), svm.latest_blockhash())
    return svm.send_transaction(Transaction([payer], message, svm.latest_blockhash()))


def returned(program: bytes) -> bytes:
    """What the program set as its return data."""
    result = run(program)
    assert isinstance(result, TransactionMetadata), result
    return bytes(result.return_data().data)


ENTRY = Name(name="entrypoint", part=1)
RETURN = Name(name="sol_set_return_data", part=0, type=NOTYPE)
STRINGS = Name(name="", part=2, type=SECTION)


def return_text(length: int, addend: int = 0) -> bytes:
    """Return text whose address the relocation at 0 names, by the call that the relocation at 24 names."""
    return load_address(1, addend) + move(2, length) + call() + move(0, 0) + EXIT


def text_part(code: bytes, *relocations: tuple[int, int, int]) -> Part:
    """The code of a program."""
    return Part(name=".text", data=code, flags=ALLOC | EXECUTE, relocations=relocations)


def test_constants_and_system_calls() -> None:
    """An address in constants is found, behind the addend that stands in the code; so is a system function."""
    code = text_part(return_text(5, addend=6), (0, LOAD, 2), (24, CALL, 1))
    strings = Part(name=".rodata.str1.1", data=b"hello\0world\0", align=1)

    program = link(assemble([code, strings], [ENTRY, RETURN, STRINGS]))

    assert returned(program) == b"world"


def test_several_constant_sections_are_aligned() -> None:
    """Sections of constants follow each other, each at its own alignment."""
    code = text_part(return_text(8), (0, LOAD, 2), (24, CALL, 1))
    odd = Part(name=".rodata.str1.1", data=b"odd", align=1)
    table = Part(name=".rodata", data=b"eight by", align=16)

    program = link(assemble([code, odd, table], [ENTRY, RETURN, Name(name="table", part=3, type=NOTYPE)]))

    assert returned(program) == b"eight by"
    assert program.index(b"eight by") % 16 == 0


def test_pointers_in_constants() -> None:
    """An address that stands in the constants themselves is final in the file."""
    code = text_part(load_address(3) + load_word(1, 3) + move(2, 5) + call() + move(0, 0) + EXIT, (0, LOAD, 3), (32, CALL, 1))
    strings = Part(name=".rodata.str1.1", data=b"hello\0world\0", align=1)
    pointers = Part(name=".rodata", data=struct.pack("<Q", 6), relocations=[(0, POINTER, 2)])
    names = [ENTRY, RETURN, STRINGS, Name(name="pointer", part=3, type=NOTYPE)]

    program = link(assemble([code, strings, pointers], names))

    assert returned(program) == b"world"


@pytest.mark.parametrize(
    ("callee", "immediate"),
    [(Name(name="other", part=1, value=16), -1), (Name(name="", part=1, type=SECTION), 1)],
    ids=["by the function's symbol", "by the section's symbol"],
)
def test_calls_inside_the_program(callee: Name, immediate: int) -> None:
    """A call of an own function reaches it, whichever way the compiler has named it."""
    code = text_part(call(immediate) + EXIT + move(0, 77) + EXIT, (0, CALL, 1))

    result = run(link(assemble([code], [ENTRY, callee])))

    assert isinstance(result, FailedTransactionMetadata)
    assert result.err() == TransactionErrorInstructionError(0, InstructionErrorCustom(77))


def test_the_entry_need_not_come_first() -> None:
    """Execution starts at the entry symbol, wherever it stands."""
    code = text_part(move(0, 77) + EXIT + move(0, 0) + EXIT)

    assert isinstance(run(link(assemble([code], [Name(name="entrypoint", part=1, value=16)]))), TransactionMetadata)


def test_debugging_information_is_left_behind() -> None:
    """Relocations of sections that are not carried over are nobody's business."""
    code = text_part(move(0, 0) + EXIT)
    debug = Part(name=".debug_info", data=bytes(8), flags=0, relocations=[(0, 99, 0)])
    unset = Part(name=".bss", data=b"", flags=ALLOC | WRITE, type=NOBITS)

    program = link(assemble([code, debug, unset], [ENTRY]))

    assert b"debug" not in program
    assert isinstance(run(program), TransactionMetadata)


def test_linking_is_deterministic() -> None:
    """The same object gives the same program."""
    code = text_part(return_text(5), (0, LOAD, 2), (24, CALL, 1))
    whole = assemble([code, Part(name=".rodata", data=b"hello")], [ENTRY, RETURN, STRINGS])

    assert link(whole) == link(whole)


CODE = text_part(move(0, 0) + EXIT)
DATA = Part(name=".rodata", data=bytes(8))


@pytest.mark.parametrize(
    ("parts", "names", "problem"),
    [
        ([CODE], [Name(name="main", part=1)], "no function 'entrypoint'"),
        ([CODE, Part(name=".text.cold", data=EXIT, flags=ALLOC | EXECUTE)], [ENTRY], "one .text"),
        ([CODE, Part(name=".data", data=bytes(8), flags=ALLOC | WRITE)], [ENTRY], "writable globals"),
        ([CODE, Part(name=".bss", data=bytes(8), flags=ALLOC | WRITE, type=NOBITS)], [ENTRY], "writable globals"),
        ([text_part(EXIT, (0, 3, 0))], [ENTRY], "unknown relocation 3"),
        ([text_part(load_address(1) + EXIT, (0, LOAD, 1))], [ENTRY, RETURN], "address of 'sol_set_return_data' is not known"),
        ([text_part(call() + EXIT, (0, CALL, 1)), DATA], [ENTRY, Name(name="data", part=2)], "'data' is called"),
    ],
    ids=["no entry", "two texts", "data", "bss", "relocation", "unknown address", "called data"],
)
def test_what_cannot_be_linked(parts: Sequence[Part], names: Sequence[Name], problem: str) -> None:
    """What a program cannot have is refused, and named."""
    with pytest.raises(LinkError, match=problem):
        link(assemble(parts, names))


@pytest.mark.parametrize("data", [b"", b"MZ" + bytes(100), b"\x7fELF\x01" + bytes(100)], ids=["empty", "foreign", "32 bits"])
def test_what_is_no_object_file(data: bytes) -> None:
    """Anything but a 64-bit little-endian ELF file is refused."""
    with pytest.raises(LinkError, match="ELF"):
        link(data)


def test_an_object_of_another_machine() -> None:
    """An object that was compiled for another machine is refused."""
    with pytest.raises(LinkError, match="machine 62"):
        link(assemble([CODE], [ENTRY], machine=62))
