"""Screens of TensorBoard in a browser: `python docs/images/tensorboard_tabs.py LOGDIR OUT [TAB ...]`.

Starts TensorBoard on LOGDIR and has a headless Chromium (on PATH as `chromium`, or `$CHROMIUM`) save one
picture per tab, OUT/<tab>.png. Exits with 1 if a tab logs an error to the console.
"""

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

TABS = ("scalars", "images", "custom_scalars", "histograms", "hparams")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--hide-scrollbars",
    "--window-size=1400,900",
    # In the page's own time, so that a slow machine does not matter.
    "--virtual-time-budget=20000",
)


def main(logdir, out, *tabs):
    """Saves one picture per tab."""
    browser = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if browser is None:
        sys.exit("Error: there is no chromium on PATH: install it, or set CHROMIUM")
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", "--logdir", logdir, "--port", str(port)],
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}/"
    try:
        wait_for(address + "data/runs")
        errors = [error for tab in tabs or TABS for error in save(browser, address, tab, out)]
    finally:
        server.terminate()
        server.wait()
    print("\n".join(errors))
    sys.exit(bool(errors))


def wait_for(address):
    """Returns when TensorBoard knows a run."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address) as answer:
                # Until it has read the event files, there are no runs.
                if len(answer.read()) > 2:
                    return
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.5)
    sys.exit(f"Error: TensorBoard shows no run at {address} after a minute")


def save(browser, address, tab, out):
    """Saves a picture of a tab; returns what its console says is wrong."""
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [
                browser,
                *FLAGS,
                f"--user-data-dir={profile}",
                f"--screenshot={out / f'{tab}.png'}",
                f"{address}#{tab}",
            ],
            capture_output=True,
            text=True,
            timeout=180,
        )
    return [
        f"{tab}: {line}" for line in done.stderr.splitlines() if "CONSOLE" in line and "ERR" in line
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])
