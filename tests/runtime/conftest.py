from tests.api.conftest import admin, ana, fresh, mode, nobody, operator, token

__all__ = ["admin", "ana", "fresh", "mode", "nobody", "operator", "token"]
