"""Serves ASGI apps: Hypercorn on trio, HTTP/1.1 read by llhttp, limits for clients, and a graceful stop."""

from runtime.serving.certificate import ServerCertificate, UnusableCertificate
from runtime.serving.limits import Limits, client_network
from runtime.serving.listening import CannotListen, listen
from runtime.serving.process import run_process, stop_signal
from runtime.serving.server import GRACE, serve

__all__ = [
    "GRACE",
    "CannotListen",
    "Limits",
    "ServerCertificate",
    "UnusableCertificate",
    "client_network",
    "listen",
    "run_process",
    "serve",
    "stop_signal",
]
