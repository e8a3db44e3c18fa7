"""Lets single modules of a server be imported without the rest of it, which wants a GPU.

Of the package, the modules named are the real ones, from their own file; every other is a stand-in
whose attributes can be called, subclassed and compared, and compute nothing. Used by scripts only.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types


class _Meta(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing

    def __bool__(cls):
        return False

    def __or__(cls, other):
        return cls

    def __ror__(cls, other):
        return cls


class Nothing(metaclass=_Meta):
    """Stands for any class, function or value of a module that is not there."""

    def __init__(self, *args, **kwargs):
        pass

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing()

    def __call__(self, *args, **kwargs):
        # as a decorator it leaves alone what it is put on
        return args[0] if len(args) == 1 and callable(args[0]) else Nothing()

    def __bool__(self):
        return False


class _Module(types.ModuleType):
    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing


class _Loader(importlib.abc.Loader):
    def create_module(self, spec):
        return _Module(spec.name)

    def exec_module(self, module):
        pass


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, tree, package, real):
        self._tree, self._package, self._real = tree, package, real

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] != self._package:
            return None
        if name in self._real:
            path = self._tree.joinpath(*name.split("."))
            file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            return importlib.util.spec_from_file_location(name, file)
        return importlib.machinery.ModuleSpec(name, _Loader(), is_package=True)


def install(tree, package, real):
    """From now on, ``package`` is those modules of ``tree`` and stand-ins."""
    sys.meta_path.insert(0, _Finder(tree, package, frozenset(real)))
