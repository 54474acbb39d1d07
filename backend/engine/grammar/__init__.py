"""Grammar engines: from a constraint to the mask of legal tokens at each position.

Start with `api` (what a plugin is) and `service` (who calls them), then a plugin: `outlines` (regexes, choices),
`llguidance` and `xgrammar` (libraries), `lark` (a package). `conformance` says what all of them promise.
"""
