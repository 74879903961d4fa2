"""Tells when modules get submodules, other ones or the same again."""

from __future__ import annotations

import threading
import weakref
from typing import Any, Protocol

import torch
from torch.nn.modules.module import register_module_module_registration_hook


class Watcher(Protocol):
    def registered(self, parent: torch.nn.Module, name: str, child: torch.nn.Module) -> None:
        """``parent.name = child`` is about to happen."""


_lock = threading.Lock()
_installed = False
_watchers: weakref.WeakSet[Any] = weakref.WeakSet()


def watch_registrations(watcher: Watcher) -> None:
    """Tells a watcher, which is not kept alive, of every submodule set from now on."""
    global _installed
    with _lock:
        _watchers.add(watcher)
        if not _installed:
            register_module_module_registration_hook(_tell)
            _installed = True


def _tell(parent: torch.nn.Module, name: str, child: torch.nn.Module) -> None:
    for watcher in list(_watchers):
        watcher.registered(parent, name, child)
