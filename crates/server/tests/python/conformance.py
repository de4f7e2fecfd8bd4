#!/usr/bin/env python3
"""Checks a shop server against docs/protocol.md. It was written from that page, not from the server.

Usage: conformance.py SHOP_SERVER [NAME...]    (checks whose names contain one of NAME; all by default)

Needs Python 3.9 and its standard library. Starts servers of its own on the loopback, in temporary directories. Prints one
line per check, and exits with 1 if one failed.
"""

import contextlib
import hashlib
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

TIMEOUT = 30  # s; a limit of failures, never of a pass
ADMIN_PASSWORD = "admin-password"
PASSWORD = "password-1"
UNKNOWN_TOKEN = "0" * 64
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


class Failure(Exception):
    pass


def expect(actual, expected, what):
    if actual != expected:
        raise Failure(f"{what}: expected {expected!r}, got {actual!r}")


def require(condition, what):
    if not condition:
        raise Failure(what)


class Server:
    """A running server. Entered as a context, it ends with it."""

    def __init__(self, program, *settings, directory=None, tls="off"):
        self.program, self.settings, self.tls = program, settings, tls
        self.owned = tempfile.TemporaryDirectory() if directory is None else None
        self.directory = directory or self.owned.name

    def __enter__(self):
        defaults = {
            "--accounts-listen": "127.0.0.1:0", "--shop-listen": "127.0.0.1:0", "--password-memory-kib": "8",
            "--password-iterations": "1", "--catalogue-stock": "100000", "--log": "error",
            "--database": os.path.join(self.directory, "shop.db"), "--max-failed-logins": "0",
        }
        defaults.update(zip(self.settings[::2], self.settings[1::2]))
        arguments = [part for pair in defaults.items() for part in pair]
        environment = {"SHOP_ADMIN_PASSWORD": ADMIN_PASSWORD, "SHOP_TLS": self.tls}
        self.process = subprocess.Popen([self.program, *arguments], stdout=subprocess.PIPE, env=environment)
        ready = json.loads(self.process.stdout.readline())
        expect((ready["event"], ready["protocol"]), ("ready", 1), "the ready line")
        self.accounts, self.shop = (self.address(ready[port]) for port in ("accounts", "shop"))
        self.fingerprint = ready.get("tls_fingerprint")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        if self.owned:
            self.owned.cleanup()

    @staticmethod
    def address(text):
        host, port = text.rsplit(":", 1)
        return host, int(port)

    def on(self, port):
        return Client(self.accounts if port == "accounts" else self.shop, self.fingerprint)

    def token(self, username="ann", password=PASSWORD):
        return self.on("accounts").ok({"command": "login", "username": username, "password": password})["token"]

    def customer(self, username="ann"):
        self.on("accounts").ok({"command": "register", "username": username, "password": PASSWORD})
        return self.token(username)

    def admin(self):
        return self.token("admin", ADMIN_PASSWORD)

    def report(self):
        command = [self.program, "check", "--database", os.path.join(self.directory, "shop.db")]
        return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout)


class Client:
    """A connection."""

    def __init__(self, address, fingerprint=None):
        self.socket = socket.create_connection(address, TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if fingerprint:
            context = ssl.create_default_context()
            # The page: a client compares the fingerprint.
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket)
            digest = hashlib.sha256(self.socket.getpeercert(True)).hexdigest()
            expect(f"sha256:{digest}", fingerprint, "the certificate's fingerprint")
        self.buffer = b""

    def send(self, payload):
        if not isinstance(payload, bytes):
            payload = json.dumps(payload).encode()
        self.socket.sendall(frame(payload))

    def receive(self):
        """Returns the next response, or None if the server has closed the connection without a reset."""
        while True:
            if len(self.buffer) >= 4:
                (length,) = struct.unpack(">I", self.buffer[:4])
                require(length <= 1 << 20, f"a response of {length} bytes")
                if len(self.buffer) >= 4 + length:
                    payload, self.buffer = self.buffer[4 : 4 + length], self.buffer[4 + length :]
                    return validated(json.loads(payload))
            received = self.socket.recv(65536)
            if not received:
                require(not self.buffer, "the connection ended within a response")
                return None
            self.buffer += received

    def call(self, payload):
        self.send(payload)
        response = self.receive()
        require(response is not None, f"no response to {payload!r}")
        return response

    def ok(self, request):
        response = self.call(request)
        require(response["ok"], f"{request}: {response}")
        return response["result"]

    def error(self, request):
        """Returns code and field of the error."""
        response = self.call(request)
        require(not response["ok"], f"{str(request)[:300]} was accepted")
        return response["error"]["code"], response["error"].get("field")

    def expect_closed(self):
        expect(self.receive(), None, "after the last response")


def frame(payload):
    return struct.pack(">I", len(payload)) + payload


def is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool)


def validated(response):
    """Checks the parts that all responses have."""
    times = [response.get(name) for name in ("server_us", "queue_us", "database_us", "exchange_id")]
    require(all(is_integer(value) and value >= 0 for value in times), f"timing of {response}")
    require(times[1] + times[2] <= times[0], f"queue_us + database_us exceeds server_us: {response}")
    if response["ok"] is True:
        require(isinstance(response["result"], dict) and "error" not in response, f"{response}")
    else:
        error = response["error"]
        require(response["ok"] is False and "result" not in response, f"{response}")
        require(1 <= len(error["message"]) <= 601 and len(error.get("field", "")) <= 81, f"length of {error}")
        with_field = {"unknown_command", "wrong_port", "invalid_field", "invalid_token", "username_taken", "not_found",
                      "out_of_stock", "idempotency_conflict"}
        expect("field" in error, error["code"] in with_field, f"presence of the field in {error}")
    return response


def expect_shape(value, shape, path="result"):
    """Checks the type of a value: a type, a tuple of types, a list with one shape, or an object with exactly these fields."""
    if isinstance(shape, dict):
        expect(set(value), set(shape), f"fields of {path}")
        for name, inner in shape.items():
            expect_shape(value[name], inner, f"{path}.{name}")
    elif isinstance(shape, list):
        require(isinstance(value, list), f"{path} is no list")
        for index, item in enumerate(value):
            expect_shape(item, shape[0], f"{path}[{index}]")
    else:
        types = shape if isinstance(shape, tuple) else (shape,)
        is_bool = isinstance(value, bool)
        require(isinstance(value, types) and (is_bool == (bool in types)), f"{path} is {value!r}, expected {shape}")


NULL = type(None)
PRODUCT = {"product_id": int, "name": str, "category": str, "description": str, "price_cents": int, "stock": int,
           "rating_average": (float, int, NULL), "rating_count": int}
ORDER = {"order_id": int, "placed_at_ms": int, "total_cents": int,
         "items": [{"product_id": int, "name": str, "quantity": int, "price_cents": int, "stars": (int, NULL)}]}
PAGE = {"page": int, "page_size": int, "total": int}


def order(token, product_id=1, quantity=1, key=None):
    request = {"command": "place_order", "token": token, "items": [{"product_id": product_id, "quantity": quantity}]}
    return request if key is None else {**request, "idempotency_key": key}


@check
def every_command_has_the_documented_result(server):
    accounts, shop, admin = server.on("accounts"), server.on("shop"), server.admin()
    for client, port in ((accounts, "accounts"), (shop, "shop")):
        hello = client.ok({"command": "hello"})
        expect_shape(hello, {"protocol": int, "server": str, "port": str})
        expect((hello["protocol"], hello["port"]), (1, port), "hello")
    expect_shape(accounts.ok({"command": "register", "username": "ann", "password": PASSWORD}), {"user_id": int})
    login = accounts.ok({"command": "login", "username": "ann", "password": PASSWORD})
    expect_shape(login, {"token": str, "expires_in_seconds": int, "admin": bool})
    require(len(login["token"]) == 64 and set(login["token"]) <= set("0123456789abcdef"), "the token's digits")
    expect((login["expires_in_seconds"], login["admin"]), (86400, False), "login")
    token = login["token"]
    expect_shape(shop.ok({"command": "view_categories"}), {"categories": [{"name": str, "products": int}], **PAGE})
    expect_shape(shop.ok({"command": "view_products"}), {"products": [PRODUCT], **PAGE})
    expect_shape(shop.ok({"command": "view_product", "product_id": 1}), {"product": PRODUCT})
    added = shop.ok({"command": "add_product", "token": admin, "name": "Dinghy", "category": "Boats", "price_cents": 5, "stock": 3})
    expect_shape(added, {"product_id": int})
    product = shop.ok({"command": "view_product", "product_id": added["product_id"]})["product"]
    expect((product["description"], product["stock"], product["rating_average"]), ("", 3, None), "the new product")
    placed = shop.ok(order(token, added["product_id"], 2))
    expect_shape(placed, {"order_id": int, "total_cents": int, "replayed": bool})
    expect((placed["total_cents"], placed["replayed"]), (10, False), "the order")
    rating = {"command": "submit_rating", "token": token, "order_id": placed["order_id"], "product_id": added["product_id"], "stars": 4}
    expect_shape(shop.ok(rating), {})
    history = shop.ok({"command": "view_order_history", "token": token})
    expect_shape(history, {"orders": [ORDER], **PAGE})
    found = shop.ok({"command": "view_order", "token": token, "order_id": placed["order_id"]})
    expect_shape(found, {"order": ORDER})
    expect(history["orders"], [found["order"]], "the history")
    expect(found["order"]["items"][0]["stars"], 4, "the rating in the order")
    product = shop.ok({"command": "view_product", "product_id": added["product_id"]})["product"]
    expect((product["stock"], product["rating_average"], product["rating_count"]), (1, 4, 1), "stock and rating")
    change = {"command": "change_password", "token": token, "current_password": PASSWORD, "new_password": "password-2"}
    expect_shape(accounts.ok(change), {})
    expect_shape(accounts.ok({"command": "logout", "token": token}), {})


def valid_requests(token, admin):
    """Returns a valid request of each command, with its port."""
    return [
        ("accounts", {"command": "register", "username": "x", "password": PASSWORD}),
        ("accounts", {"command": "login", "username": "ann", "password": PASSWORD}),
        ("accounts", {"command": "logout", "token": token}),
        ("accounts", {"command": "change_password", "token": token, "current_password": PASSWORD, "new_password": PASSWORD}),
        ("shop", {"command": "view_categories", "page": 1, "page_size": 100}),
        ("shop", {"command": "view_products", "category": "Books", "page": 1, "page_size": 20}),
        ("shop", {"command": "view_product", "product_id": 1}),
        ("shop", {"command": "add_product", "token": admin, "name": "n", "category": "c", "description": "d", "price_cents": 1, "stock": 1}),
        ("shop", {**order(token), "idempotency_key": "k"}),
        ("shop", {"command": "submit_rating", "token": token, "order_id": 1, "product_id": 1, "stars": 5}),
        ("shop", {"command": "view_order_history", "token": token, "page": 1, "page_size": 20}),
        ("shop", {"command": "view_order", "token": token, "order_id": 1}),
    ]


# Each is required elsewhere, or occurs in one command only.
OPTIONAL = {("view_products", "category"), ("add_product", "description"), ("place_order", "idempotency_key")} | {
    (command, field) for command in ("view_categories", "view_products", "view_order_history") for field in ("page", "page_size")}
MAX_ID = 2**63 - 1
INTEGERS = {"page": (1, 1000000), "page_size": (1, 100), "product_id": (1, MAX_ID), "order_id": (1, MAX_ID),
            "price_cents": (0, 10**9), "stock": (0, 10**9), "stars": (1, 5)}
# Characters of texts; bytes of passwords.
TEXTS = {"username": (1, 64), "password": (8, 1024), "new_password": (8, 1024), "current_password": (0, 1024),
         "category": (1, 200), "name": (1, 200), "description": (0, 4000), "idempotency_key": (1, 128), "token": (64, 64)}
SECRETS = {"password", "new_password", "current_password", "token"}


def is_refused(client, request, field):
    expect(client.error(request), ("invalid_field", field), f"{str(request)[:300]}")


def passes_decoding(client, request):
    """The request's fields are valid; the command may still fail."""
    response = client.call(request)
    code = None if response["ok"] else response["error"]["code"]
    require(code not in ("invalid_field", "malformed_request", "frame_too_large", "internal"), f"{str(request)[:300]}: {response}")


@check
def every_bound_of_every_field(server):
    token, admin = server.customer(), server.admin()
    for port, request in valid_requests(token, admin):
        client, command = server.on(port), request["command"]
        # An unknown token: nothing is changed, and fields are checked first.
        request = {**request, "token": UNKNOWN_TOKEN} if "token" in request else request
        for field in [name for name in request if name not in ("command", "items")]:
            without = {name: value for name, value in request.items() if name != field}
            null = {**request, field: None}
            if (command, field) in OPTIONAL:
                passes_decoding(client, without)
                passes_decoding(client, null)
            else:
                is_refused(client, without, field)
                is_refused(client, null, field)
            for wrong in (True, [], {}, 1.5, "text" if field in INTEGERS else 7):
                is_refused(client, {**request, field: wrong}, field)
            if field in INTEGERS:
                low, high = INTEGERS[field]
                for number in (low, high):
                    passes_decoding(client, {**request, field: number})
                for number in (low - 1, high + 1, -(2**63), 2**63, 2**64):
                    is_refused(client, {**request, field: number}, field)
            else:
                low, high = TEXTS[field]
                low = 0 if (command, field) == ("login", "password") else low
                for length in {low, high} - {64 if field == "token" else None}:
                    passes_decoding(client, {**request, field: "a" * length})
                for length in {low - 1, high + 1} - {-1}:
                    is_refused(client, {**request, field: "a" * length}, field)
                if field in SECRETS:
                    if field != "token":
                        is_refused(client, {**request, field: "ä" * (high // 2 + 1)}, field)
                        passes_decoding(client, {**request, field: "\x00\x7f" * 8})
                else:
                    for control in ("\x00", "\x1f", "\x7f", "\x9f"):
                        is_refused(client, {**request, field: "a" + control}, field)
                    if field != "username":
                        passes_decoding(client, {**request, field: "ä€😀" * (high // 3)})
        for unknown in ("nonsense", "Page", ""):
            is_refused(client, {**request, unknown: 1}, unknown)
    for username in ("a b", "ä", "a/b"):
        is_refused(server.on("accounts"), {"command": "register", "username": username, "password": PASSWORD}, "username")


@check
def every_bound_of_the_items_of_an_order(server):
    token, shop = server.customer(), server.on("shop")
    item = {"product_id": 1, "quantity": 1}
    for items, field in [
        (None, "items"), ({}, "items"), ([], "items"), ([1], "items[0]"), ([item, "x"], "items[1]"),
        ([{"product_id": number, "quantity": 1} for number in range(1, 102)], "items"),
        ([{"product_id": 0, "quantity": 1}], "items[0].product_id"),
        ([item, {"product_id": 2, "quantity": 0}], "items[1].quantity"),
        ([{"product_id": 1, "quantity": 1000001}], "items[0].quantity"),
        ([{"product_id": 1}], "items[0].quantity"),
        ([{**item, "price": 1}], "items[0].price"),
        ([item, item], "items[1].product_id"),
    ]:
        is_refused(shop, {"command": "place_order", "token": token, "items": items}, field)
    hundred = [{"product_id": number, "quantity": 1} for number in range(1, 101)]
    expect(shop.error({"command": "place_order", "token": token, "items": hundred}), ("not_found", "items[60].product_id"), "100 items")
    sixty = {"command": "place_order", "token": token, "items": hundred[:60]}
    require(shop.ok(sixty)["total_cents"] > 0, "an order of all products")


@check
def every_error_code(server):
    token, other, admin = server.customer(), server.customer("bob"), server.admin()
    accounts, shop = server.on("accounts"), server.on("shop")
    placed = shop.ok(order(token, 1, 2, "key"))
    rating = {"command": "submit_rating", "token": token, "order_id": placed["order_id"], "product_id": 1, "stars": 5}
    shop.ok(rating)
    product = {"command": "add_product", "name": "n", "category": "c", "price_cents": 1, "stock": 1}
    for client, request, expected in [
        (shop, b"[]", ("malformed_request", None)),
        (shop, {"command": "no_such"}, ("unknown_command", "command")),
        (shop, {}, ("invalid_field", "command")),
        (shop, {"command": "login", "username": "ann", "password": PASSWORD}, ("wrong_port", "command")),
        (accounts, order(token), ("wrong_port", "command")),
        (shop, order(UNKNOWN_TOKEN), ("invalid_token", "token")),
        (shop, order("z" * 64), ("invalid_token", "token")),
        (shop, {**product, "token": token}, ("forbidden", None)),
        (accounts, {"command": "login", "username": "ann", "password": "wrong"}, ("wrong_credentials", None)),
        (accounts, {"command": "login", "username": "unknown", "password": "wrong"}, ("wrong_credentials", None)),
        (accounts, {"command": "register", "username": "ann", "password": PASSWORD}, ("username_taken", "username")),
        (shop, {"command": "view_products", "category": "Nothing"}, ("not_found", "category")),
        (shop, {"command": "view_product", "product_id": 999}, ("not_found", "product_id")),
        (shop, order(token, 999), ("not_found", "items[0].product_id")),
        (shop, {**rating, "order_id": 999}, ("not_found", "order_id")),
        (shop, {**rating, "product_id": 2}, ("not_found", "product_id")),
        (shop, {**rating, "token": other}, ("not_found", "order_id")),
        (shop, {"command": "view_order", "token": other, "order_id": placed["order_id"]}, ("not_found", "order_id")),
        (shop, order(token, 1, 1000000), ("out_of_stock", "items[0].quantity")),
        (shop, rating, ("already_rated", None)),
        (shop, order(token, 1, 3, "key"), ("idempotency_conflict", "idempotency_key")),
    ]:
        expect(client.error(request), expected, f"{request}")
    shop.ok({**product, "token": admin})
    require(shop.ok(order(token, 1, 2, "key"))["replayed"], "the same key and items are a repetition")
    require(not shop.ok(order(other, 1, 2, "key"))["replayed"], "another user's key is another key")


@check
def which_of_several_faults_is_reported(server):
    token, shop = server.customer(), server.on("shop")
    expect(shop.error(b'{"command": "login", "page": }'), ("malformed_request", None), "JSON before the command")
    expect(shop.error({"command": "login", "nonsense": 1}), ("wrong_port", "command"), "the port before the fields")
    request = {"command": "add_product", "token": UNKNOWN_TOKEN, "name": "", "category": "", "price_cents": -1, "stock": 1, "x": 1}
    for field, value in (("name", "n"), ("category", "c"), ("price_cents", 1)):
        expect(shop.error(request), ("invalid_field", field), "the fields in the order of the table")
        request[field] = value
    expect(shop.error(request), ("invalid_field", "x"), "unknown fields before the token")
    del request["x"]
    expect(shop.error(request), ("invalid_token", "token"), "the token before the permission")
    expect(shop.error({**request, "token": token}), ("forbidden", None), "the permission")
    items = [{"product_id": 1, "quantity": 10**6}, {"product_id": 999, "quantity": 1}]
    expect(shop.error({**order(token), "items": items}), ("out_of_stock", "items[0].quantity"), "items one after the other")


@check
def json_at_its_limits(server):
    shop = server.on("shop")
    accepted = [
        b' {"command":"view_products"} ', b'{"command":"view_products","page":7,"page":1}',
        b'{"command":"\\u0076iew_products"}', '{"command":"view_products","category":"B\\u006foks"}'.encode(),
    ]
    for payload in accepted:
        expect(shop.call(payload)["ok"], True, f"{payload}")
    expect(shop.call(accepted[1])["result"]["page"], 1, "the last of two fields counts")
    malformed = [
        b"", b"x", b"null", b"7", b'"text"', b"[]", b"{", b'{"command":"hello"', b'{"command":"hello"}x', b"{'command':1}",
        b'{"command":"view_products","page":01}', b'{"command":"view_products","page":1e400}', b'{"a":NaN}',
        b'{"command":"\xff"}', b'{"command":"\\ud800"}', b'{"command":"a\nb"}', b'\xef\xbb\xbf{"command":"hello"}',
        b'{"x":' + b"[" * 8 + b"]" * 8 + b"}", b'{"x":[' + b",".join([b"1"] * 1000) + b"]}",
        b'{"x":' + b"[" * 10000 + b"}",
    ]
    for payload in malformed:
        expect(shop.error(payload), ("malformed_request", None), f"{payload[:60]}")
    for number in (b"-0", b"1.0", b"1e2", b"0.1", b"18446744073709551616"):
        expect(shop.error(b'{"command":"view_products","page":' + number + b"}"), ("invalid_field", "page"), f"{number}")
    nested = b'{"command":"view_products","page":' + b"[" * 7 + b"]" * 7 + b"}"
    expect(shop.error(nested), ("invalid_field", "page"), "8 levels")
    # The object, the command, the list and 997 numbers.
    values = b'{"command":"view_products","page":[' + b",".join([b"1"] * 997) + b"]}"
    expect(shop.error(values), ("invalid_field", "page"), "1000 values")


@check
def frames_at_their_limits(server):
    for port, maximum in (("accounts", 16384), ("shop", 65536)):
        payload = b'{"command":"hello"}'
        client = server.on(port)
        client.ok(payload + b" " * (maximum - len(payload)))
        expect(client.error(payload + b" " * (maximum + 1 - len(payload))), ("frame_too_large", None), f"{maximum + 1} bytes")
        client.expect_closed()
    for first, name in ((b"GET / HTTP/1.1\r\n", "HTTP"), (b"\x16\x03\x01\x02\x00\x01\x00", "TLS"), (b"SSH-2.0-x\r\n", "SSH")):
        client = server.on("shop")
        client.socket.sendall(first)
        error = client.receive()["error"]
        require(error["code"] == "frame_too_large" and name in error["message"], f"{first}: {error}")
        client.expect_closed()
    client = server.on("shop")
    client.socket.sendall(struct.pack(">I", 2**32 - 1))
    expect(client.receive()["error"]["code"], "frame_too_large", "4 GiB")


@check
def hostile_texts_have_short_errors(server):
    shop = server.on("shop")
    for payload in (
        json.dumps({"command": "\x7f" * 5000}).encode(), json.dumps({"command": "hello", "\x00" * 5000: 1}).encode(),
        json.dumps("\x7f" * 9000).encode(), json.dumps({"command": "view_products", "category": "\x7f" * 9000}).encode(),
        b"\x80" * 60000,
    ):
        shop.error(payload)  # the lengths are checked for every response


@check
def frames_may_arrive_in_any_pieces(server):
    shop, bytes_of_request = server.on("shop"), frame(b'{"command":"view_products","page_size":1}')
    for split in range(1, len(bytes_of_request)):
        shop.socket.sendall(bytes_of_request[:split])
        shop.socket.sendall(bytes_of_request[split:])
        expect(shop.receive()["ok"], True, f"split after {split} bytes")


@check
def pipelined_requests_get_their_responses_in_order(server):
    token, shop = server.customer(), server.on("shop")
    kinds = [{"command": "view_products", "page_size": 1}, order(token, 2), {"command": "nonsense"}, {"command": "hello"}]
    requests = [{**kinds[number % 4], **({"page": number} if number % 4 == 0 else {})} for number in range(4, 504)]
    shop.socket.sendall(b"".join(frame(json.dumps(request).encode()) for request in requests))
    ids = []
    for number, request in zip(range(4, 504), requests):
        response = shop.receive()
        ids.append(response["exchange_id"])
        kind = number % 4
        if kind == 0:
            expect(response["result"]["page"], number, "the page")
        elif kind == 1:
            require(response["result"]["order_id"] > 0, "an order")
        elif kind == 2:
            expect(response["error"]["code"], "unknown_command", f"{request}")
        else:
            expect(response["result"]["port"], "shop", "hello")
        if kind in (0, 3):
            expect((response["queue_us"], response["database_us"]), (0, 0), "times of views")
    expect(len(set(ids)), 500, "different exchange ids")


@check
def requests_travel_in_tls(server):
    for version in ("1.3", "1.2"):
        with Server(server.program, tls=version) as encrypted:
            token, shop = encrypted.customer(), encrypted.on("shop")
            expect(shop.socket.version(), f"TLSv{version}", "the version of TLS")
            requests = [{"command": "view_products", "page": page, "page_size": 100} for page in range(1, 101)]
            shop.socket.sendall(b"".join(frame(json.dumps(request).encode()) for request in requests))
            expect([shop.receive()["result"]["page"] for _ in requests], list(range(1, 101)), "the pages")
            require(shop.ok(order(token, 2))["order_id"] > 0, "an order")
            encrypted.process.send_signal(signal.SIGTERM)
            shop.expect_closed()


@check
def a_client_may_close_its_side_first(server):
    shop = server.on("shop")
    requests = frame(b'{"command":"hello"}') * 3
    shop.socket.sendall(requests + requests[:10])
    shop.socket.shutdown(socket.SHUT_WR)
    for _ in range(3):
        expect(shop.receive()["ok"], True, "a complete request")
    shop.expect_closed()


@check
def keys_identify_orders_also_concurrently(server):
    token, ids = server.customer(), []
    barrier = threading.Barrier(8)

    def place():
        client = server.on("shop")
        barrier.wait()
        ids.append(client.ok(order(token, 3, 5, "one"))["order_id"])

    threads = [threading.Thread(target=place) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(len(ids), 8, "responses")
    expect(len(set(ids)), 1, "orders of one key")
    stock = server.on("shop").ok({"command": "view_product", "product_id": 3})["product"]["stock"]
    expect(stock, 100000 - 5, "units in stock")
    report = server.report()
    expect((report["consistent"], report["orders"], report["units_sold"]), (True, 1, 5), "shop-server check")


@check
def tokens_are_valid_until_invalidated(server):
    accounts, shop, tokens = server.on("accounts"), server.on("shop"), [server.customer(), server.token(), server.token()]
    history = lambda token: {"command": "view_order_history", "token": token}
    for token in tokens:
        shop.ok(history(token))
    accounts.ok({"command": "logout", "token": tokens[0]})
    expect(shop.error(history(tokens[0])), ("invalid_token", "token"), "after logout")
    change = {"command": "change_password", "token": tokens[1], "current_password": PASSWORD, "new_password": "password-2"}
    expect(accounts.error({**change, "current_password": "wrong"}), ("wrong_credentials", None), "a wrong password")
    accounts.ok(change)
    shop.ok(history(tokens[1]))
    expect(shop.error(history(tokens[2])), ("invalid_token", "token"), "other tokens after a change of the password")
    expect(accounts.error({"command": "login", "username": "ann", "password": PASSWORD}), ("wrong_credentials", None), "the old password")
    server.token(password="password-2")


@check
def pages_divide_all_rows(server):
    token, admin, shop = server.customer(), server.admin(), server.on("shop")
    for number in range(5):
        shop.ok(order(token, 1 + number))
        category = {"command": "add_product", "token": admin, "name": "n", "category": f"Zoo {number}", "price_cents": 1, "stock": 0}
        shop.ok(category)
    for command, rows in (("view_products", "products"), ("view_categories", "categories"), ("view_order_history", "orders")):
        request = {"command": command, **({"token": token} if command == "view_order_history" else {})}
        everything = shop.ok({**request, "page_size": 100})
        expect(len(everything[rows]), everything["total"], f"all rows of {command}")
        paged, page = [], 0
        while True:
            page += 1
            result = shop.ok({**request, "page": page, "page_size": 4})
            expect((result["page"], result["page_size"], result["total"]), (page, 4, everything["total"]), command)
            if not result[rows]:
                break
            paged += result[rows]
        expect(paged, everything[rows], f"rows of all pages of {command}")
    products = shop.ok({"command": "view_products", "page_size": 100})["products"]
    expect([row["product_id"] for row in products], sorted(row["product_id"] for row in products), "order of products")
    names = [row["name"].encode() for row in shop.ok({"command": "view_categories"})["categories"]]
    expect(names, sorted(names), "order of categories")
    orders = [row["order_id"] for row in shop.ok({"command": "view_order_history", "token": token})["orders"]]
    expect(orders, sorted(orders, reverse=True), "newest order first")


@check
def limits_of_connections_and_time(server):
    with Server(server.program, "--max-connections", "1") as small:
        first, second = small.on("shop"), None
        first.ok({"command": "hello"})
        second = small.on("shop")
        expect(second.receive()["error"]["code"], "overloaded", "a second connection")
        second.expect_closed()
    with Server(server.program, "--request-timeout", "200ms", "--idle-timeout", "400ms", "--token-lifetime", "1s") as hasty:
        token = hasty.customer()
        half = hasty.on("shop")
        half.socket.sendall(b"\0\0\0")
        expect(half.receive()["error"]["code"], "request_timeout", "a half-sent length")
        half.expect_closed()
        idle = hasty.on("shop")
        idle.ok({"command": "hello"})
        idle.expect_closed()
        hasty.on("shop").expect_closed()
        deadline = time.monotonic() + TIMEOUT
        while hasty.on("shop").call({"command": "view_order_history", "token": token})["ok"]:
            require(time.monotonic() < deadline, "the token does not expire")
    with Server(server.program, "--max-failed-logins", "2") as strict:
        strict.customer()
        wrong = {"command": "login", "username": "bob", "password": "wrong"}
        codes = [strict.on("accounts").error(wrong)[0] for _ in range(20)]
        expect(codes[:3], ["wrong_credentials"] * 3, "the first failures")
        require("overloaded" in codes, "20 failed logins without a delay")


@check
def a_shutdown_answers_every_request(server):
    with tempfile.TemporaryDirectory() as directory:
        with Server(server.program, directory=directory) as stopping:
            token, shop = stopping.customer(), stopping.on("shop")
            half, idle = stopping.on("shop"), stopping.on("accounts")
            half.socket.sendall(b"\0\0\0\x20{")
            idle.ok({"command": "hello"})
            shop.socket.sendall(b"".join(frame(json.dumps(order(token, 4, 1, f"key {number}")).encode()) for number in range(400)))
            shop.receive()  # the requests have arrived: they were written at once
            stopping.process.send_signal(signal.SIGTERM)
            acknowledged = [response["result"]["order_id"] for response in iter(shop.receive, None) if response["ok"]]
            expect(len(acknowledged), 399, "orders after SIGTERM")
            expect(half.receive()["error"]["code"], "shutting_down", "a half-sent request")
            half.expect_closed()
            idle.expect_closed()
            for client in (shop, half, idle):
                client.socket.close()
            expect(stopping.process.wait(TIMEOUT), 0, "the exit code")
        with Server(server.program, directory=directory) as restarted:
            expect(restarted.report()["orders"], 400, "orders after a restart")
            require(restarted.on("shop").ok(order(token, 4, 1, "key 399"))["replayed"], "the token and the key are valid after a restart")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    program, names = sys.argv[1], sys.argv[2:]
    selected = [one for one in CHECKS if not names or any(name in one.__name__ for name in names)]
    failed = 0
    for one in selected:
        problem = None
        with contextlib.ExitStack() as stack:
            try:
                one(stack.enter_context(Server(program)))
            except (Failure, OSError, ValueError, KeyError, TypeError) as error:
                problem = f"{type(error).__name__}: {error}" if not isinstance(error, Failure) else str(error)
        print(f"{'ok' if problem is None else 'FAILED'} {one.__name__}" + ("" if problem is None else f": {problem}"), flush=True)
        failed += problem is not None
    print(f"{len(selected)} checks, {failed} failed")
    sys.exit(1 if failed or not selected else 0)


main()
