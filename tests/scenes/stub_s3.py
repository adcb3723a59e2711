"""A server that speaks as much S3 as an archive store needs: objects, ranges, multipart uploads, listing, copying.

Buckets and objects live in memory. Nothing is checked but that a request is signed. It can be told to fail.
"""

from __future__ import annotations

import hashlib
import threading
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class StubS3:
    """One server; `objects` maps BUCKET/KEY to content."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        """multipart uploads that were begun and neither completed nor called off"""
        self.fail: tuple[int, str] | None = None
        """HTTP status and S3 error code that every request gets from now on"""
        self.lock = threading.Lock()
        stub = self

        class Handler(_Handler):
            s3 = stub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def stub_s3() -> Generator[StubS3]:
    stub = StubS3()
    try:
        yield stub
    finally:
        stub.close()


class _Handler(BaseHTTPRequestHandler):
    s3: StubS3
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self._refused():
            return
        key, query = self._target()
        if "list-type" in query or "/" not in key:
            self._list(key.partition("/")[0], query)
            return
        content = self.s3.objects.get(key)
        if content is None:
            self._error(404, "NoSuchKey")
            return
        wanted = self.headers.get("Range")
        if wanted is None:
            self._answer(200, content, {"ETag": _etag(content)})
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        begin, end = int(first), min(int(last or len(content) - 1), len(content) - 1)
        if begin >= len(content):
            self._error(416, "InvalidRange")
            return
        about = {"Content-Range": f"bytes {begin}-{end}/{len(content)}", "ETag": _etag(content)}
        self._answer(206, content[begin : end + 1], about)

    def do_HEAD(self) -> None:
        if self._refused():
            return
        key, _ = self._target()
        content = self.s3.objects.get(key) if "/" in key else b""
        if content is None:
            self._answer(404, b"")
            return
        self._answer(200, content, {"ETag": _etag(content), "Last-Modified": "Mon, 23 Nov 2026 04:00:00 GMT"})

    def do_PUT(self) -> None:
        body = self._body()
        if self._refused():
            return
        key, query = self._target()
        with self.s3.lock:
            source = self.headers.get("x-amz-copy-source")
            if source is not None:
                copied = self.s3.objects[unquote(source).lstrip("/")]
                self.s3.objects[key] = copied
                self._xml(f"<CopyObjectResult><ETag>{_etag(copied)}</ETag></CopyObjectResult>")
                return
            if "uploadId" in query:
                self.s3.uploads[query["uploadId"]][int(query["partNumber"])] = body
            else:
                self.s3.objects[key] = body
        self._answer(200, b"", {"ETag": _etag(body)})

    def do_POST(self) -> None:
        body = self._body()
        if self._refused():
            return
        key, query = self._target()
        with self.s3.lock:
            if "uploads" in query:
                upload = uuid.uuid4().hex
                self.s3.uploads[upload] = {}
                self._xml(
                    f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
                )
            elif "uploadId" in query:
                parts = self.s3.uploads.pop(query["uploadId"])
                self.s3.objects[key] = b"".join(parts[number] for number in sorted(parts))
                self._xml("<CompleteMultipartUploadResult><ETag>done</ETag></CompleteMultipartUploadResult>")
            else:  # ?delete
                bucket = key.partition("/")[0]
                for name in ET.fromstring(body).iter():
                    if name.tag.rpartition("}")[2] == "Key":
                        self.s3.objects.pop(f"{bucket}/{name.text}", None)
                self._xml("<DeleteResult/>")

    def do_DELETE(self) -> None:
        if self._refused():
            return
        key, query = self._target()
        with self.s3.lock:
            if "uploadId" in query:
                self.s3.uploads.pop(query["uploadId"], None)
            else:
                self.s3.objects.pop(key, None)
        self._answer(204, b"")

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        contents, folders = "", dict[str, None]()
        for key, content in sorted(self.s3.objects.items()):
            name = key.partition("/")[2]
            if not key.startswith(f"{bucket}/") or not name.startswith(prefix):
                continue
            rest = name[len(prefix) :]
            if delimiter and delimiter in rest:
                folders[prefix + rest.partition(delimiter)[0] + delimiter] = None
                continue
            contents += (
                f"<Contents><Key>{escape(name)}</Key><Size>{len(content)}</Size><ETag>{_etag(content)}</ETag>"
                "<LastModified>2026-11-23T04:00:00.000Z</LastModified></Contents>"
            )
        common = "".join(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in folders)
        self._xml(f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}{common}</ListBucketResult>")

    def _target(self) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        return unquote(parts.path).strip("/"), query

    def _body(self) -> bytes:
        """Plain, or in the chunks (`aws-chunked`) that newer clients send with a checksum at the end."""
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._chunked(self.rfile)
        if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
            return body
        content, rest = b"", body
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size.partition(b";")[0], 16)
            if length == 0:
                break
            content, rest = content + rest[:length], rest[length + 2 :]
        return content

    @staticmethod
    def _chunked(stream: BinaryIO) -> bytes:
        content = b""
        while length := int(stream.readline().partition(b";")[0], 16):
            content += stream.read(length)
            stream.readline()
        stream.readline()
        return content

    def _refused(self) -> bool:
        if "Authorization" not in self.headers:
            self._error(403, "AccessDenied")
            return True
        if self.s3.fail is not None:
            self._error(*self.s3.fail)
            return True
        return False

    def _error(self, status: int, code: str) -> None:
        text = f"<Error><Code>{code}</Code><Message>{code} by the stub</Message></Error>"
        self._answer(status, b"" if self.command == "HEAD" else text.encode(), {"Content-Type": "application/xml"})

    def _xml(self, text: str) -> None:
        self._answer(200, f'<?xml version="1.0"?>{text}'.encode(), {"Content-Type": "application/xml"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
