# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Serve the REST API of the instance in use on 127.0.0.1, at a free port.

Only the API: pages for people would need a build of the web assets. The address is
written to a file when requests are answered.
"""

import sys
from pathlib import Path

from invenio_app.factory import create_api
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import make_server


def main() -> None:
    """Serve until ended."""
    api = DispatcherMiddleware(NotFound(), {"/api": create_api()})
    server = make_server("127.0.0.1", 0, api, threaded=True)
    Path(sys.argv[1]).write_text(f"http://127.0.0.1:{server.port}/api")
    server.serve_forever()


if __name__ == "__main__":
    main()
