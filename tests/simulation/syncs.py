"""Syncs of SQLite's files that fail when they are told to.

After a write that failed the log ends in the middle of a commit, which nobody takes for one. After a sync that failed the whole
commit stands in the file: the process was told that it failed and undoes it, and whoever opens the file after a crash finds it
done. No limit makes a sync fail, so SQLite's own file system is wrapped (https://www.sqlite.org/vfs.html): only `xSync` differs.
"""

import _sqlite3
import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

SQLITE_IOERR_FSYNC = 10 | 4 << 8
"""https://www.sqlite.org/rescode.html#ioerr_fsync"""

_Open = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
_Sync = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_Address = ctypes.c_void_p


class _Methods(ctypes.Structure):
    """sqlite3_io_methods, version 3."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [
        ("version", ctypes.c_int),
        *((name, _Address) for name in ("close", "read", "write", "truncate", "sync")),
        ("rest", _Address * 13),
    ]


class _File(ctypes.Structure):
    """sqlite3_file."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [("methods", ctypes.POINTER(_Methods))]


class _FileSystem(ctypes.Structure):
    """sqlite3_vfs, version 3."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [
        *((name, ctypes.c_int) for name in ("version", "file_bytes", "longest_path")),
        ("next", _Address),
        ("name", ctypes.c_char_p),
        ("data", _Address),
        ("open", _Address),
        ("rest", _Address * 15),
    ]


class Syncs:
    """SQLite's default file system, wrapped. Open files point into it, so there is one, for the life of the process."""

    can_fail: bool
    """Not in a Python that has its own SQLite and hides its functions: then histories have all other faults."""

    def __init__(self) -> None:
        """Wrap it; nobody uses that yet."""
        self._fail = False
        self._wrapped: dict[int, tuple[_Methods, Callable[..., int]]] = {}
        """By the address of the methods that were wrapped: those of files that are locked, of files that are not, ..."""
        # A symbol is looked for in whatever a library is linked with, too; no path: in whatever the interpreter is made of.
        self._library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
        self.can_fail = hasattr(self._library, "sqlite3_vfs_find")
        if self.can_fail:
            self._wrap_file_system()

    def _wrap_file_system(self) -> None:
        self._library.sqlite3_vfs_find.restype = ctypes.POINTER(_FileSystem)
        self._default: _FileSystem = self._library.sqlite3_vfs_find(None).contents
        self._default_open = _Open(self._default.open)
        self._open_callback = _Open(self._open)
        self._wrapper = _FileSystem.from_buffer_copy(self._default)
        self._wrapper.name = b"syncs-that-fail"
        self._wrapper.open = ctypes.cast(self._open_callback, _Address)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Of the files that are opened while the block runs, syncs can fail."""
        if not self.can_fail:
            yield
            return
        self._make_default(self._wrapper)
        try:
            yield
        finally:
            self._make_default(self._default)

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Let every sync fail, after all writes of a commit have succeeded."""
        self._fail = True
        try:
            yield
        finally:
            self._fail = False

    def _make_default(self, file_system: _FileSystem) -> None:
        code = self._library.sqlite3_vfs_register(ctypes.byref(file_system), 1)
        assert code == 0, code

    def _open(self, file_system: int, name: int, file: int, flags: int, flags_out: int) -> int:
        code: int = self._default_open(file_system, name, file, flags, flags_out)
        if code == 0:
            opened = _File.from_address(file)
            opened.methods = ctypes.pointer(self._wrap(opened.methods.contents))
        return code

    def _wrap(self, methods: _Methods) -> _Methods:
        address = ctypes.addressof(methods)
        if address not in self._wrapped:
            sync = _Sync(methods.sync)
            callback = _Sync(lambda file, flags: SQLITE_IOERR_FSYNC if self._fail else sync(file, flags))
            copy = _Methods.from_buffer_copy(methods)
            copy.sync = ctypes.cast(callback, _Address)
            self._wrapped[address] = copy, callback
        return self._wrapped[address][0]


SYNCS = Syncs()
