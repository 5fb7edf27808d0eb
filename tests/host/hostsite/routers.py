"""A router that moves an app of orb-persistence, which a check refuses."""


class Elsewhere:
    def db_for_write(self, model, **hints):
        return "archive" if model._meta.app_label == "te" else None
