"""A service in process that gives the responses of the test."""

import httpx
import trio
import trio.testing


class ScriptedService(httpx.AsyncBaseTransport):
    """A service that answers with `answer`: a response, or an exception to raise."""

    def __init__(self):
        self.answer = httpx.Response(200, json={"message": "ok", "data": None})
        self.documents = {}
        self.seen = []
        self.takes = 0.0

    async def handle_async_request(self, request):
        path = request.url.path
        if path in self.documents:
            return self._fresh(self.documents[path])
        if path in ("/health", "/openapi.json"):
            raise httpx.ConnectError("down")
        self.seen.append(request)
        await trio.sleep(self.takes)
        return self._fresh(self.answer)

    def _fresh(self, answer):
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(
            answer.status_code, headers=answer.headers, stream=httpx.ByteStream(answer.content)
        )


def error_code(response):
    return response.status_code, response.json()["error"]


DEAD = httpx.ConnectError("refused")
