"""The HTTP server: shows frozen values, and only reads. It never asks the store or the directory.

h11 speaks HTTP/1.1; here is what it leaves to others: sockets, threads, limits, who may come in.
A connection is one request, ends by a deadline whatever the other side does, and nothing that a
visitor says about itself (X-Forwarded-For) is believed. What a person decides on the status page
is handed to the loop by the view that takes it.
"""

from adwatch.edges.web.answer import View
from adwatch.edges.web.request import Gate
from adwatch.edges.web.server import Web
from adwatch.edges.web.stream import Follow, News

__all__ = ["Follow", "Gate", "News", "View", "Web"]
