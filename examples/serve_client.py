"""Restore photos through a running `unveil serve`, as a gallery or an editor's plug-in would.

A job takes many files; its progress arrives as server-sent events; results are fetched at any
strength. Only Python's own library is used.

    unveil serve &
    python examples/serve_client.py http://127.0.0.1:7860 photo1.jpg photo2.png
"""

import json
import os
import secrets
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def main(url: str, *paths: str) -> None:
    """Restore files; each result lies beside its file.

    Args:
        url: Address of the server.
        paths: Image files.
    """
    job = create_job(url, [Path(path) for path in paths], task="auto")
    try:
        for kind, event in events(url, job["id"]):
            if kind == "image":
                print(f"{event['name']}: {event['state']}, {100 * event['share']:.0f} %")
            if kind == "end":
                job = event
        for number, image in enumerate(job["images"]):
            source = Path(paths[number])
            if image["state"] != "done":
                print(image["error"] or f"{source}: {image['state']}", file=sys.stderr)
                continue
            # Grain is pleasant, coloured specks are not: less of the change for luminance.
            result = f"/v1/jobs/{job['id']}/images/{number}/result?strength_luma=0.8"
            target = source.with_name(f"{source.stem}.restored{source.suffix}")
            with asked(url, result) as answer:
                target.write_bytes(answer.read())
            print(target)
    finally:
        asked(url, f"/v1/jobs/{job['id']}", method="DELETE").close()


def asked(url: str, path: str, **options: Any) -> Any:
    """Send a request; what the server refuses ends the program with its line.

    Args:
        url: Address of the server.
        path: Of the API.
        options: As `urllib.request.Request`.
    """
    request = urllib.request.Request(url.rstrip("/") + path, **options)
    token = os.environ.get("UNVEIL_TOKEN")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        return urllib.request.urlopen(request, timeout=900)
    except urllib.error.HTTPError as error:
        with error:
            raise SystemExit(json.load(error)["error"]) from None
    except urllib.error.URLError as error:
        raise SystemExit(f"{url}: not reachable: {error.reason}") from None


def create_job(url: str, files: list[Path], **fields: str) -> Any:
    """Send files as one multipart form; return the job's status."""
    boundary = secrets.token_hex(16)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    for file in files:
        head = f'Content-Disposition: form-data; name="image"; filename="{file.name}"'
        parts.append(f"--{boundary}\r\n{head}\r\n\r\n".encode() + file.read_bytes() + b"\r\n")
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    with asked(url, "/v1/jobs", data=body, headers=headers) as answer:
        return json.load(answer)


def events(url: str, job: str) -> Iterator[tuple[str, Any]]:
    """Yield the events of a job until it ends: kind and data."""
    kind = ""
    with asked(url, f"/v1/jobs/{job}/events") as stream:
        for line in stream:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                kind = value
            if name == "data":
                yield kind, json.loads(value)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
