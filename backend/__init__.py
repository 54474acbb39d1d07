"""Who answers requests: the waist (`api`), the plugin registry, the fake backend and the local engine."""
