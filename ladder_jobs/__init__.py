"""What the API and the workers share: settings, states, tables, queries, wake-ups, the object store."""
