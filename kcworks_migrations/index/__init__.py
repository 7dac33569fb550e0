# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""All that knows OpenSearch, the broker or invenio-indexer.

`outbox` hands on what is pending: to the queues (`broker`), where workers take it
(`indexer`), or right here. Both call `correct`, which brings the dates in `documents`
right by what `truth` reads in the database. `compare` does that for all documents, when
`settle` says so or somebody asks; `health` looks at OpenSearch before.
"""
