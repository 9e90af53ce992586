"""Addresses that are taken, opened, and taken by another one."""

from __future__ import annotations

import socket

import pytest

from skyeye.errors import SkyEyeError
from skyeye.serve.api.listening import open_to_clients, take_address


def test_clients_are_refused_until_it_is_opened():
    with take_address("127.0.0.1", 0) as address:
        place = address.getsockname()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(place, timeout=5)
        assert open_to_clients(address) == f"http://127.0.0.1:{place[1]}"
        socket.create_connection(place, timeout=5).close()
        with pytest.raises(SkyEyeError, match=f"cannot listen on 127.0.0.1 port {place[1]}: Address already in use"):
            take_address(*place)


def test_of_two_that_load_at_the_same_time_the_second_is_told():
    with take_address("127.0.0.1", 0) as first, take_address(*first.getsockname()) as second:
        open_to_clients(second)
        with pytest.raises(SkyEyeError, match="Address already in use"):
            open_to_clients(first)


def test_all_addresses_of_ipv6_are_none_of_ipv4():
    try:
        address = take_address("::", 0)
    except SkyEyeError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with address:
        port = address.getsockname()[1]
        assert open_to_clients(address) == f"http://[::]:{port}"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
