"""The words everyone shares: job configuration, job views, report, child protocol, error codes."""
