"""The bases that the trainer's tests share."""

from tests.shared.model.conftest import one_thread, packaged_base, tiny_base, tiny_packed

__all__ = ["one_thread", "packaged_base", "tiny_base", "tiny_packed"]
