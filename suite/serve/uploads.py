"""Reads the bodies of requests: decompresses gzip, and separates encoded pictures from JSON."""

import asyncio
import zlib

from starlette.requests import Request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder

from suite.serve.status import Code, RequestError

MAX_PARTS = 1000  # of a form
GZIP = 16 + zlib.MAX_WBITS  # zlib's code for data with a gzip header
# The first bytes of PNG, JPEG, GIF and BMP files; no JSON begins with them.
BEGINNINGS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM")


async def read(request: Request, max_bytes: int) -> bytes:
    """Reads and decompresses the body, and stops where it is too long.

    Raises:
        RequestError: The body is longer than `max_bytes`, or its encoding is not the one in its
            headers.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("gzip", "identity"):
        raise RequestError(f"Content-Encoding must be gzip. Received: {encoding}")
    gzip = zlib.decompressobj(GZIP) if encoding == "gzip" else None
    body, received = bytearray(), 0
    async for part in request.stream():
        received += len(part)
        try:
            body += gzip.decompress(part, max_bytes + 1 - len(body)) if gzip else part
        except zlib.error as error:
            raise RequestError(f"the body must be gzip. Received: {error}") from None
        if max(received, len(body)) > max_bytes:
            raise RequestError(f"the body must have at most {max_bytes} bytes", Code.TOO_LARGE)
        if gzip and gzip.unused_data:  # which every further part would copy
            break
    if gzip and (gzip.unused_data or not gzip.eof):
        raise RequestError("the body must be gzip, whole and with nothing behind it")
    return bytes(body)


async def pictures(body: bytes, content_type: str) -> list[bytes] | None:
    """The encoded pictures in a body: one picture, or the files of a form; None for other bodies.

    Clients such as curl send a wrong content type by default, so the first bytes count as well.

    Raises:
        RequestError: The content type promises pictures, and the body has none.
    """
    media_type, options = parse_options_header(content_type)
    if media_type == "multipart/form-data":
        # In a thread, because a long form takes seconds and would block other requests.
        files = await asyncio.to_thread(_files, body, options.get("boundary", ""))
    elif media_type.startswith("image/") or (
        media_type == "application/octet-stream" and not body.lstrip().startswith(b"{")
    ):
        files = [body]
    elif body.startswith(BEGINNINGS):
        return [body]
    else:
        return None
    if not files or not all(files):
        raise RequestError(f"a body of the type {media_type} must hold a picture. Received: none")
    return files


def _files(body: bytes, boundary: str) -> list[bytes]:
    """The files of a form in their order; other fields are ignored."""
    files: list[bytearray] = []
    part = bytearray()
    try:
        decoder = MultipartDecoder(boundary.encode(), max_parts=MAX_PARTS)
        decoder.receive_data(body)
        decoder.receive_data(None)
        while not isinstance(event := decoder.next_event(), Epilogue):
            if isinstance(event, (Field, File)):
                part = bytearray()
            if isinstance(event, File):
                files.append(part)
            if isinstance(event, Data):
                part += event.data
    except RequestEntityTooLarge:
        raise RequestError(f"a form must have at most {MAX_PARTS} parts", Code.TOO_LARGE) from None
    except ValueError as error:
        raise RequestError(f"the body must be a form as multipart/form-data: {error}") from None
    return list(map(bytes, files))
