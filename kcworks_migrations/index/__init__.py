# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""All that knows OpenSearch, the broker or invenio-indexer.

`outbox` hands on what is pending: to the queues (`broker`), where workers take it
(`indexer`), or right here. Both bring the dates in `documents` right by what `truth`
reads in the database. `verify` compares the two, `health` looks at OpenSearch before.
"""
