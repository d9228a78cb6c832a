"""Link one object file of clang's BPF target into a Solana program (sBPF V0). Standard library only.

No linker of a distribution writes what Solana's loader reads, and the tool chain that does is a gigabyte. What the loader wants
of a V0 program (solana-sbpf, `elf.rs`): a little-endian shared object whose `.text` stands in memory where it stands in the file;
calls of system functions with -1 in place of the target and a dynamic relocation that names the function; calls inside of the
program relative, which it resolves itself; nothing that is writable. The program is mapped at 2**32, so that every address in it
is known here and needs no relocation at run time.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

PROGRAM_START = 1 << 32
"""Where the loader maps the file."""

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_SHDR = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQ")
_DYNAMIC = struct.Struct("<QQ")

_IDENT = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")  # 64 bits, little endian, version 1
_ET_REL, _ET_DYN, _EM_BPF = 1, 3, 247
_PT_LOAD, _PT_DYNAMIC = 1, 2
_PF_EXECUTE, _PF_READ = 1, 4
_SHT_PROGBITS, _SHT_SYMTAB, _SHT_STRTAB, _SHT_DYNAMIC, _SHT_NOBITS, _SHT_REL, _SHT_DYNSYM = 1, 2, 3, 6, 8, 9, 11
_SHF_WRITE, _SHF_ALLOC, _SHF_EXECUTE = 1, 2, 4
_STT_FUNC, _STB_GLOBAL = 2, 1
_DT_STRTAB, _DT_SYMTAB, _DT_STRSZ, _DT_REL, _DT_RELSZ, _DT_RELENT = 5, 6, 10, 17, 18, 19

# Relocations, with LLVM's names (https://docs.kernel.org/bpf/llvm_reloc.html).
_R_BPF_64_64 = 1  # an address in the two halves of a 16-byte load
_R_BPF_64_ABS64 = 2  # an address in eight bytes of data
_R_BPF_64_32 = 10  # the target of a call

_INSTRUCTION_BYTES = 8
_SOURCE_REGISTER = 0xF0  # of an instruction's second byte; in a call it says what kind of target is meant
_RELATIVE_CALL = 0x10


class LinkError(Exception):
    """The object holds something that a Solana program cannot have, or that this linker does not know."""


@dataclass(frozen=True)
class Section:
    """One section of an object file."""

    index: int
    name: str
    type: int
    flags: int
    data: bytes
    link: int
    info: int
    align: int


@dataclass(frozen=True)
class Symbol:
    """A name; `section` is 0 when the object only refers to it."""

    name: str
    type: int
    section: int
    value: int


@dataclass(frozen=True)
class Relocation:
    """A place in the section `target` that depends on where a symbol ends up."""

    target: int
    offset: int
    type: int
    symbol: Symbol


@dataclass(frozen=True)
class ObjectFile:
    """What clang wrote."""

    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    relocations: tuple[Relocation, ...]

    @classmethod
    def parse(cls, data: bytes) -> "ObjectFile":
        """Read an ELF object of the BPF target; LinkError when it is something else."""
        header = data[: _EHDR.size]
        if len(header) < _EHDR.size or header[:7] != _IDENT[:7]:
            raise LinkError("not a 64-bit little-endian ELF file")
        _, elf_type, machine, _, _, _, table, _, _, _, _, _, count, names_index = _EHDR.unpack(header)
        if (elf_type, machine) != (_ET_REL, _EM_BPF):
            raise LinkError(f"not an object file for BPF: type {elf_type}, machine {machine}")
        headers = [_SHDR.unpack_from(data, table + index * _SHDR.size) for index in range(count)]
        contents = [b"" if h[1] == _SHT_NOBITS else data[h[4] : h[4] + h[5]] for h in headers]
        sections = tuple(
            Section(
                index=index,
                name=_text_at(contents[names_index], h[0]),
                type=h[1],
                flags=h[2],
                data=bytes(h[5]) if h[1] == _SHT_NOBITS else contents[index],
                link=h[6],
                info=h[7],
                align=max(h[8], 1),
            )
            for index, h in enumerate(headers)
        )
        symbols = tuple(_symbols(sections))
        return cls(sections=sections, symbols=symbols, relocations=tuple(_relocations(sections, symbols)))


def _symbols(sections: tuple[Section, ...]) -> Iterator[Symbol]:
    for section in sections:
        if section.type == _SHT_SYMTAB:
            names = sections[section.link].data
            for name, info, _, index, value, _ in _SYMBOL.iter_unpack(section.data):
                yield Symbol(name=_text_at(names, name), type=info & 0xF, section=index, value=value)


def _relocations(sections: tuple[Section, ...], symbols: tuple[Symbol, ...]) -> Iterator[Relocation]:
    for section in sections:
        if section.type == _SHT_REL:
            for offset, info in _RELOCATION.iter_unpack(section.data):
                yield Relocation(target=section.info, offset=offset, type=info & 0xFFFFFFFF, symbol=symbols[info >> 32])


def _text_at(table: bytes, offset: int) -> str:
    return table[offset : table.index(b"\0", offset)].decode()


def link(object_file: bytes, *, entry: str = "entrypoint") -> bytes:
    """Make the program; the same object gives the same bytes. LinkError says what stands in the way."""
    parsed = ObjectFile.parse(object_file)
    return _Program.lay_out(parsed).resolve(parsed).write(_entry_offset(parsed, entry))


def _entry_offset(parsed: ObjectFile, entry: str) -> int:
    text = _text_section(parsed)
    for symbol in parsed.symbols:
        if symbol.name == entry and symbol.section == text.index:
            return symbol.value
    raise LinkError(f"no function {entry!r}")


def _text_section(parsed: ObjectFile) -> Section:
    code = [section for section in parsed.sections if section.flags & _SHF_EXECUTE and section.data]
    if [section.name for section in code] != [".text"]:
        raise LinkError(f"code must stand in one .text, found {[section.name for section in code]}")
    return code[0]


def _constant_sections(parsed: ObjectFile) -> list[Section]:
    """What is only read, in the object's order."""
    writable = [section.name for section in parsed.sections if section.flags & _SHF_WRITE and section.data]
    if writable:
        raise LinkError(f"a Solana program has no writable globals, found {writable}")
    held = [section for section in parsed.sections if section.flags & _SHF_ALLOC and not section.flags & _SHF_EXECUTE]
    return [section for section in held if section.type == _SHT_PROGBITS and section.data]


def _aligned(size: int, align: int) -> int:
    return -(-size // align) * align


_SEGMENTS = 3
_TEXT_START = _EHDR.size + _SEGMENTS * _PHDR.size


@dataclass
class _Program:
    """The parts of the file; addresses are offsets into it."""

    text: bytearray
    constants: bytearray
    starts: dict[int, int]
    """Where the object's sections begin in the file, by their index."""
    imports: list[str] = field(default_factory=list)
    """The system functions, in the order of their first call."""
    import_calls: list[tuple[int, int]] = field(default_factory=list)
    """The address of each call of one, and its place in `imports`."""

    @classmethod
    def lay_out(cls, parsed: ObjectFile) -> "_Program":
        text = _text_section(parsed)
        starts = {text.index: _TEXT_START}
        constants = bytearray()
        base = _TEXT_START + len(text.data)
        for section in _constant_sections(parsed):
            constants.extend(bytes(_aligned(base + len(constants), section.align) - base - len(constants)))
            starts[section.index] = base + len(constants)
            constants += section.data
        constants.extend(bytes(_aligned(len(constants), 8) - len(constants)))
        return cls(text=bytearray(text.data), constants=constants, starts=starts)

    def resolve(self, parsed: ObjectFile) -> "_Program":
        """Write the addresses into code and constants."""
        text = _text_section(parsed).index
        for relocation in parsed.relocations:
            if relocation.target not in self.starts:
                continue  # of debugging information, which is not carried over
            if relocation.type == _R_BPF_64_64 and relocation.target == text:
                self._resolve_load(relocation)
            elif relocation.type == _R_BPF_64_32 and relocation.target == text:
                self._resolve_call(relocation, text)
            elif relocation.type == _R_BPF_64_ABS64 and relocation.target != text:
                self._resolve_pointer(relocation)
            else:
                raise LinkError(f"unknown relocation {relocation.type} against {relocation.symbol.name!r}")
        return self

    def _address(self, symbol: Symbol) -> int:
        if symbol.section not in self.starts:
            raise LinkError(f"the address of {symbol.name!r} is not known")
        return PROGRAM_START + self.starts[symbol.section] + symbol.value

    def _resolve_load(self, relocation: Relocation) -> None:
        low, high = relocation.offset + 4, relocation.offset + 12
        (addend,) = struct.unpack_from("<I", self.text, low)
        address = self._address(relocation.symbol) + addend
        struct.pack_into("<I", self.text, low, address & 0xFFFFFFFF)
        struct.pack_into("<I", self.text, high, address >> 32)

    def _resolve_pointer(self, relocation: Relocation) -> None:
        base = _TEXT_START + len(self.text)
        at = self.starts[relocation.target] - base + relocation.offset
        (addend,) = struct.unpack_from("<Q", self.constants, at)
        struct.pack_into("<Q", self.constants, at, self._address(relocation.symbol) + addend)

    def _resolve_call(self, relocation: Relocation, text: int) -> None:
        symbol, offset = relocation.symbol, relocation.offset
        kind = self.text[offset + 1] & ~_SOURCE_REGISTER
        if symbol.section == 0:
            if symbol.name not in self.imports:
                self.imports.append(symbol.name)
            self.import_calls.append((_TEXT_START + offset, self.imports.index(symbol.name)))
            immediate = -1
        elif symbol.section == text:
            # Where the symbol is the section, the function's place stands in the instruction, in instructions and less one.
            (addend,) = struct.unpack_from("<i", self.text, offset + 4)
            target = symbol.value // _INSTRUCTION_BYTES + (0 if symbol.type == _STT_FUNC else addend + 1)
            immediate = target - (offset // _INSTRUCTION_BYTES + 1)
            kind |= _RELATIVE_CALL
        else:
            raise LinkError(f"{symbol.name!r} is called and is no function")
        self.text[offset + 1] = kind
        struct.pack_into("<i", self.text, offset + 4, immediate)

    def write(self, entry_offset: int) -> bytes:
        """The file: headers, text, constants, what the loader looks the system functions up in, section table."""
        constants_start = _TEXT_START + len(self.text)
        dynamic_start = constants_start + len(self.constants)
        tables = _DynamicTables.of(self.imports, self.import_calls, start=dynamic_start)
        names = b"\0" + b"".join(name.encode() + b"\0" for name in _SECTION_NAMES)
        names_start = tables.end
        section_table = _aligned(names_start + len(names), 8)
        sections = [
            (_SHT_PROGBITS, _SHF_ALLOC | _SHF_EXECUTE, _TEXT_START, len(self.text), 0, 0, 8, 0),
            (_SHT_PROGBITS, _SHF_ALLOC, constants_start, len(self.constants), 0, 0, 8, 0),
            (_SHT_DYNAMIC, _SHF_ALLOC, tables.start, len(tables.dynamic), _INDEX[".dynstr"], 0, 8, _DYNAMIC.size),
            (_SHT_DYNSYM, _SHF_ALLOC, tables.symbols_start, len(tables.symbols), _INDEX[".dynstr"], 1, 8, _SYMBOL.size),
            (_SHT_STRTAB, _SHF_ALLOC, tables.names_start, len(tables.names), 0, 0, 1, 0),
            (_SHT_REL, _SHF_ALLOC, tables.relocations_start, len(tables.relocations), _INDEX[".dynsym"], 0, 8, _RELOCATION.size),
            (_SHT_STRTAB, 0, names_start, len(names), 0, 0, 1, 0),
        ]
        header = _EHDR.pack(
            _IDENT, _ET_DYN, _EM_BPF, 1, _TEXT_START + entry_offset, _EHDR.size, section_table, 0,
            _EHDR.size, _PHDR.size, _SEGMENTS, _SHDR.size, len(sections) + 1, _INDEX[".shstrtab"],
        )  # fmt: skip
        segments = (
            _segment(_PT_LOAD, _PF_READ | _PF_EXECUTE, _TEXT_START, dynamic_start)
            + _segment(_PT_LOAD, _PF_READ, tables.start, tables.end)
            + _segment(_PT_DYNAMIC, _PF_READ, tables.start, tables.start + len(tables.dynamic))
        )
        body = bytes(self.text) + bytes(self.constants) + tables.content + names
        file = (header + segments + body).ljust(section_table, b"\0")
        return file + bytes(_SHDR.size) + b"".join(_section(*fields, names=names, index=i) for i, fields in enumerate(sections))


_SECTION_NAMES = (".text", ".rodata", ".dynamic", ".dynsym", ".dynstr", ".rel.dyn", ".shstrtab")
_DYNAMIC_ROWS = 7
_INDEX = {name: index for index, name in enumerate(_SECTION_NAMES, start=1)}


@dataclass(frozen=True)
class _DynamicTables:
    """The tables by which the loader finds the system functions that the program calls."""

    start: int
    dynamic: bytes
    symbols: bytes
    names: bytes
    relocations: bytes

    @classmethod
    def of(cls, imports: list[str], calls: list[tuple[int, int]], *, start: int) -> "_DynamicTables":
        names = b"\0"
        symbols = bytes(_SYMBOL.size)  # the first symbol is none
        for name in imports:
            symbols += _SYMBOL.pack(len(names), _STB_GLOBAL << 4, 0, 0, 0, 0)
            names += name.encode() + b"\0"
        relocations = b"".join(_RELOCATION.pack(address, (index + 1) << 32 | _R_BPF_64_32) for address, index in calls)
        unlinked = cls(
            start=start, dynamic=bytes(_DYNAMIC_ROWS * _DYNAMIC.size), symbols=symbols, names=names, relocations=relocations
        )
        entries = [
            (_DT_SYMTAB, unlinked.symbols_start),
            (_DT_STRTAB, unlinked.names_start),
            (_DT_STRSZ, len(names)),
        ]
        if relocations:  # the loader refuses an empty table, not an absent one
            entries += [
                (_DT_REL, unlinked.relocations_start),
                (_DT_RELSZ, len(relocations)),
                (_DT_RELENT, _RELOCATION.size),
            ]
        # A row of zeros ends the table.
        dynamic = b"".join(_DYNAMIC.pack(tag, value) for tag, value in entries).ljust(len(unlinked.dynamic), b"\0")
        return cls(start=start, dynamic=dynamic, symbols=symbols, names=names, relocations=relocations)

    @property
    def symbols_start(self) -> int:
        return self.start + len(self.dynamic)

    @property
    def names_start(self) -> int:
        return self.symbols_start + len(self.symbols)

    @property
    def relocations_start(self) -> int:
        return _aligned(self.names_start + len(self.names), 8)

    @property
    def end(self) -> int:
        return self.relocations_start + len(self.relocations)

    @property
    def content(self) -> bytes:
        padded = self.names.ljust(self.relocations_start - self.names_start, b"\0")
        return self.dynamic + self.symbols + padded + self.relocations


def _segment(kind: int, flags: int, start: int, end: int) -> bytes:
    return _PHDR.pack(kind, flags, start, start, start, end - start, end - start, 8)


def _section(
    kind: int,
    flags: int,
    start: int,
    size: int,
    link_index: int,
    info: int,
    align: int,
    entry_size: int,
    *,
    names: bytes,
    index: int,
) -> bytes:
    name = names.index(b"\0" + _SECTION_NAMES[index].encode() + b"\0") + 1
    address = start if flags & _SHF_ALLOC else 0
    return _SHDR.pack(name, kind, flags, address, start, size, link_index, info, align, entry_size)
