"""The ASGI extensions of this server. An app may use one if the scope's `extensions` contain it."""

TARGET = "http.request.target"
"""The request's target, byte for byte."""
CANCEL_ON_DISCONNECT = "http.request.cancel_on_disconnect"
"""A function that registers a trio.CancelScope, which is cancelled when the client disconnects, even while
unread bytes of its request body are buffered. The last registered scope counts."""
BODILESS = "http.request.bodiless"
"""Present if an HTTP/2 request has no body."""
INFORMATIONAL = "http.response.informational"
"""Messages of this type, with `status` and `headers`, send a 1xx response."""
TRAILERS = "http.response.trailers"
"""As ASGI defines it."""
