"""Postgres, Valkey and SeaweedFS on this machine, each replaceable by a URL in the environment."""

from ladder_local.servers.local import LocalServers

__all__ = ["LocalServers"]
