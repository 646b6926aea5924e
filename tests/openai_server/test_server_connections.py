"""Connections that are no good: reset, hung up, hanging, dripping, or gone with the server."""

from __future__ import annotations

import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from minutes import Ask, chat, parsed, plain
from openai import OpenAI

from mina_pipeline.testing.openai_server import Answer, Drip, Hang, HangUp, OpenAIServer, Reply, Reset, Status


def test_a_reset_connection(server: OpenAIServer, client: OpenAI, ask: Ask) -> None:
    """A connection is reset before the first byte, after the headers or amid the body; the next request is served."""
    server.script(Reset(), Reset(after=0), Reset(after=20))
    for _ in range(3):
        with pytest.raises(openai.APIConnectionError) as raised:
            ask(client)
        assert not isinstance(raised.value, openai.APITimeoutError)
    assert parsed(ask(client)).title == "title 1"
    assert [exchange.outcome for exchange in server.exchanges] == ["broken"] * 3 + ["sent"]
    assert [exchange.status for exchange in server.exchanges] == [None, 200, 200, 200]
    assert [exchange.tokens_in > 0 for exchange in server.exchanges] == [False, True, True, True]


def test_resets_and_hang_ups_on_the_wire(server: OpenAIServer) -> None:
    """A reset is a TCP RST; an early hang-up is an orderly end before the promised length."""

    def read(reply: Reply) -> bytes:
        server.script(reply)
        body = b'{"model": "m", "input": "hello"}'
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            head = f"POST /v1/responses HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            found = b""
            while piece := connection.recv(65536):
                found += piece
            return found

    with pytest.raises(ConnectionResetError):
        read(Reset())
    assert read(HangUp()) == b""
    head, _, body = read(HangUp(after=7)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == b'{"id": '


def test_a_hanging_reply_ends_by_the_clients_timeout(server: OpenAIServer, client: OpenAI, ask: Ask) -> None:
    """Before or amid the answer nothing comes; the client times out, and the server sees that it left."""
    server.script(Hang(), Hang(after=5), Answer(delay=60), Hang(seconds=0.01))
    for _ in range(3):
        with pytest.raises(openai.APITimeoutError):
            ask(client, timeout=0.2)
    with pytest.raises(openai.APIConnectionError, match="Connection error"):
        ask(client)
    assert server.wait(4, idle=True)
    assert [exchange.outcome for exchange in server.exchanges] == ["broken", "broken", "gone", "broken"]
    assert server.counts().in_flight == 0


def test_a_slow_drip_outlives_the_clients_timeout(server: OpenAIServer, client: OpenAI, ask: Ask) -> None:
    """A reply that drips takes as long as it takes, for each piece is within the client's timeout; errors drip too."""
    server.script(Drip(chunk=40, every=0.05), Drip(Status(429, "slowly"), chunk=1, every=0))
    patient = client.with_options(timeout=0.5)
    began = time.monotonic()
    if ask is chat:
        assert plain(patient).choices[0].message.content == "An answer to: hello"
    else:
        assert patient.responses.create(model="m", input="hello").output_text == "An answer to: hello"
    assert time.monotonic() - began > 0.6
    with pytest.raises(openai.RateLimitError, match="slowly"):
        ask(client)
    assert [exchange.outcome for exchange in server.exchanges] == ["sent", "sent"]


@pytest.mark.parametrize("reply", [Hang(), Hang(after=3), Drip(every=0.01), Drip(every=60), Answer(delay=60)])
def test_closing_ends_every_reply_at_once(reply: Reply) -> None:
    """The server closes within a second whatever its replies are doing, and its clients hear of it."""
    with OpenAIServer() as server, OpenAI(base_url=server.base_url, api_key="test", max_retries=0) as client:
        server.always(reply)
        with ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(plain, client, "long " * 500) for _ in range(4)]
            assert server.wait(4)
            began = time.monotonic()
            server.close()
            assert time.monotonic() - began < 0.9
            for call in calls:
                assert isinstance(call.exception(5), openai.APIConnectionError)
        assert threads() == 0
        server.close()


def threads() -> int:
    return sum("openai-server" in thread.name for thread in threading.enumerate())


def test_a_port_can_be_taken_again(client: OpenAI, server: OpenAIServer) -> None:
    """A provider that was away comes back under its old address: close, and start on the same port."""
    plain(client)
    server.close()
    with pytest.raises(openai.APIConnectionError):
        plain(client)
    server.start()
    assert plain(client).id == "chatcmpl-2"


def test_a_closed_port_is_closed_in_every_process(server: OpenAIServer, client: OpenAI) -> None:
    """A descriptor of the port that a forked process has inherited does not keep clients waiting at it."""
    assert server.listener is not None
    inherited = os.dup(server.listener.fileno())
    try:
        server.close()
        with pytest.raises(openai.APIConnectionError, match="Connection error"):
            plain(client, timeout=5)
    finally:
        os.close(inherited)
