"""The hardening method: tensors in, values out; no network, no database, no printing."""
